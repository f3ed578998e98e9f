"""How one subject's chain is learned: by regressions, and by counting durations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve
from scipy.sparse import csr_array

from pipeline.config.methods.semi_markov import SemiMarkovMethod
from pipeline.detectors.scaling import Scaler, fit_scalers, standardise
from pipeline.detectors.semi_markov.chain import Chain, earlier, predict_from_past, weigh
from pipeline.detectors.semi_markov.notes import notes
from pipeline.detectors.semi_markov.order import Order
from pipeline.detectors.semi_markov.timing import (
    Timing,
    by_pace,
    find_events,
    pace_weights,
    spread,
    start,
)
from pipeline.features.feature_series import FeatureSeries

# Penalty of the regression on the past, relative to the features' variance.
PAST_RIDGE = 3e-4


def past_moments(ready: np.ndarray, observed: int, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Add up the products of all that predicts a row, see `pasts`, and with the row itself.

    The sums of two lags are those of the two lags before them but for the rows at either end, as
    in a Toeplitz matrix. So only the sums with the first lag are worked out row by row.

    Parameters
    ----------
    ready : ndarray of float32, shape (T', F)
        Standardised features of one series.
    observed, lags : int
        See `pasts`.

    Returns
    -------
    squares : ndarray, shape (P, P)
        Of what predicts, with itself.
    products : ndarray, shape (P, O)
        Of what predicts, with the observed features of the row.
    """
    rows, width = ready.shape
    seen, taps = ready[:, -observed:], width + (lags - 1) * observed

    def apart(first: np.ndarray, lag: int) -> np.ndarray:
        """Add up products of a row of `first` and what was seen `lag` rows before it."""
        lag = min(lag, rows)
        edge = np.outer(first[:lag].sum(axis=0, dtype=float), seen[0])
        return edge + first[lag:].T @ seen[: rows - lag]

    def at(lag: int, row: int) -> np.ndarray:
        return seen[max(row - lag, 0)].astype(float)

    whole = earlier(ready, 1)
    squares, products = np.empty((taps, taps)), np.empty((taps, observed))
    squares[:width, :width] = whole.T @ whole
    products[:width] = whole.T @ seen
    for lag in range(2, lags + 1):
        begin = width + (lag - 2) * observed
        here = slice(begin, begin + observed)
        squares[:width, here] = apart(whole, lag)
        squares[here, :width] = squares[:width, here].T
        for other in range(2, lag + 1):
            there = slice(begin - (lag - other) * observed, begin - (lag - other - 1) * observed)
            # Of the same two lags, less one each: in the block of all features, or just found.
            before = [slice(part.start - observed, part.stop - observed) for part in (there, here)]
            block = squares[before[0], before[1]] + np.outer(at(0, 0), at(0, 0))
            block = block - np.outer(at(other - 1, rows - 1), at(lag - 1, rows - 1))
            squares[there, here] = block
            squares[here, there] = block.T
        products[here] = apart(seen, lag).T
    return squares, products


def design(
    events: list[tuple[int, int]], rows: int, kinds: int, after: int, before: int
) -> csr_array:
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
    sparse array of float32, shape (rows, kinds * (after + before))
        Ones and zeros; those after come first.
    """
    place: list[np.ndarray] = []
    response: list[np.ndarray] = []
    ends = [*(row for row, _ in events), rows][1:]
    for (row, kind), end in zip(events, ends, strict=True):
        since = np.arange(min(end - row, after))
        place.append(row + since)
        response.append(kind * after + since)
    begins = [0, *(row for row, _ in events)][:-1]
    for (row, kind), begin in zip(events, begins, strict=True):
        until = np.arange(1, min(row - begin, before) + 1)
        place.append(row - until)
        response.append(kinds * after + kind * before + until - 1)
    where = [np.concatenate([np.zeros(0, dtype=int), *each]) for each in (place, response)]
    shape = rows, kinds * (after + before)
    return csr_array((np.ones(len(where[0]), dtype=np.float32), tuple(where)), shape=shape)


def roughness(lengths: list[int]) -> np.ndarray:
    """Make the penalty of responses that are not smooth: their second differences, squared."""
    total = sum(lengths)
    penalty, begin = np.zeros((total, total)), 0
    for length in lengths:
        bend = np.diff(np.eye(length), 2, axis=0)
        penalty[begin : begin + length, begin : begin + length] = bend.T @ bend
        begin += length
    return penalty


@dataclass(frozen=True)
class Whitened:
    """One subject's fitted series, less what their own past foretells; and their events.

    Parameters
    ----------
    scaler : (ndarray, ndarray)
        The features' mean and standard deviation, each of shape (F,).
    past, whiten : ndarray, shape (P, O) and (O, O)
        See `pipeline.detectors.semi_markov.chain.Chain`.
    white : list of ndarray, each of shape (T', O)
        By series: what was not predicted, white and weighed.
    timings : list of Timing
        By series.
    widths : list of (int, int)
        The event and the rows of each label.
    kinds : int
        E.
    """

    scaler: Scaler
    past: np.ndarray
    whiten: np.ndarray
    white: list[np.ndarray]
    timings: list[Timing]
    widths: list[tuple[int, int]]
    kinds: int

    @classmethod
    def of(cls, fitted: list[FeatureSeries], options: SemiMarkovMethod, channels: int) -> Whitened:
        """Fit what needs no events, and find the events; of recordings of so many channels."""
        (scaler,) = fit_scalers(fitted).values()
        ready = [standardise(np.asarray(s.features), scaler) for s in fitted]
        past = _fit_past(ready, options, channels)
        observed = past.shape[1]
        surprise = [
            part[:, -observed:] - predict_from_past(part, options.tap_count, past) for part in ready
        ]
        whiten = _whitener(surprise)

        kinds = np.asarray(fitted[0].labels).shape[1]
        found = [find_events(np.asarray(series.labels)) for series in fitted]
        timings = [Timing.of(events) for events, _ in found]
        white = [weigh(part @ whiten) for part in surprise]
        widths = [width for _, seen in found for width in seen]
        return cls(scaler, past, whiten, white, timings, widths, kinds)

    def notes(
        self, order: Order, fitted: list[FeatureSeries], events: Sequence[str]
    ) -> Counter[str]:
        """Say what is odd, see `pipeline.detectors.semi_markov.notes`."""
        numbers = [series.series for series in fitted]
        return notes(order, self.timings, numbers, self.widths, events)

    def chain(
        self, options: SemiMarkovMethod, held_out: Collection[int] = ()
    ) -> tuple[Chain, Order]:
        """Fit the subject's chain, and the order of its events.

        Parameters
        ----------
        options : SemiMarkovMethod
            The method's options.
        held_out : collection of int
            Series, in the order of `white`, whose events teach no response and no duration. The
            order and the paces are those of all series. A pace that has no others keeps their
            durations: else the chain would not know it.
        """
        kinds = self.kinds
        kept = [number for number in range(len(self.white)) if number not in held_out]
        timings = [self.timings[number] for number in kept]
        white = [self.white[number] for number in kept]
        responses, axes = _fit_responses(white, timings, kinds, options)
        after, before = options.rows_after, options.rows_before
        order = Order.of(self.timings, kinds)
        opening, pairs = order.opening, [(int(last), int(then)) for last, then in order.pairs]
        longest = before + 2 * max(
            rows for t in self.timings for pair in pairs for rows in [1, *t.durations.get(pair, [])]
        )
        every = by_pace(self.timings, opening, options.paces)
        paces = [[one for one in pace if any(one is t for t in timings)] or pace for pace in every]
        smooth, tail, pooling = (
            options.duration_smooth, options.duration_tail, options.duration_pooling,
        )  # fmt: skip

        def spread_of(pace: list[Timing], pair: tuple[int, int]) -> np.ndarray:
            rows, weights = pace_weights(pace, timings, pair, opening, pooling)
            return spread(rows, longest, smooth, tail, weights)

        durations = [[spread_of(pace, pair) for pair in pairs] for pace in paces]
        chain = Chain(
            *self.scaler, self.past, self.whiten, axes.astype(np.float32),
            responses[: kinds * after].reshape(kinds, after, -1).astype(np.float32),
            responses[kinds * after :].reshape(kinds, before, -1).astype(np.float32),
            np.array(durations).astype(np.float32),
            np.array([len(pace) / len(self.timings) for pace in every], dtype=np.float32),
            np.array([start(pace, opening, longest - before) for pace in paces]),
            order.pairs, order.follows.astype(np.float32), order.begins.astype(np.float32),
        )  # fmt: skip
        return chain, order


def fit_chain(
    fitted: list[FeatureSeries], events: Sequence[str], options: SemiMarkovMethod, channels: int
) -> tuple[Chain, list[int], Counter[str], Order]:
    """Fit one subject's chain.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Of one subject.
    events : sequence of str
        Their names.
    options : SemiMarkovMethod
        The method's options.
    channels : int
        Of the recordings.

    Returns
    -------
    Chain
    list of int
        Rows of each event's label that was seen.
    Counter
        What there is to tell, see `pipeline.detectors.semi_markov.notes`.
    Order
        Which event follows which.
    """
    found = Whitened.of(fitted, options, channels)
    chain, order = found.chain(options)
    widths = [rows for _, rows in found.widths]
    return chain, widths, found.notes(order, fitted, events), order


def _fit_past(ready: list[np.ndarray], options: SemiMarkovMethod, channels: int) -> np.ndarray:
    """Fit the weights with which earlier rows predict the observed features, shape (P, O)."""
    width, lags = ready[0].shape[1], options.tap_count
    observed = min(options.observed * channels or width, width)
    rows, taps = sum(len(part) for part in ready), width + (lags - 1) * observed
    squares, products = PAST_RIDGE * rows * np.eye(taps), np.zeros((taps, observed))
    for part in ready:
        more_squares, more_products = past_moments(part, observed, lags)
        squares += more_squares
        products += more_products
    return solve(squares, products, assume_a="pos").astype(np.float32)


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
    squares = options.response_smooth * roughness([after] * kinds + [before] * kinds)
    squares += options.response_ridge * np.eye(len(squares))
    products = np.zeros((len(squares), white[0].shape[1]))
    for timing, part in zip(timings, white, strict=True):
        chosen = design(timing.events, len(part), kinds, after, before)
        squares += (chosen.T @ chosen).toarray()
        products += chosen.T @ part
    responses = solve(squares, products, assume_a="pos")
    left, strengths, right = np.linalg.svd(responses, full_matrices=False)
    strengths = np.maximum(strengths - options.response_shrinkage, 0)[: options.rank]
    # Half of the trust is in each factor: their product is the evidence.
    factor, kept = np.sqrt(options.trust), len(strengths)
    return factor * left[:, :kept] * strengths, factor * right[:kept].T
