"""When events take place: their rows, the durations between them, and the pace of a series."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Share of the durations that is spread evenly over all of them, so that none is impossible.
ANY_DURATION = 1e-4
# A wide kernel's standard deviation, of the durations' natural logarithm.
WIDE = 0.3
# With fewer durations than this, those of other pairs of events are taken, too.
ENOUGH = 5


def find_events(labels: np.ndarray) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Find the events behind their labels.

    Parameters
    ----------
    labels : ndarray, shape (T', E)
        1 around an event.

    Returns
    -------
    events : list of (int, int)
        Row and event, in their order. An event is in the middle of its run of ones.
    widths : list of (int, int)
        Event and rows of each run.
    """
    edges = np.diff(labels.astype(np.int8), axis=0, prepend=0, append=0)
    events, widths = [], []
    for event, column in enumerate(edges.T):
        begins, ends = np.flatnonzero(column == 1), np.flatnonzero(column == -1)
        events += [(int(row), event) for row in (begins + ends - 1) // 2]
        widths += [(event, int(width)) for width in ends - begins]
    return sorted(events), widths


def spread(
    durations: list[int],
    longest: int,
    smoothing: float,
    tail: float = 0.0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
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
    tail : float
        Share of a kernel that is `WIDE`, so that a series of another tempo does not look
        impossible.
    weights : ndarray, optional
        Of the durations; all alike by default.
    """
    even = np.full(longest, 1 / longest)
    if not durations:
        return even
    rows = np.arange(1, longest + 1)[:, None]
    if weights is None:
        number, deviation, weight = len(durations), float(np.std(durations)), 1.0
    else:  # as many as Kish's effective sample size
        weight = weights / weights.sum()
        number, mean = 1 / np.square(weight).sum(), weight @ durations
        deviation = float(np.sqrt(weight @ np.square(durations - mean)))
    width = max(1.0, smoothing * deviation * number**-0.2)
    away = (rows - np.asarray(durations)) / width
    kernels = (weight * np.exp(-np.square(away) / 2)).sum(axis=1)
    if tail:
        ratios = np.log(rows / np.asarray(durations)) / WIDE
        wide = (weight * np.exp(-np.square(ratios) / 2)).sum(axis=1)
        kernels = (1 - tail) * kernels / kernels.sum() + tail * wide / wide.sum()
    return (1 - ANY_DURATION) * kernels / kernels.sum() + ANY_DURATION * even


@dataclass(frozen=True)
class Timing:
    """When the events of one series take place.

    Parameters
    ----------
    events : list of (int, int)
        See `find_events`.
    durations : dict of (int, int) to list of int
        By an event and the one after it: the rows between them.
    """

    events: list[tuple[int, int]]
    durations: dict[tuple[int, int], list[int]]

    @classmethod
    def of(cls, events: list[tuple[int, int]]) -> Timing:
        """Take the durations between events that follow one another, in whatever order.

        Two events in the same row are one row apart, in the order of their columns: a state lasts
        for one row at least.
        """
        durations: dict[tuple[int, int], list[int]] = {}
        for (row, kind), (then, following) in pairwise(events):
            durations.setdefault((kind, following), []).append(max(1, then - row))
        return cls(events, durations)

    def until(self, event: int | None) -> list[int]:
        """Give the rows from any event to `event` if that is the next one; None for any event."""
        return [
            duration
            for (_, following), rows in self.durations.items()
            if event in (None, following)
            for duration in rows
        ]

    def pause(self, opening: int | None) -> float:
        """Give the typical pause before a trial, in rows; nan where there is none.

        Parameters
        ----------
        opening : int or None
            The event with which trials begin, see `pipeline.detectors.semi_markov.order.Order`.
        """
        rows = self.until(opening)
        return float(np.median(rows)) if rows else float("nan")


def by_pace(timings: list[Timing], opening: int | None, most: int) -> list[list[Timing]]:
    """Group series whose pauses are alike.

    Parameters
    ----------
    timings : list of Timing
        Of a subject's series.
    opening : int or None
        The event with which trials begin. Where there is none, there are no pauses, and all series
        are one group.
    most : int
        Groups, at most.

    Returns
    -------
    list of list of Timing
        Shorter pauses first. Series without a pause are in the last group.
    """
    if opening is None:
        return [timings]
    from sklearn.cluster import KMeans  # here: a fitted detector is applied without scikit-learn

    lengths = np.log([timing.pause(opening) for timing in timings])
    lengths[np.isnan(lengths)] = np.nanmax(lengths) if np.isfinite(lengths).any() else 0.0
    groups = min(most, len(np.unique(lengths)))
    found = KMeans(groups, n_init=10, random_state=0).fit(lengths[:, None])
    order = np.argsort(found.cluster_centers_[:, 0])
    return [[timings[i] for i in np.flatnonzero(found.labels_ == group)] for group in order]


def pair_durations(
    group: list[Timing], timings: list[Timing], pair: tuple[int, int], opening: int | None
) -> list[int]:
    """Choose from which durations one pace's chances are made, for one pair of events.

    A pace has its own pauses; what is within trials is the same in all. Where a pair has fewer
    than `ENOUGH` durations, those of all pairs with the same following event stand for them, and
    where these are too few, all durations: Katz's back-off (1987, IEEE Transactions on Acoustics,
    Speech, and Signal Processing 35:400-401), without a discount.

    Parameters
    ----------
    group, timings : list of Timing
        The pace's series, and those of all paces.
    pair : (int, int)
        An event and the one after it.
    opening : int or None
        The event with which trials begin.

    Returns
    -------
    list of int
        Rows.
    """
    following = pair[1]
    choices = [[rows for timing in timings for rows in timing.durations.get(pair, [])]]
    choices.append([rows for timing in timings for rows in timing.until(following)])
    choices.append([rows for timing in timings for rows in timing.until(None)])
    if following == opening:
        choices.insert(0, [rows for timing in group for rows in timing.durations.get(pair, [])])
    return next((rows for rows in choices if len(rows) >= ENOUGH), choices[-1])


def pace_weights(
    group: list[Timing],
    timings: list[Timing],
    pair: tuple[int, int],
    opening: int | None,
    pooling: float,
) -> tuple[list[int], np.ndarray | None]:
    """Choose durations as `pair_durations` does, and how much each counts for one pace.

    In series with long pauses people also hold the object longer, and other durations within a
    trial follow the pace, too. So those of series of other paces count less.

    Parameters
    ----------
    group, timings, pair, opening
        See `pair_durations`.
    pooling : float
        What a duration within a trial counts in series of other paces, from 0 to 1.

    Returns
    -------
    list of int
        Rows.
    ndarray or None
        A weight for each; None where all count alike.
    """
    rows = pair_durations(group, timings, pair, opening)
    if pooling == 1 or pair[1] == opening:
        return rows, None
    own = [duration for timing in group for duration in timing.durations.get(pair, [])]
    if len(own) < ENOUGH:
        return rows, None
    others = [
        duration
        for timing in timings
        if not any(timing is each for each in group)
        for duration in timing.durations.get(pair, [])
    ]
    if not pooling:
        return own, None
    return own + others, np.repeat([1.0, pooling], [len(own), len(others)])


def start(group: list[Timing], opening: int | None, longest: int) -> int:
    """Say how far into a pause series of one pace begin: by their pauses and their first events."""
    known = [t.pause(opening) - t.events[0][0] for t in group if t.until(opening)]
    return int(np.clip(np.median(known), 0, longest - 1)) if known else 0
