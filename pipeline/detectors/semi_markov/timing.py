"""When events take place: their rows, the durations between them, and the pace of a series."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Share of the durations that is spread evenly over all of them, so that none is impossible.
ANY_DURATION = 1e-4


def find_events(labels: np.ndarray) -> tuple[list[tuple[int, int]], list[int]]:
    """Find the events behind their labels.

    Parameters
    ----------
    labels : ndarray, shape (T', E)
        1 around an event.

    Returns
    -------
    events : list of (int, int)
        Row and event, in their order. An event is in the middle of its run of ones.
    widths : list of int
        Rows of each run.
    """
    edges = np.diff(labels.astype(np.int8), axis=0, prepend=0, append=0)
    events, widths = [], []
    for event, column in enumerate(edges.T):
        begins, ends = np.flatnonzero(column == 1), np.flatnonzero(column == -1)
        events += [(int(row), event) for row in (begins + ends - 1) // 2]
        widths += [int(width) for width in ends - begins]
    return sorted(events), widths


def spread(durations: list[int], longest: int, smoothing: float) -> np.ndarray:
    """Turn observed durations into the chance of each, from 1 row; shape (longest,).

    Parameters
    ----------
    durations : list of int
        Rows from an event to the next; if there are none, all are equally likely.
    longest : int
        Of all.
    smoothing : float
        The kernel's width, in units of the durations' standard deviation over the fifth root of
        their number.
    """
    even = np.full(longest, 1 / longest)
    if not durations:
        return even
    width = max(1.0, smoothing * float(np.std(durations)) * len(durations) ** -0.2)
    away = (np.arange(1, longest + 1)[:, None] - np.asarray(durations)) / width
    kernels = np.exp(-np.square(away) / 2).sum(axis=1)
    return (1 - ANY_DURATION) * kernels / kernels.sum() + ANY_DURATION * even


@dataclass(frozen=True)
class Timing:
    """When the events of one series take place.

    Parameters
    ----------
    events : list of (int, int)
        See `find_events`.
    durations : list of list of int
        For each event, the rows from it to the next one, wherever both are known.
    """

    events: list[tuple[int, int]]
    durations: list[list[int]]

    @classmethod
    def of(cls, events: list[tuple[int, int]], kinds: int) -> Timing:
        """Take the durations between events that follow one another as they should."""
        durations: list[list[int]] = [[] for _ in range(kinds)]
        for (row, kind), (then, following) in pairwise(events):
            if following == (kind + 1) % kinds:
                durations[kind].append(max(1, then - row))
        return cls(events, durations)

    @property
    def pause(self) -> float:
        """The typical pause between trials, in rows; nan where there is none."""
        return float(np.median(self.durations[-1])) if self.durations[-1] else float("nan")


def by_pace(timings: list[Timing], most: int) -> list[list[Timing]]:
    """Group series whose pauses are alike.

    Parameters
    ----------
    timings : list of Timing
        Of a subject's series.
    most : int
        Groups, at most.

    Returns
    -------
    list of list of Timing
        Shorter pauses first. Series without a pause are in the last group.
    """
    from sklearn.cluster import KMeans  # here: a fitted detector is applied without scikit-learn

    lengths = np.log([timing.pause for timing in timings])
    lengths[np.isnan(lengths)] = np.nanmax(lengths) if np.isfinite(lengths).any() else 0.0
    groups = min(most, len(np.unique(lengths)))
    found = KMeans(groups, n_init=10, random_state=0).fit(lengths[:, None])
    order = np.argsort(found.cluster_centers_[:, 0])
    return [[timings[i] for i in np.flatnonzero(found.labels_ == group)] for group in order]


def pace_durations(
    group: list[Timing], timings: list[Timing], longest: int, smoothing: float
) -> np.ndarray:
    """Work out one pace's durations: its own pauses, and those within trials of all paces.

    Returns
    -------
    ndarray, shape (E, longest)
        See `spread`.
    """
    kinds = len(timings[0].durations)
    return np.stack([
        spread([rows for timing in (group if kind == kinds - 1 else timings)
                for rows in timing.durations[kind]], longest, smoothing)
        for kind in range(kinds)
    ])  # fmt: skip


def start(group: list[Timing], longest: int) -> int:
    """Say how far into a pause series of one pace begin: by their pauses and their first events."""
    known = [t.pause - t.events[0][0] for t in group if t.durations[-1]]
    return int(np.clip(np.median(known), 0, longest - 1)) if known else 0
