"""Predictions: what the final models say of the test series, a few files for each recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.recording import Description
from pipeline.results.decisions import Settings
from pipeline.results.predictions import plain_settings, write_predictions
from pipeline.results.rows import hold, sigmoid
from pipeline.stages import decide
from pipeline.stages.jobs import logits_file
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context

ENDINGS = ("_probabilities.csv", "_events.tsv", "-annot.fif")


def tasks(context: Context, found: Sequence[Series]) -> list[Task]:
    """Plan one task per test series."""
    decided = decide.possible(context, found)
    settings = context.results_folder.path / decide.files(context)[1] if decided else None
    planned = []
    for raw in found:
        if raw.labelled:
            continue
        logits = context.scored_folder.path / logits_file((raw.subject, raw.series))
        signal = context.ingest_folder.path / f"{raw.name}_signal.npy"
        inputs = [logits, signal] if settings is None else [logits, signal, settings]
        planned.append(
            Task(
                context.results_folder, f"predictions_{raw.name}", tuple(inputs),
                tuple(f"{raw.name}{ending}" for ending in ENDINGS), work,
                {
                    "logits": logits, "signal": signal, "name": raw.name, "about": context.about,
                    "every": context.every, "settings": settings,
                },
                verify=True,
            )
        )  # fmt: skip
    return planned


def work(
    scratch: Path,
    report: Report,
    *,
    logits: Path,
    signal: Path,
    name: str,
    about: Description,
    every: int,
    settings: Path | None,
) -> None:
    """Spread the logits over every row of one recording and write what they say."""
    rows = len(np.load(signal, mmap_mode="r"))
    probabilities = sigmoid(hold(np.load(logits), every, rows))
    chosen = Settings.load(settings) if settings else plain_settings(about.events, about.rate)
    write_predictions(scratch, name, probabilities, chosen)
