"""The second level's features: other recipes' logits, none from a model that saw the series.

Each member is fitted several times: without each fold of the training series in turn, which it then
predicts; on all training series, to predict the validation series; and on all labelled ones, to
predict the test series. `pipeline.stages.flow.Flow` plans these trainings, and a `Job`
refuses any that would predict a series it is fitted on (``docs/recipes.md`` draws it).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.features.filter_bank import FeatureSeries, Moments


def folds(series: Sequence[int], count: int) -> list[list[int]]:
    """Split series into so many folds of neighbours, as even as can be."""
    return [[int(s) for s in fold] for fold in np.array_split(sorted(series), count)]


def side_by_side(parts: list[tuple[np.ndarray, int]], rows: int, every: int) -> np.ndarray:
    """Put the members' logits of one series side by side.

    Parameters
    ----------
    parts : list of (ndarray, int)
        A member's logits, (T', E), and how many recorded rows lie between two of them.
    rows : int
        T, of the recording.
    every : int
        Recorded rows to a row of the result.

    Returns
    -------
    ndarray of float32, shape (T'', E * members)
        The latest prediction that each member has made by then.
    """
    at = np.arange(0, rows, every)
    return np.concatenate([logits[at // step] for logits, step in parts], axis=1).astype(np.float32)


def combine_series(
    scratch: Path,
    report: object,
    subject: int,
    series: int,
    logits: list[tuple[Path, int]],
    every: int,
    signal: Path,
    events: Path | None,
) -> None:
    """Put the members' logits of one series side by side (the work of one task).

    Writes the same files as `pipeline.features.filter_bank.filter_series`.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Not used: the task is short.
    subject, series : int
        Which one.
    logits : list of (Path, int)
        A member's logits, (T', E), and how many recorded rows lie between two of them.
    every : int
        Recorded rows to a row of the result.
    signal : Path
        The recording, for its length.
    events : Path or None
        Its labels, (T, E).
    """
    parts = [(np.load(path, mmap_mode="r"), step) for path, step in logits]
    features = side_by_side(parts, len(np.load(signal, mmap_mode="r")), every)
    labels = None if events is None else np.ascontiguousarray(np.load(events)[::every])
    FeatureSeries(subject, series, features, labels, Moments.of(features)).save(scratch)
