"""How much the AUC would vary with other trials: its 95 % interval."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
BINS = 2000  # for the scores' ranks; intervals are a hundred times wider than the error of this


def trial_of_row(labels: NDArray) -> NDArray[np.int_]:
    """Give the trial of each row of one series: HandStart, the first column, begins a trial.

    Parameters
    ----------
    labels : ndarray, shape (T, E)

    Returns
    -------
    ndarray of int, shape (T,)
        0 before the first trial.
    """
    begins = np.diff(labels[:, 0].astype(np.int8), prepend=0) == 1
    return np.cumsum(begins)


def number_trials(labels: list[NDArray]) -> tuple[list[NDArray[np.int_]], int]:
    """Give each trial of all series a number that no other trial has.

    Parameters
    ----------
    labels : list of ndarray, each of shape (T, E)
        By series.

    Returns
    -------
    trials : list of ndarray of int, each of shape (T,)
        The number of each row's trial. The rows before the first trial of a series count as a
        trial, too.
    count : int
        How many trials there are.
    """
    trials, offset = [], 0
    for one in labels:
        trials.append(trial_of_row(one) + offset)
        offset = int(trials[-1].max()) + 1
    return trials, offset


def draw_trials(count: int) -> NDArray[np.float64]:
    """Draw as many trials as there are, with replacement, `RESAMPLES` times.

    Parameters
    ----------
    count : int
        How many there are.

    Returns
    -------
    ndarray, shape (RESAMPLES, count)
        How often each draw contains each trial. Every call gives the same draws.
    """
    random = np.random.default_rng(0)
    return random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)


def auc_interval(
    labels: list[NDArray], scores: list[NDArray], share: float = 0.95
) -> NDArray[np.float64]:
    """Give the interval of each event's pooled AUC, and of their mean, by drawing whole trials.

    The rows of one trial are not independent, so single rows are not drawn (block bootstrap;
    Efron & Tibshirani 1993, ch. 8).

    Parameters
    ----------
    labels, scores : list of ndarray, each of shape (T, E)
        By series.
    share : float
        Share of the draws that lie within the interval.

    Returns
    -------
    ndarray, shape (2, E + 1)
        The lower and the upper end. The last column is that of the mean; nan where an AUC is
        undefined.
    """
    trials, count = number_trials(labels)
    number, truth, together = (np.concatenate(part) for part in (trials, labels, scores))
    weight = draw_trials(count)
    drawn = np.column_stack(
        [
            _drawn_aucs(number, truth[:, event], together[:, event], weight)
            for event in range(truth.shape[1])
        ]
    )
    drawn = np.column_stack([drawn, drawn.mean(axis=1)])
    tail = 100 * (1 - share) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # if a column is all nan
        return np.nanpercentile(drawn, [tail, 100 - tail], axis=0)


def _drawn_aucs(
    trial: NDArray, truth: NDArray, score: NDArray, weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute one event's AUC for each draw, from histograms of the scores by trial."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1]))
    place = np.searchsorted(edges, score, side="right")
    counts = []
    for value in (1, 0):
        mine = truth == value
        table = np.zeros((weight.shape[1], len(edges) + 1))
        np.add.at(table, (trial[mine], place[mine]), 1.0)
        counts.append(weight @ table)
    hits, others = counts
    below = np.cumsum(others, axis=1) - others / 2  # ties count half
    pairs = hits.sum(axis=1) * others.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, (hits * below).sum(axis=1) / pairs, np.nan)
