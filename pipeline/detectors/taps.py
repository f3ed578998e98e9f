"""Taps: the row that is predicted and some earlier rows of its series, which are read for it."""

from __future__ import annotations

import numpy as np

from pipeline.data.names import Id
from pipeline.detectors.base import State


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


def start(count: int, every: int, width: int, subject: Id) -> State:
    """Give the state of a detector of taps before a series' first row.

    Parameters
    ----------
    count, every : int
        The taps, see `back`.
    width : int
        F.
    subject : int or Name
        Whose series it is.

    Returns
    -------
    dict
        ``rows``: how many there were; ``past``: the last (count - 1) * every of them, standardised.
    """
    past = np.zeros(((count - 1) * every, width), dtype=np.float32)
    return {"subject": subject, "rows": 0, "past": past}


def follow(ready: np.ndarray, state: State, count: int, every: int) -> tuple[np.ndarray, State]:
    """Read the taps of a series' next rows.

    Parameters
    ----------
    ready : ndarray of float32, shape (n', F)
        These rows, standardised.
    state : dict
        From `start` or the call before.
    count, every : int
        The taps, see `back`.

    Returns
    -------
    taps : ndarray, shape (n', count, F)
        As `back` names them.
    state : dict
        For the next call.
    """
    past = state["past"]
    if len(ready) and not state["rows"]:
        past = np.broadcast_to(ready[:1], past.shape)  # a tap before the first row is that row
    together = np.concatenate([past, ready])
    steps = np.arange(count) * every
    after = {"rows": state["rows"] + len(ready), "past": together[len(ready) :].copy()}
    return together[np.arange(len(ready))[:, None] + steps], state | after
