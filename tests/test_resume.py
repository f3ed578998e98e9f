"""A command killed at any moment, and given again, ends as if it had never been killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.config.paths import PROJECT
from pipeline.detectors.lstm.detector import LstmDetector
from tests.conftest import SMALL

pytestmark = pytest.mark.slow

# The recipe that carries its state over epochs, with a checkpoint after each batch.
RECIPE = [
    "dataset=simulated", "experiment=paszke2015", *SMALL, "window.length=20",
    "window.batch=2", "train.epochs=15", "train.validate_every=5",
    "train.checkpoint_seconds=0", "model.hidden=40",
]  # fmt: skip


def start(folder: Path, workers: int = 1) -> subprocess.Popen:
    places = [f"data_dir={folder / 'data'}", f"output_dir={folder / 'outputs'}"]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *RECIPE, *places, f"workers={workers}"],
        cwd=PROJECT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(folder: Path) -> tuple[bytes, dict[str, dict[str, torch.Tensor]]]:
    process = start(folder)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    submission = Path(said.decode().strip().splitlines()[-1]).read_bytes()
    models = sorted((folder / "data").rglob("*_model.pt"))
    assert len(models) == 2
    return submission, {m.name: LstmDetector.load(m).network.state_dict() for m in models}


def wait_for(folder: Path, pattern: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not any(folder.glob(f"data/derived/simulated/train-*/.*/{pattern}")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_killed_three_times_it_ends_with_the_same_weights_and_the_same_submission(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected, weights = finish(whole)
    moments = random.Random(time.time_ns())
    for writing in (False, True, False):
        process = start(cut, workers=2 if writing else 1)
        wait_for(cut, "*_checkpoint.pt", process)
        if writing:
            wait_for(cut, "*_checkpoint.writing", process)  # in the middle of a checkpoint's write
        else:
            time.sleep(moments.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not list(cut.rglob("submission*"))
    got, its_weights = finish(cut)
    assert got == expected
    for name, tensors in weights.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, its_weights[name][key]), f"{name}: {key}"
