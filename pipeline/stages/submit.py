"""Submit: the final models' predictions of the test series, as a checked Kaggle file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.paths import expanded
from pipeline.data.kaggle_files import RawFile, find_sample
from pipeline.data.names import series_name
from pipeline.data.recording import Description
from pipeline.results.rows import hold, sigmoid
from pipeline.results.submission import (
    check_submission,
    expected_ids,
    sample_ids,
    write_submission,
)
from pipeline.stages.jobs import Key, logits_file
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context


def task(context: Context, found: Sequence[Series]) -> Task:
    """Plan the submission."""
    keys = sorted((raw.subject, raw.series) for raw in found if not raw.labelled)
    logits = [context.scored_folder.path / logits_file(key) for key in keys]
    signals = [context.ingest_folder.path / f"{series_name(*key)}_signal.npy" for key in keys]
    sample = find_sample(context.raw)
    output = context.file("submission", "csv")
    return Task(
        context.results_folder, "submit", (*logits, *signals, *([sample.path] if sample else [])),
        (output,), work,
        {
            "keys": keys, "logits": logits, "signals": signals, "output": output,
            "about": context.about, "every": context.every, "sample": sample,
        },
        verify=True,
    )  # fmt: skip


def work(
    scratch: Path,
    report: Report,
    *,
    keys: list[Key],
    logits: list[Path],
    signals: list[Path],
    output: str,
    about: Description,
    every: int,
    sample: RawFile | None,
) -> None:
    """Spread the logits over every row and write the submission."""
    probabilities = {}
    for key, logit_file, signal_file in zip(keys, logits, signals, strict=True):
        rows = len(np.load(signal_file, mmap_mode="r"))
        probabilities[series_name(*key)] = sigmoid(hold(np.load(logit_file), every, rows))
    write_submission(scratch / output, probabilities, about.events, sample)


def check(context: Context, found: Sequence[Series]) -> None:
    """Check any submission file against the test rows.

    Parameters
    ----------
    context : Context
        Its configuration names the file.
    found : sequence of Series
        Ingested; not needed where Kaggle's sample submission names the rows.

    Raises
    ------
    DataError
        Naming the line and the rule that is broken.
    """
    sample = find_sample(context.raw)
    if sample is not None:
        expected = sample_ids(sample, context.about.events)
    else:
        folder = context.ingest_folder.path
        rows = {
            raw.name: len(np.load(folder / f"{raw.name}_signal.npy", mmap_mode="r"))
            for raw in found
            if not raw.labelled
        }
        expected = expected_ids(rows)
    path = expanded(context.config.submission or "")
    checked = check_submission(path, expected, context.about.events)
    context.say(f"{path}: {checked:,} rows, every rule kept")
