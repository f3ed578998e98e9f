"""What MLflow is told, also when things go wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import mlflow
import pytest

from pipeline import stages
from pipeline.errors import PipelineError
from pipeline.stages import run
from pipeline.tracking import Tracker, flatten


def runs_of(uri):
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name("simulated")
    return client.search_runs([found.experiment_id]) if found else []


def test_nested_keys_are_flattened_with_dots():
    tree = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}
    assert flatten(tree) == {"a.b": "1", "a.c.d": "[1, 2]", "e": "None"}


def test_a_failed_run_is_marked_with_its_reason(small_config, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'runs.db'}"

    def fail(*args):
        raise PipelineError("the scoring broke")

    monkeypatch.setattr(stages, "evaluate_work", fail)
    with pytest.raises(PipelineError, match="the scoring broke"):
        run(small_config("tracking.enabled=true", f"tracking.uri={uri}"), say=lambda line: None)
    found = runs_of(uri)
    assert {r.info.status for r in found} == {"FAILED"}
    assert {r.data.tags["failure"] for r in found} == {"PipelineError: the scoring broke"}


def test_nothing_is_recorded_before_training_or_when_switched_off(small_config, tmp_path):
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    on = ("tracking.enabled=true", f"tracking.uri={uri}")
    run(small_config(*on, "stage=filter"), say=lambda line: None)
    run(small_config(f"tracking.uri={uri}"), say=lambda line: None)
    assert not (tmp_path / "runs.db").exists()


def test_the_environment_chooses_the_store_unless_the_configuration_does(small_config, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/elsewhere.db")
    assert Tracker(small_config(), "x").uri == "sqlite:////tmp/elsewhere.db"
    chosen = small_config("tracking.uri=sqlite:////tmp/mine.db")
    assert Tracker(chosen, "x").uri == "sqlite:////tmp/mine.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Tracker(small_config(), "x").uri.startswith("sqlite:////")


def test_telemetry_is_off_unless_asked_for():
    code = "import pipeline.tracking, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    clean = {k: v for k, v in os.environ.items() if k != "MLFLOW_DISABLE_TELEMETRY"}
    for environment, expected in ((clean, "true"), ({**clean, "MLFLOW_DISABLE_TELEMETRY": "false"},
                                                    "false")):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected
