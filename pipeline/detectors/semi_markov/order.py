"""Which event follows which, and how often: a chain's transition matrix, as pairs of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from pipeline.detectors.semi_markov.timing import Timing

# What is believed before any event is seen weighs as much as so many events.
PRIOR = 1.0
# What follows an event less often than this is left out: each pair takes time, and a trial in
# which one event was marked late is no other order.
RARE = 0.01


@dataclass(frozen=True)
class Order:
    """Which event follows which.

    Parameters
    ----------
    pairs : ndarray of int, shape (N, 2)
        An event and one that may follow it.
    follows : ndarray, shape (N,)
        The chance that it does. Those of one first event add up to 1; one that never takes place
        has none.
    begins : ndarray, shape (E,)
        The chance that each event is the last one before a series; they add up to 1.
    opening : int or None
        The event with which trials begin; None if series do not begin alike.
    left_out : int
        How often a pair was seen that is too rare.
    tells : float
        How much the last event tells of the next one: the share of the next one's entropy that is
        gone once the last one is known. 1 for a circle, 0 for any order; 0, too, for one event,
        which tells nothing.
    """

    pairs: np.ndarray
    follows: np.ndarray
    begins: np.ndarray
    opening: int | None
    left_out: int
    tells: float

    @classmethod
    def of(cls, timings: Sequence[Timing], kinds: int) -> Order:
        """Learn it from series.

        The chance that j follows k is ``(n_kj + c f_j) / (n_k + c)``: the mean of a Dirichlet
        distribution whose prior, worth c events, is how often each event takes place at all
        (MacKay and Peto 1995, Natural Language Engineering 1:289-307). Pairs rarer than `RARE`
        are left out, so that a fixed order is as fast as if it had been told.

        Parameters
        ----------
        timings : sequence of Timing
            Of one subject's series.
        kinds : int
            E.
        """
        counts, often = np.zeros((kinds, kinds)), np.zeros(kinds)
        for timing in timings:
            for pair, rows in timing.durations.items():
                counts[pair] += len(rows)
            for _, kind in timing.events:
                often[kind] += 1
        often = often / often.sum() if often.any() else np.full(kinds, 1 / kinds)
        chances = (counts + PRIOR * often) / (counts.sum(axis=1, keepdims=True) + PRIOR)
        # What never takes place is followed by nothing.
        kept, chances = without_rare(chances, often[:, None] > 0)
        left_out = int(counts[~kept].sum())
        pairs = np.argwhere(kept)

        first = np.zeros(kinds)
        for timing in timings:
            if timing.events:
                first[timing.events[0][1]] += 1
        opening = int(first.argmax()) if first.max() > first.sum() / 2 else None
        both = often[:, None] * chances
        begins = both / np.maximum(both.sum(axis=0), 1e-12) @ first  # what came before the first
        begins = begins / begins.sum() if begins.any() else np.full(kinds, 1 / kinds)
        follows = chances[tuple(pairs.T)]
        return cls(pairs, follows, begins, opening, left_out, _tells(often, chances))

    @classmethod
    def circle(cls, kinds: int) -> Order:
        """Give the order of a circle: after each event the next one, after the last the first."""
        events = np.arange(kinds)
        pairs = np.stack([events, np.roll(events, -1)], axis=1)
        return cls(pairs, np.ones(kinds), (events == kinds - 1).astype(float), 0, 0, 1.0)


def without_rare(chances: np.ndarray, possible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the pairs that are rarer than `RARE`; the likeliest of a row stays.

    Parameters
    ----------
    chances : ndarray, shape (E, E)
        That one event (row) is followed by another (column); a row adds up to 1 at most.
    possible : ndarray of bool, shape (E, E) or (E, 1)
        Which pairs can be kept at all.

    Returns
    -------
    kept : ndarray of bool, shape (E, E)
    chances : ndarray, shape (E, E)
        The chances of the rest, each `RARE` or more; a row adds up to 1, or to 0 if it has none.
    """
    kept = possible & ((chances >= RARE) | (chances == chances.max(axis=1, keepdims=True)))
    chances = np.where(kept, chances, 0)
    # A row that adds up to more than 1 does so by rounding: its chances must not fall for that.
    return kept, chances / np.clip(chances.sum(axis=1, keepdims=True), 1e-12, 1)


def _tells(often: np.ndarray, chances: np.ndarray) -> float:
    """Compute `Order.tells` from how often each event takes place, (E,), and follows, (E, E)."""
    first = often * chances.any(axis=1)
    following = first @ chances
    entropy, left = -xlogy(following, following).sum(), -first @ xlogy(chances, chances).sum(axis=1)
    return float(1 - left / entropy) if entropy > 1e-9 else 0.0
