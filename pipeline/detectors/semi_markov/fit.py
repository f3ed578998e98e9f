"""How one subject's chain is learned: by regressions, and by counting durations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg import solve

from pipeline.config.methods.semi_markov import SemiMarkovMethod
from pipeline.detectors.scaling import fit_scalers, standardise
from pipeline.detectors.semi_markov.chain import Chain, pasts, predict_from_past, weigh
from pipeline.detectors.semi_markov.order import Order
from pipeline.detectors.semi_markov.timing import (
    Timing,
    by_pace,
    find_events,
    pair_durations,
    spread,
    start,
)
from pipeline.features.feature_series import FeatureSeries

# Penalty of the regression on the past, relative to the features' variance.
PAST_RIDGE = 3e-4


def regress(
    parts: Iterable[tuple[np.ndarray, np.ndarray]], penalty: np.ndarray, outputs: int
) -> np.ndarray:
    """Regress with a penalty, piece by piece.

    Parameters
    ----------
    parts : iterable of (ndarray, ndarray)
        What is read, shape (n, P), and what is wanted, shape (n, outputs).
    penalty : ndarray, shape (P, P)
        Of the weights, as a quadratic form.
    outputs : int
        How many are wanted.

    Returns
    -------
    ndarray, shape (P, outputs)
        The weights.
    """
    squares, products = penalty.copy(), np.zeros((len(penalty), outputs))
    for read, wanted in parts:
        squares += read.T @ read
        products += read.T @ wanted
    return solve(squares, products, assume_a="pos")


def design(
    events: list[tuple[int, int]], rows: int, kinds: int, after: int, before: int
) -> np.ndarray:
    """Say which response is in each row: that after the last event, and before the next one.

    Parameters
    ----------
    events : list of (int, int)
        Row and event, see `pipeline.detectors.semi_markov.timing.find_events`.
    rows : int
        Of the series.
    kinds : int
        E.
    after, before : int
        Rows of a response after an event and before one.

    Returns
    -------
    ndarray of float32, shape (rows, kinds * (after + before))
        Ones and zeros; those after come first.
    """
    chosen = np.zeros((rows, kinds * (after + before)), dtype=np.float32)
    ends = [*(row for row, _ in events), rows][1:]
    for (row, kind), end in zip(events, ends, strict=True):
        since = np.arange(min(end - row, after))
        chosen[row + since, kind * after + since] = 1
    begins = [0, *(row for row, _ in events)][:-1]
    for (row, kind), begin in zip(events, begins, strict=True):
        until = np.arange(1, min(row - begin, before) + 1)
        chosen[row - until, kinds * after + kind * before + until - 1] = 1
    return chosen


def roughness(lengths: list[int]) -> np.ndarray:
    """Make the penalty of responses that are not smooth: their second differences, squared."""
    total = sum(lengths)
    penalty, begin = np.zeros((total, total)), 0
    for length in lengths:
        bend = np.diff(np.eye(length), 2, axis=0)
        penalty[begin : begin + length, begin : begin + length] = bend.T @ bend
        begin += length
    return penalty


def fit_chain(fitted: list[FeatureSeries], options: SemiMarkovMethod) -> tuple[Chain, list[int]]:
    """Fit one subject's chain.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Of one subject.
    options : SemiMarkovMethod
        The method's options.

    Returns
    -------
    Chain
    list of int
        Rows of each event's label that was seen.
    """
    (scaler,) = fit_scalers(fitted).values()
    ready = [standardise(np.asarray(s.features), scaler).astype(np.float32) for s in fitted]
    past = _fit_past(ready, options)
    observed = past.shape[1]
    surprise = [
        part[:, -observed:] - predict_from_past(part, options.tap_count, past) for part in ready
    ]
    whiten = _whitener(surprise)

    kinds = np.asarray(fitted[0].labels).shape[1]
    widths: list[int] = []
    timings = []
    for series in fitted:
        events, seen = find_events(np.asarray(series.labels))
        widths += seen
        timings.append(Timing.of(events))
    white = [weigh(part @ whiten) for part in surprise]
    responses, axes = _fit_responses(white, timings, kinds, options)
    after, before = options.rows_after, options.rows_before
    order = Order.of(timings, kinds)
    opening, pairs = order.opening, [(int(last), int(then)) for last, then in order.pairs]
    longest = before + 2 * max(
        rows for t in timings for pair in pairs for rows in [1, *t.durations.get(pair, [])]
    )
    paces = by_pace(timings, opening, options.paces)
    durations = [
        [
            spread(pair_durations(pace, timings, pair, opening), longest, options.duration_smooth)
            for pair in pairs
        ]
        for pace in paces
    ]
    mean, deviation = (part.astype(np.float32) for part in scaler)
    chain = Chain(
        mean, deviation, past, whiten, axes.astype(np.float32),
        responses[: kinds * after].reshape(kinds, after, -1).astype(np.float32),
        responses[kinds * after :].reshape(kinds, before, -1).astype(np.float32),
        np.array(durations).astype(np.float32),
        np.array([len(pace) / len(timings) for pace in paces], dtype=np.float32),
        np.array([start(pace, opening, longest - before) for pace in paces]),
        order.pairs, order.follows.astype(np.float32), order.begins.astype(np.float32),
    )  # fmt: skip
    return chain, widths


def _fit_past(ready: list[np.ndarray], options: SemiMarkovMethod) -> np.ndarray:
    """Fit the weights with which earlier rows predict the observed features, shape (P, O)."""
    width, lags = ready[0].shape[1], options.tap_count
    observed = min(options.observed or width, width)
    rows, taps = sum(len(part) for part in ready), width + (lags - 1) * observed
    parts = ((np.concatenate([*pasts(p, observed, lags)], 1), p[:, -observed:]) for p in ready)
    return regress(parts, PAST_RIDGE * rows * np.eye(taps), observed).astype(np.float32)


def _whitener(surprise: list[np.ndarray]) -> np.ndarray:
    """Make the matrix, shape (O, O), that turns what was not predicted white."""
    rows = sum(len(part) for part in surprise)
    moments = sum(part.T.astype(float) @ part for part in surprise) / rows
    sizes, axes = np.linalg.eigh(moments)
    return (axes / np.sqrt(np.maximum(sizes, sizes[-1] * 1e-9))).astype(np.float32)


def _fit_responses(
    white: list[np.ndarray], timings: list[Timing], kinds: int, options: SemiMarkovMethod
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the responses to the events, and keep the directions in which they are strongest.

    Returns
    -------
    responses : ndarray, shape (E * (A + B), K)
        Those after the events, then those before them.
    axes : ndarray, shape (O, K)
        The directions.
    """
    after, before = options.rows_after, options.rows_before
    parts = (
        (design(timing.events, len(part), kinds, after, before), part)
        for timing, part in zip(timings, white, strict=True)
    )
    penalty = options.response_smooth * roughness([after] * kinds + [before] * kinds)
    penalty += options.response_ridge * np.eye(len(penalty))
    responses = regress(parts, penalty, white[0].shape[1])
    left, strengths, right = np.linalg.svd(responses, full_matrices=False)
    strengths = np.maximum(strengths - options.response_shrinkage, 0)[: options.rank]
    # Half of the trust is in each factor: their product is the evidence.
    factor, kept = np.sqrt(options.trust), len(strengths)
    return factor * left[:, :kept] * strengths, factor * right[:kept].T
