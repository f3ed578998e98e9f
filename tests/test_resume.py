"""A command killed at any moment, and given again, ends as if it had never been killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch

from pipeline.config.paths import PROJECT
from pipeline.detectors.lstm.detector import LstmDetector
from tests.conftest import (
    SMALL,
    command_line,
    kill_alone,
    session_of,
    wait_until,
    whole_session,
)

pytestmark = pytest.mark.slow

# The recipe that carries its state over epochs, with a checkpoint after each batch. It trains for
# some seconds on a fast machine: a training that ends before the kill would be no test.
RECIPE = [
    "dataset=simulated", "experiment=paszke2015", *SMALL, "window.length=20",
    "window.batch=2", "train.epochs=60", "train.validate_every=30",
    "train.checkpoint_seconds=0", "model.hidden=40",
]  # fmt: skip


def arguments(folder: Path, workers: int, *more: str) -> list[str]:
    places = [f"data_dir={folder / 'data'}", f"output_dir={folder / 'outputs'}"]
    return [*RECIPE, *places, f"workers={workers}", *more]


def start(folder: Path, workers: int = 1, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments(folder, workers, *more)],
        cwd=PROJECT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(folder: Path, *more: str) -> tuple[bytes, dict[str, dict], dict[str, list[float]]]:
    """Let a command run to its end; give the submission, the weights and the epochs told of."""
    done = command_line(PROJECT, *arguments(folder, 1, *more))
    assert done.returncode == 0, done.stderr
    submission = Path(done.stdout.splitlines()[-1]).read_bytes()
    models = sorted((folder / "data").rglob("*_model.pt"))
    assert len(models) == 2
    weights = {m.name: LstmDetector.load(m).network.state_dict() for m in models}
    histories = {
        file.name.removesuffix("_history.csv"): pd.read_csv(file)["epoch"].tolist()
        for file in folder.glob("data/derived/simulated/train-*/*_history.csv")
    }
    assert len(histories) == 2
    return submission, weights, histories


def scratch_files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(f"data/derived/simulated/train-*/.*/{pattern}"))


def steps(folder: Path) -> int:
    """Give how far the trainings are, in batches."""
    most = 0
    for file in scratch_files(folder, "*_checkpoint.pt"):
        with suppress(FileNotFoundError):  # that training ends just now
            most = max(most, torch.load(file, weights_only=True)["progress"]["step"])
    return most


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A submission and weights that no command was killed for."""
    return finish(tmp_path_factory.mktemp("whole"), "train.checkpoint_seconds=60")


def assert_same(got, whole):
    """Compare submissions and weights to the bit, and the epochs."""
    assert (got[0], got[2]) == (whole[0], whole[2])
    for name, tensors in whole[1].items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, got[1][name][key]), f"{name}: {key}"


def test_killed_twice_it_ends_with_the_same_weights_and_the_same_submission(tmp_path, whole):
    cut = tmp_path
    moments = (
        lambda: scratch_files(cut, "*_checkpoint.writing"),  # amid a checkpoint's write
        lambda: steps(cut) >= 20,
    )
    for moment in moments:
        process = start(cut)
        try:
            wait_until(moment, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        assert not list(cut.rglob("submission*"))
    assert_same(finish(cut), whole)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads Linux's /proc")
def test_when_only_the_parent_is_killed_no_process_stays_and_no_epoch_is_lost(tmp_path, whole, uri):
    """As an out-of-memory killer does it: the workers and their helpers are left alone."""
    more = ("tracking.enabled=true", f"tracking.uri={uri}")
    process = start(tmp_path, 2, *more)
    with whole_session(process):
        wait_until(lambda: steps(tmp_path) >= 1, process)
        assert len(session_of(process.pid)) >= 3  # this one, and two that train
        kill_alone(process)
    assert_same(finish(tmp_path, *more), whole)
    histories = whole[2]
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("simulated").experiment_id])
    trainings = {run.data.tags["job"]: run for run in runs if "job" in run.data.tags}
    assert (len(runs), trainings.keys()) == (3, histories.keys())
    for name, run in trainings.items():
        recorded = client.get_metric_history(run.info.run_id, "epoch")
        assert sorted(each.value for each in recorded) == histories[name]
        assert run.info.status == "FINISHED"
