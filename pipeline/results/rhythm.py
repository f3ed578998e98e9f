"""What the events' rhythm alone foretells: a predictor that looks at no EEG.

Cues, and habits, come at a rhythm. A method that learns it scores well without reading anything of
the brain, so its AUC says little unless the rhythm's own stands beside it. The predictor here knows
the time since the last event, of whichever kind, or, before the first one, since the start of the
series. It learns from the training series how often each label is active at each such time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

BIN = 0.05  # s
SMOOTH = 0.1  # s, standard deviation of the kernel over the time since the last event
LIKE_ALL = 0.5  # s of rows at the base rate that stand beside each time's own


def time_since(labels: NDArray, told: bool) -> tuple[NDArray[np.int_], NDArray[np.bool_]]:
    """Count the rows since the last event that is known.

    Parameters
    ----------
    labels : ndarray, shape (T, E)
        0 and 1, of one series.
    told : bool
        Whether an event is known from the first row of its label on; else once its label is over.
        No later row is looked at.

    Returns
    -------
    since : ndarray of int, shape (T,)
        Rows from the first row of that event's label; from the series' start where none is known.
    known : ndarray of bool, shape (T,)
        Whether one is.
    """
    rows = np.arange(len(labels))
    steps = np.diff(labels.astype(np.int8), axis=0, prepend=0)
    begun = np.where((steps == 1).any(axis=1), rows, -1)
    if not told:  # the event whose label ends here began where that label did
        begun = np.full(len(rows), -1)
        for column in steps.T:
            first = np.maximum.accumulate(np.where(column == 1, rows, -1))
            ended = np.flatnonzero(column == -1)
            begun[ended] = np.maximum(begun[ended], first[ended - 1])
    last = np.maximum.accumulate(begun)
    known = last >= 0
    return rows - np.where(known, last, 0), known


@dataclass(frozen=True)
class Rhythm:
    """How often each label is active so long after the last event.

    Parameters
    ----------
    before, after : ndarray, each of shape (n, E)
        Logarithms of the odds by the time since the series' start, and since the last event.
    step : int
        Rows of one such time; the last one stands for all that are longer.
    told : bool
        See `time_since`.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    step: int
    told: bool

    @classmethod
    def fit(cls, labels: list[NDArray], rate: float, told: bool) -> Rhythm:
        """Learn it.

        Parameters
        ----------
        labels : list of ndarray, each of shape (T, E)
            Of the training series.
        rate : float
            Rows per second.
        told : bool
            See `time_since`.
        """
        step = max(1, round(BIN * rate))
        timed = [time_since(one, told) for one in labels]
        active = np.concatenate(labels).astype(float)
        since = np.concatenate([rows for rows, _ in timed]) // step
        known = np.concatenate([each for _, each in timed])
        base = (active.sum(axis=0) + 0.5) / (len(active) + 1)
        tables = []
        for mine in (~known, known):
            bins = int(since[mine].max(initial=0)) + 1
            rows = np.bincount(since[mine], minlength=bins).astype(float)
            hits = np.zeros((bins, active.shape[1]))
            np.add.at(hits, since[mine], active[mine])
            width = SMOOTH * rate / step
            rows, hits = (
                gaussian_filter1d(each, width, axis=0, mode="constant") for each in (rows, hits)
            )
            like_all = LIKE_ALL * rate
            share = (hits + like_all * base) / (rows[:, None] + like_all)
            tables.append(np.log(share) - np.log1p(-share))
        return cls(tables[0], tables[1], step, told)

    def predict(self, labels: NDArray) -> NDArray[np.float64]:
        """Predict each row of a series from the events before it.

        Parameters
        ----------
        labels : ndarray, shape (T, E)
            Of the whole series; row t depends on rows up to t only.

        Returns
        -------
        ndarray, shape (T, E)
            Logits.
        """
        since, known = time_since(labels, self.told)
        at = since // self.step
        early, later = (
            table[np.minimum(at, len(table) - 1)] for table in (self.before, self.after)
        )
        return np.where(known[:, None], later, early)
