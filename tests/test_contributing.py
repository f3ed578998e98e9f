"""What CONTRIBUTING.md says is done to a copy of the project, and the copy runs the whole way."""

from __future__ import annotations

import io
import json
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
    skipped = shutil.ignore_patterns("*.pyc.*", "*tmp*")  # which others write at this moment
    for part in ("pipeline", "conf"):
        shutil.copytree(PROJECT / part, folder / part, ignore=skipped)
    shutil.copy(PROJECT / "pyproject.toml", folder)
    blocks = list(BLOCK.finditer(TEXT))
    assert len(blocks) == 12
    for block in blocks:
        add(folder, block["path"], block["name"], block["code"])
    return folder


SMALL = [
    "dataset=simulated", "dataset.simulation.subjects=1", "dataset.simulation.series=4",
    "dataset.simulation.trials=2", *SPLITS,
]  # fmt: skip
COMMANDS = [
    ["experiment=base_rate", "filter=difference", *SMALL],
    ["dataset=arrays", "experiment=fbl_lda", "filter.lowpass_hz=[5]", "filter.order=2"],
]
KEYS = """
from pipeline.config.compose import compose
from pipeline.stages.context import Context
for recipe in ('fbl_lda', 'lstm', 'semi_markov'):
    context = Context(compose(['dataset=simulated', f'experiment={recipe}']))
    folders = (context.ingest_folder, context.feature_folder, context.train_folder)
    print(*(folder.key for folder in folders))
"""
# One process for all, because it takes seconds to start one.
ALL = f"""
import json, sys
from pipeline.work.loading import loading
commands = json.loads(sys.argv[1])
with loading():
    import pipeline.stages.flow
{KEYS}
from pipeline.__main__ import main
for command in commands:
    print("end")
    sys.argv = ["pipeline", "tracking.enabled=false", "workers=1", *command]
    main()
"""


@pytest.fixture(scope="module")
def said(copy) -> list[list[str]]:
    """What the copy says: the keys of folders, and what each command prints."""
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
    done = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(COMMANDS)], cwd=copy, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(copy)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [each.splitlines() for each in done.stdout.split("end\n")]


def test_a_method_and_a_kind_of_features_run_the_whole_way(said, copy):
    submission = Path(said[1][-1])
    assert submission.is_relative_to(copy)
    table = pd.read_csv(submission, index_col="id")
    assert list(table.columns) == list(COMPETITION.events)
    assert table.nunique().eq(1).all()  # always the same
    assert table.gt(0).all().all()


def test_a_source_of_recordings_runs_the_whole_way(said):
    submission = Path(said[2][-1])
    table = pd.read_csv(submission, index_col="id")
    assert list(table.columns) == ["Left", "Right"]
    assert len(table) == 3000
    auc = pd.read_csv(next(submission.parent.glob("auc_*.csv")), index_col=0)
    assert auc.loc["pooled", "mean"] > 0.8


def test_what_is_added_changes_no_key_of_what_was_there(said):
    """A new method, kind of features or source fits nothing of the others anew."""
    mine = io.StringIO()
    with redirect_stdout(mine):
        exec(KEYS)
    assert said[0] == mine.getvalue().splitlines()
