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


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, in float64."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
