"""What CONTRIBUTING.md says is done to a copy of the project, and the copy runs the whole way."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.paths import PROJECT
from tests.conftest import COMPETITION

pytestmark = pytest.mark.slow

TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\w+ (?P<path>\S+)(?: \+(?P<name>\w+))?\n(?P<code>.*?)^```$", re.M | re.S)
SPLITS = ["dataset.train_series=[1,2]", "dataset.valid_series=[3]", "dataset.test_series=[4]"]


def add(copy: Path, path: str, name: str | None, code: str) -> None:
    """Write a block's file, or put its line into the dictionary of that name."""
    file = copy / path
    if name is None:
        assert not file.exists(), f"{path} is there already"
        file.write_text(code, encoding="utf-8")
        return
    text = file.read_text(encoding="utf-8")
    changed = re.sub(rf"^({name} = \{{)(.*?)(\n?\}})", rf"\1\2,\n{code}}}", text, flags=re.M | re.S)
    assert changed != text
    file.write_text(changed.replace(",,\n", ",\n"), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project with everything that CONTRIBUTING.md adds."""
    folder = tmp_path_factory.mktemp("contributed") / "project"
    skipped = shutil.ignore_patterns("__pycache__")
    for part in ("pipeline", "conf"):
        shutil.copytree(PROJECT / part, folder / part, ignore=skipped)
    shutil.copy(PROJECT / "pyproject.toml", folder)
    blocks = list(BLOCK.finditer(TEXT))
    assert len(blocks) == 12
    for block in blocks:
        add(folder, block["path"], block["name"], block["code"])
    return folder


def run(copy: Path, *overrides: str) -> str:
    """Run the copy's own pipeline; give the last line that it prints."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pipeline", "tracking.enabled=false", "workers=1", *overrides,
        ],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_method_and_a_kind_of_features_run_the_whole_way(copy):
    small = [
        "dataset=simulated", "dataset.simulation.subjects=1", "dataset.simulation.series=4",
        "dataset.simulation.trials=2", *SPLITS,
    ]  # fmt: skip
    submission = Path(run(copy, "experiment=base_rate", "filter=difference", *small))
    assert submission.is_relative_to(copy)
    table = pd.read_csv(submission, index_col="id")
    assert list(table.columns) == list(COMPETITION.events)
    assert table.nunique().eq(1).all()  # always the same
    assert table.gt(0).all().all()


def test_a_source_of_recordings_runs_the_whole_way(copy):
    raw = copy / "data" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for series in (1, 2, 3, 4):
        labels = np.zeros((3000, 2), dtype=np.uint8)
        for event, first in ((0, 200), (1, 500)):
            for begin in range(first, 2900, 700):
                labels[begin : begin + 30, event] = 1
        signal = random.normal(0, 10, (3000, 3)).astype(np.float32)
        signal[:, :2] += 40 * labels
        np.savez(raw / f"subj1_series{series}.npz", signal=signal, labels=labels)
    small = ["dataset=arrays", "experiment=fbl_lda", "filter.lowpass_hz=[5]", "filter.order=2"]
    submission = Path(run(copy, *small))
    table = pd.read_csv(submission, index_col="id")
    assert list(table.columns) == ["Left", "Right"]
    assert len(table) == 3000
    auc = pd.read_csv(next(submission.parent.glob("auc_*.csv")), index_col=0)
    assert auc.loc["pooled", "mean"] > 0.8


def test_what_is_added_changes_no_key_of_what_was_there(copy):
    """A new method, kind of features or source fits nothing of the others anew."""
    code = (
        "from pipeline.config.compose import compose\n"
        "from pipeline.stages.context import Context\n"
        "for recipe in ('fbl_lda', 'lstm', 'semi_markov'):\n"
        "    context = Context(compose(['dataset=simulated', f'experiment={recipe}']))\n"
        "    folders = (context.ingest_folder, context.feature_folder, context.train_folder)\n"
        "    print(*(folder.key for folder in folders))\n"
    )
    mine = io.StringIO()
    with redirect_stdout(mine):
        exec(code)
    copied = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(copy)},
    )  # fmt: skip
    assert copied.stdout == mine.getvalue()
