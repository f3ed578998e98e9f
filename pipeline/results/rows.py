"""From predictions on feature rows to probabilities on every recorded row."""

from __future__ import annotations

import numpy as np


def hold(values: np.ndarray, every: int, rows: int) -> np.ndarray:
    """Give every recorded row a prediction: it keeps the last one until the next one is there.

    Parameters
    ----------
    values : ndarray, shape (T', E)
        Predictions; row k of them belongs to row ``k * every`` of the recording.
    every : int
        Recorded rows per prediction.
    rows : int
        T, the recording's rows.

    Returns
    -------
    ndarray, shape (T, E)
    """
    return np.repeat(values, every, axis=0)[:rows]


def scored_rows(kept: np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Say which rows of a series are scored, and with which prediction, if some are left out.

    Parameters
    ----------
    kept : ndarray of bool, shape (T,)
        False where a row is left out. There is a prediction for every ``every``-th row, if that
        row is kept.
    every : int
        Recorded rows per prediction.

    Returns
    -------
    rows : ndarray of int, shape (n,)
        The kept rows that have a prediction.
    at : ndarray of int, shape (n,)
        The index of the prediction of each of these rows.
    """
    predicted = kept[::every]
    rows = np.flatnonzero(kept & np.repeat(predicted, every)[: len(kept)])
    return rows, (np.cumsum(predicted) - 1)[rows // every]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, in float64."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
