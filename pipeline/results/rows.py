"""From predictions on feature rows to probabilities on every recorded row."""

from __future__ import annotations

import numpy as np


def hold(values: np.ndarray, every: int, rows: int) -> np.ndarray:
    """Spread predictions at every ``every``-th row over all rows: each is held until the next.

    Parameters
    ----------
    values : ndarray, shape (T', E)
        Row k belongs to the recording's row ``k * every``.
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
    """Say which rows of a series are scored, and by which prediction, where some are left out.

    Parameters
    ----------
    kept : ndarray of bool, shape (T,)
        False where a row is left out. Predictions are there for kept rows only, of every
        ``every``-th row.
    every : int
        Recorded rows per prediction.

    Returns
    -------
    rows : ndarray of int, shape (n,)
        Kept rows whose prediction is there.
    at : ndarray of int, shape (n,)
        Where each one's prediction stands.
    """
    predicted = kept[::every]
    rows = np.flatnonzero(kept & np.repeat(predicted, every)[: len(kept)])
    return rows, (np.cumsum(predicted) - 1)[rows // every]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, in float64."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
