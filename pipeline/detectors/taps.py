"""Taps: the row that is predicted and some earlier rows of its series, which are read for it."""

from __future__ import annotations

import numpy as np


def back(rows: np.ndarray, count: int, every: int, first: np.ndarray | int = 0) -> np.ndarray:
    """Name the rows that are read to predict others.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        To be predicted.
    count, every : int
        How many taps a row has, itself included, and how many rows lie from one to the next.
    first : int or ndarray of int, shape (n,)
        Where each row's series begins: a tap before it is replaced by it.

    Returns
    -------
    ndarray of int, shape (n, count)
        From the earliest tap to the row itself.
    """
    steps = np.arange(count - 1, -1, -1) * every
    return np.maximum(rows[:, None] - steps, np.broadcast_to(first, rows.shape)[:, None])
