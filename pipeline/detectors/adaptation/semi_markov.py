"""A chain for a new person: other people's chains, on average, corrected by his own series.

What the chains of others have in common is the start. From his own series come his scaler, and
corrections that are small where there is little to learn from: of the weights on the past and of
the responses by ridge regression, of the noise and the durations by counting the others' as some of
his own. Responses are averaged before the whitening, which is each person's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve

from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line
from pipeline.detectors.scaling import Scaler, fit_scalers, standardise
from pipeline.detectors.semi_markov.chain import Chain, predict_from_past, weigh
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.fit import PAST_RIDGE, design, past_moments, roughness
from pipeline.detectors.semi_markov.notes import demand_events
from pipeline.detectors.semi_markov.order import Order, without_rare
from pipeline.detectors.semi_markov.timing import Timing, find_events, spread
from pipeline.features.feature_series import FeatureSeries

if TYPE_CHECKING:
    from pipeline.config.methods.semi_markov import SemiMarkovMethod

# What others count for: of the past, a penalty; of the noise, rows; of the responses, trials; of
# the durations, events.
PAST_OTHERS = 100.0
NOISE_OTHERS = 2000.0
RESPONSE_OTHERS = 60.0
DURATION_OTHERS = 10.0
# The mean of many people's responses is smaller than the response of any one of them. So where
# nobody can correct it, its evidence counts for more: a factor on the method's trust.
UNSEEN_TRUST = 3.0


@dataclass(frozen=True)
class Others:
    """What the chains of other people have in common.

    Parameters
    ----------
    chain : Chain
        Their mean; its features are standardised already.
    noise : ndarray, shape (O, O)
        Covariance of what the past does not foretell.
    responses : ndarray, shape (E * (A + B), O)
        To the events, before whitening.
    half : int
        An event's label reaches so many rows before and after it.
    """

    chain: Chain
    noise: np.ndarray
    responses: np.ndarray
    half: int

    @classmethod
    def of(cls, known: Sequence[SemiMarkovDetector], options: SemiMarkovMethod) -> Others:
        """Average chains."""
        chains = [chain for each in known for chain in each.chains.values()]
        noises, responses = [], []
        for chain in chains:
            back = np.linalg.inv(chain.whiten.astype(float))
            noises.append(back.T @ back)
            # Half of the trust is in each of the two factors.
            responses.append(flat(chain) @ chain.axes.T.astype(float) / options.trust @ back)
        noise, response = np.mean(noises, axis=0), np.mean(responses, axis=0)
        past = np.mean([chain.past for chain in chains], axis=0).astype(np.float32)
        whiten = whitener(noise)
        after, before, axes = factors(response @ whiten, chains[0], options, UNSEEN_TRUST)
        width = len(chains[0].mean)
        chain = Chain(
            np.zeros(width), np.ones(width, dtype=np.float32), past, whiten, axes, after, before,
            *_mean_timing(chains),
        )  # fmt: skip
        return cls(chain, noise, response, int(np.median([each.half for each in known])))


def flat(chain: Chain) -> np.ndarray:
    """Give a chain's responses below one another, shape (E * (A + B), K)."""
    parts = [each.reshape(-1, each.shape[2]) for each in (chain.after, chain.before)]
    return np.concatenate(parts).astype(float)


def whitener(noise: np.ndarray) -> np.ndarray:
    """Make the matrix, shape (O, O), that turns noise of this covariance white."""
    sizes, axes = np.linalg.eigh(noise)
    return (axes / np.sqrt(np.maximum(sizes, sizes[-1] * 1e-9))).astype(np.float32)


def factors(
    responses: np.ndarray, like: Chain, options: SemiMarkovMethod, trust: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the directions in which white responses are strongest.

    Parameters
    ----------
    responses : ndarray, shape (E * (A + B), O)
    like : Chain
        With as many events and rows.
    options : SemiMarkovMethod
        How many directions, how much is subtracted, and how far the evidence is trusted.
    trust : float
        Factor on that.

    Returns
    -------
    after, before, axes
        As in `Chain`.
    """
    left, strengths, right = np.linalg.svd(responses, full_matrices=False)
    strengths = np.maximum(strengths - options.response_shrinkage, 0)[: options.rank]
    factor, kept = np.sqrt(trust * options.trust), len(strengths)
    curves = (factor * left[:, :kept] * strengths).astype(np.float32)
    kinds, rows = like.after.shape[:2]
    after, before = curves[: kinds * rows], curves[kinds * rows :]
    axes = (factor * right[:kept].T).astype(np.float32)
    return after.reshape(kinds, rows, -1), before.reshape(kinds, -1, kept), axes


def _mean_timing(chains: list[Chain]) -> tuple[np.ndarray, ...]:
    """Average what chains say of times: durations, shares, starts, pairs, follows and begins.

    A chain that lacks a pair says nothing of its durations. A chain of one pace has the same for
    both.
    """
    kinds, paces = len(chains[0].after), max(len(chain.shares) for chain in chains)
    longest = max(chain.durations.shape[2] for chain in chains)
    chances = np.zeros((kinds, kinds))
    durations = np.zeros((paces, kinds, kinds, longest))
    shares = np.zeros(paces)
    starts: list[list[int]] = [[] for _ in range(paces)]
    for chain in chains:
        groups = len(chain.shares)
        for pace in range(paces):
            own = min(pace, groups - 1)
            for (last, then), follows, chance in zip(
                chain.pairs, chain.follows, chain.durations[own], strict=True
            ):
                durations[pace, last, then, : len(chance)] += follows * chance
            shares[pace] += chain.shares[pace] if pace < groups else 0.0
            starts[pace].append(int(chain.starts[own]))
        for (last, then), follows in zip(chain.pairs, chain.follows, strict=True):
            chances[last, then] += follows / len(chains)
    kept, chances = without_rare(chances, chances > 0)
    pairs = np.argwhere(kept)
    found = durations[:, pairs[:, 0], pairs[:, 1]]
    found /= found.sum(axis=2, keepdims=True)
    begins = np.mean([chain.begins for chain in chains], axis=0)
    return (
        found.astype(np.float32), (shares / shares.sum()).astype(np.float32),
        np.array([int(np.median(each)) for each in starts]), pairs,
        chances[tuple(pairs.T)].astype(np.float32), (begins / begins.sum()).astype(np.float32),
    )  # fmt: skip


def fit_own(others: Others, own: list[FeatureSeries], options: SemiMarkovMethod) -> Chain:
    """Correct the others' chain by a new person's series.

    Parameters
    ----------
    others : Others
        The start.
    own : list of FeatureSeries
        His; one or more, with labels.
    options : SemiMarkovMethod
        The method's.
    """
    start = others.chain
    (scaler,) = fit_scalers(own).values()
    ready = [standardise(np.asarray(series.features), scaler) for series in own]
    past = _correct_past(start.past, ready, options)
    observed = past.shape[1]
    surprise = [
        part[:, -observed:] - predict_from_past(part, options.tap_count, past) for part in ready
    ]
    rows = sum(len(part) for part in surprise)
    noise = sum(part.T.astype(float) @ part for part in surprise) + NOISE_OTHERS * others.noise
    whiten = whitener(noise / (rows + NOISE_OTHERS))
    timings = [Timing.of(find_events(np.asarray(series.labels))[0]) for series in own]
    white = [weigh(part @ whiten) for part in surprise]
    responses = _correct_responses(others.responses @ whiten, white, timings, start, options)
    after, before, axes = factors(responses, start, options, 1.0)
    durations = _correct_durations(start, timings, options)
    return Chain(
        *scaler, past, whiten, axes, after, before, durations, start.shares, start.starts,
        start.pairs, start.follows, start.begins,
    )  # fmt: skip


def _correct_past(
    start: np.ndarray, ready: list[np.ndarray], options: SemiMarkovMethod
) -> np.ndarray:
    """Fit the weights on the past, (P, O), not far from those of others."""
    taps, observed = start.shape
    rows = sum(len(part) for part in ready)
    squares = (PAST_RIDGE * rows + PAST_OTHERS) * np.eye(taps)
    products = PAST_OTHERS * start.astype(float)
    for part in ready:
        more_squares, more_products = past_moments(part, observed, options.tap_count)
        squares += more_squares
        products += more_products
    return solve(squares, products, assume_a="pos").astype(np.float32)


def _correct_responses(
    start: np.ndarray,
    white: list[np.ndarray],
    timings: list[Timing],
    like: Chain,
    options: SemiMarkovMethod,
) -> np.ndarray:
    """Fit white responses, (E * (A + B), O), not far from those of others."""
    kinds, after = like.after.shape[:2]
    before = like.before.shape[1]
    squares = options.response_smooth * roughness([after] * kinds + [before] * kinds)
    squares += RESPONSE_OTHERS * np.eye(len(squares))
    products = np.zeros(start.shape)
    for timing, part in zip(timings, white, strict=True):
        chosen = design(timing.events, len(part), kinds, after, before)
        squares += (chosen.T @ chosen).toarray()
        products += chosen.T @ (part - chosen @ start)
    return start + solve(squares, products, assume_a="pos")


def _correct_durations(
    start: Chain, timings: list[Timing], options: SemiMarkovMethod
) -> np.ndarray:
    """Mix the others' durations with his own, (G, N, D), by how many there are.

    His pauses before a trial count for the pace that they are likeliest of; all else is the same in
    all paces.
    """
    kinds = len(start.after)
    opening = Order.of(timings, kinds).opening
    longest = start.durations.shape[2]
    mixed = start.durations.astype(float)
    pause = [number for number, (_, then) in enumerate(start.pairs) if then == opening]
    paces = [_pace(start, timing, pause) for timing in timings]
    for number, (last, then) in enumerate(start.pairs):
        for pace in range(len(mixed)):
            chosen = [
                timing
                for timing, its in zip(timings, paces, strict=True)
                if then != opening or its == pace
            ]
            rows = [r for each in chosen for r in each.durations.get((int(last), int(then)), [])]
            rows = [each for each in rows if each <= longest]
            if rows:
                own = spread(rows, longest, options.duration_smooth, options.duration_tail)
                share = len(rows) / (len(rows) + DURATION_OTHERS)
                mixed[pace, number] = share * own + (1 - share) * mixed[pace, number]
    return mixed.astype(np.float32)


def _pace(start: Chain, timing: Timing, pause: list[int]) -> int:
    """Say which pace a series' pauses are likeliest of."""
    likely = np.log(start.shares.astype(float) + 1e-12)
    for number in pause:
        last, then = start.pairs[number]
        rows = timing.durations.get((int(last), int(then)), [])
        at = np.clip(np.array(rows, dtype=int), 1, start.durations.shape[2]) - 1
        likely = likely + np.log(start.durations[:, number, at].astype(float) + 1e-12).sum(axis=1)
    return int(likely.argmax())


def scalers(known: Sequence[SemiMarkovDetector]) -> list[Scaler]:
    """Give the scaler of each person whom the detectors were fitted on."""
    return [(chain.mean, chain.deviation) for each in known for chain in each.chains.values()]


def adapted(
    known: Sequence[SemiMarkovDetector], data: FitData, subject: Id, options: SemiMarkovMethod
) -> tuple[SemiMarkovDetector, list[Line]]:
    """Fit a new person's chain; see `pipeline.detectors.adaptation.adapt.adapt`.

    Raises
    ------
    DataError
        For series without any event.
    """
    others = Others.of(known, options)
    chain = others.chain
    if data.fitted:
        demand_events(
            subject, [e for s in data.fitted for e in find_events(np.asarray(s.labels))[0]]
        )
        chain = fit_own(others, data.fitted, options)
    data.report(1.0, {})
    found = SemiMarkovDetector({subject: chain}, options.tap_count, others.half)
    return found, [{"best": True}]
