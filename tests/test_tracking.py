"""What MLflow is told, also when things go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from pipeline.bench.chaos_runs import free_port
from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.results import scoring
from pipeline.stages.flow import run
from pipeline.tracking import models, runs, session
from pipeline.tracking.open_runs import OpenRuns
from pipeline.tracking.runs import Tracker
from pipeline.tracking.session import code_version, flatten

pytestmark = pytest.mark.slow


def runs_of(uri):
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name("simulated")
    return client.search_runs([found.experiment_id]) if found else []


def test_nested_keys_are_flattened_with_dots():
    tree = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}
    assert flatten(tree) == {"a.b": "1", "a.c.d": "[1, 2]", "e": "None"}


def test_what_was_done_before_is_told_to_be_unrecorded_and_how_to_record_it(small_config, uri):
    recorded = "tracking.enabled=true", f"tracking.uri={uri}"
    run(small_config("experiment=fbl_lda", "tracking.enabled=false"), say=lambda line: None)
    said: list[str] = []
    config = small_config("experiment=fbl_lda", *recorded)
    folder = run(config, say=said.append).folder
    assert folder is not None
    assert any(line.startswith("not recorded in this MLflow store") for line in said)
    assert str(folder) in "".join(said)
    shutil.rmtree(folder)
    for _ in range(2):
        said.clear()
        run(config, say=said.append)
        assert any("auc_mean" in each.data.metrics for each in runs_of(uri))
        assert not any(line.startswith("not recorded") for line in said)


def test_a_failed_run_is_marked_with_its_reason(small_config, monkeypatch, uri):

    def fail(*args):
        raise PipelineError("the scoring broke")

    monkeypatch.setattr(scoring, "table", fail)
    with pytest.raises(PipelineError, match="the scoring broke"):
        run(small_config("tracking.enabled=true", f"tracking.uri={uri}"), say=lambda line: None)
    found = runs_of(uri)
    assert {r.info.status for r in found} == {"FAILED"}
    assert {r.data.tags["failure"] for r in found} == {"PipelineError: the scoring broke"}


def test_a_run_that_was_cut_off_is_gone_on_with(small_config, monkeypatch, uri):
    """Killed after the first training, then run again: the same runs, and no second half-run."""
    config = small_config("tracking.enabled=true", f"tracking.uri={uri}")

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "table", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, say=lambda line: None)
    cut = {r.info.run_id: r for r in runs_of(uri)}
    assert {r.info.status for r in cut.values()} == {"KILLED"}
    parent = next(r for r in cut.values() if "mlflow.parentRunId" not in r.data.tags)
    assert parent.data.tags["resumable"] == "true"
    run(config, say=lambda line: None)
    after = {r.info.run_id: r for r in runs_of(uri)}
    assert set(cut) < set(after)  # the final trainings are new
    assert {r.info.status for r in after.values()} == {"FINISHED"}
    assert not any("failure" in r.data.tags for r in after.values())
    whole = after[parent.info.run_id].data
    assert (whole.tags["resumed"], whole.tags["resumable"]) == ("true", "false")
    assert "auc_mean" in whole.metrics
    assert sum("mlflow.parentRunId" not in r.data.tags for r in after.values()) == 1


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (mlflow.models.Model, "log"),  # the model is made
        (mlflow.MlflowClient, "log_model_artifacts"),  # and linked to its run
        (models, "_registered"),  # and finished
        (models, "choose_champion"),  # and registered
    ],
)
def test_a_model_whose_logging_was_cut_off_is_logged_once(
    where, name, small_config, monkeypatch, uri
):
    keys = "tracking.enabled=true", f"tracking.uri={uri}", "tracking.register=grasp"
    config = small_config(*keys)

    def killed(*args, **more):
        raise KeyboardInterrupt

    def of_a_long_run(client, uri, run, *more):
        for number in range(120):
            client.log_metric(run, f"system/{number}", number)
        return log_model(client, uri, run, *more)

    log_model = models.log_model
    with monkeypatch.context() as patch:
        patch.setattr(runs, "log_model", of_a_long_run)
        patch.setattr(where, name, killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, say=lambda line: None)
    run(config, say=lambda line: None)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("simulated").experiment_id
    (model,) = client.search_logged_models([experiment])
    assert model.status == "READY"
    assert len({each.key for each in model.metrics if each.key.startswith("system/")}) >= 120
    parent = client.get_run(model.source_run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["model"] == f"models:/{model.model_id}"
    assert [each.model_id for each in parent.outputs.model_outputs] == [model.model_id]
    (version,) = client.search_model_versions("name = 'grasp'")
    assert client.get_model_version_by_alias("grasp", "champion").version == version.version


def test_a_store_that_goes_away_is_told_in_one_line_and_what_was_made_is_kept(
    small_config, monkeypatch, uri
):
    config = small_config("tracking.enabled=true", f"tracking.uri={uri}")

    def gone(*args, **more):
        raise MlflowException("no connection\nand more of that")

    with monkeypatch.context() as patch:
        for name in ("log_batch", "log_metric", "set_tag", "set_terminated"):
            patch.setattr(mlflow.MlflowClient, name, gone)
        patch.setattr(Tracker, "_params", lambda *args: None)  # it goes away after the start
        with pytest.raises(PipelineError, match=r"did not record .*\(no connection\); the"):
            run(config, say=lambda line: None)
    told = []
    run(config, say=told.append)
    assert any(line.startswith("train    up to date (2 of 2)") for line in told)
    assert {r.info.status for r in runs_of(uri)} == {"FINISHED"}


def test_the_code_s_version_is_known_in_a_clone_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "PROJECT", tmp_path)
    assert code_version() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y.z"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    commit, dirty = code_version()
    assert len(commit) == 40
    assert not dirty
    (tmp_path / "new").write_text("", encoding="utf-8")
    assert code_version() == (commit, True)


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


def test_a_server_that_cannot_be_reached_costs_no_work_and_is_made_up_for_later(
    small_config, tmp_path, monkeypatch, capsys, uri
):
    """No server at first; then the same command again, with a store in its place."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = f"http://127.0.0.1:{free_port()}"
    on = ("tracking.enabled=true", "experiment=fbl_lda", "tracking.system_metrics=false")
    config = small_config(*on, f"tracking.uri={away}")
    with pytest.raises(PipelineError, match=r"did not record .*\(Connection refused\); the res"):
        run(config, say=lambda line: None)
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning: tracking" in line]
    assert len(warned) == 1
    assert list(tmp_path.rglob("submission_*.csv"))
    (memory,) = tmp_path.rglob(".mlflow_runs.json")
    memory.write_text(memory.read_text(encoding="utf-8").replace(away, uri), encoding="utf-8")
    told = []
    run(small_config(*on, f"tracking.uri={uri}"), say=told.append)
    assert any(line.startswith("train    up to date (2 of 2)") for line in told)
    found = runs_of(uri)
    assert {r.info.status for r in found} == {"FINISHED"}
    (parent,) = [r for r in found if "mlflow.parentRunId" not in r.data.tags]
    assert "auc_mean" in parent.data.metrics
    assert "seconds_train" in parent.data.metrics
    assert "model" in parent.data.tags
    trained = {r.data.tags["job"] for r in found if r is not parent}
    assert trained >= {"subj1_validate", "subj2_validate"}
    assert not memory.exists()


def test_epochs_that_nobody_heard_are_recorded_from_the_training_s_table(
    small_config, tmp_path, uri
):
    """As after a kill of the process that listened: the run has the first epoch of three."""
    config = small_config("tracking.enabled=true", f"tracking.uri={uri}")
    history = tmp_path / "history.csv"
    history.write_text(
        "epoch,step,loss,best\n1.0,8,0.5,False\n2.0,16,0.4,False\n3.0,24,0.3,True\n",
        encoding="utf-8",
    )
    tracker = Tracker(config, "x", tmp_path / ".runs.json")
    tracker.listen("subj1", {"metrics": {"epoch": 1.0, "loss": 0.5}, "step": 1})
    again = Tracker(config, "x", tmp_path / ".runs.json")
    again.trained({"subj1": history}, new=False)
    again.close()
    (child,) = [r for r in runs_of(uri) if r.data.tags.get("job") == "subj1"]
    got = mlflow.MlflowClient(uri).get_metric_history(child.info.run_id, "loss")
    assert [(each.step, each.value) for each in got] == [(1, 0.5), (2, 0.4), (3, 0.3)]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "[" * 100_000, '{"uri": 1, "parent": 2, "children": 3, "seconds": 4}',
     '{"uri": "x", "parent": null, "children": [], "seconds": {}}',
     '{"uri": "x", "parent": null, "children": {}, "seconds": {"a": "b"}}',
     '{"uri": "x", "parent": null, "children": {}, "seconds": {}, "process": "me"}',
     '{"uri": "x", "parent": null, "children": {}, "seconds": {}, "process": ["a", "b"]}'],
)  # fmt: skip
def test_a_damaged_memory_of_open_runs_is_none(tmp_path, content):
    file = tmp_path / ".mlflow_runs.json"
    OpenRuns("x", "run", {"subj1": "child"}, {"train": 1.0}).save(file)
    assert OpenRuns.load(file) == OpenRuns("x", "run", {"subj1": "child"}, {"train": 1.0})
    file.write_text(content, encoding="utf-8")
    assert OpenRuns.load(file) is None


def test_a_store_that_cannot_be_written_is_refused_before_any_work(small_config, tmp_path):
    (tmp_path / "runs.db").write_text("notes, and no database at all", encoding="utf-8")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    config = small_config("tracking.enabled=true", f"tracking.uri={uri}")
    with pytest.raises(PipelineError, match="file is not a database"):
        run(config, say=lambda line: None)
    assert not (tmp_path / "data").exists()


TELEMETRY = """
import os, sys
if sys.argv[1] == "first":
    import mlflow
import {module}
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client() is None, os.environ["MLFLOW_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize("module", ["pipeline.tracking.runs", "pipeline.serving.mlflow_model"])
def test_telemetry_is_off_unless_asked_for(module):
    known = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "GITHUB_ACTIONS")
    clean = {k: v for k, v in os.environ.items() if k not in (*known, "PYTEST_CURRENT_TEST")}
    asked = {**clean, "MLFLOW_DISABLE_TELEMETRY": "false"}
    cases = {
        "pipeline.tracking.runs": [("after", clean, "True true"), ("after", asked, "False false")],
        "pipeline.serving.mlflow_model": [("first", clean, "True true")],
    }
    for which, environment, expected in cases[module]:
        done = subprocess.run(
            [sys.executable, "-c", TELEMETRY.format(module=module), which],
            env=environment, cwd=PROJECT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == expected


def test_an_entry_that_another_job_makes_at_the_same_time_is_found(small_config, monkeypatch, uri):
    tracker = Tracker(small_config("tracking.enabled=true", f"tracking.uri={uri}"), "one of eight")
    real, calls = mlflow.MlflowClient.log_inputs, []

    def raced(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise MlflowException('duplicate key value violates unique constraint "dataset_pk"')
        real(*arguments)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", raced)
    tracker.data("abc", "/raw", 10, 1)
    tracker.close()
    (found,) = runs_of(uri)
    assert found.inputs.dataset_inputs[0].dataset.digest == "abc"
    assert tracker.lost is None
