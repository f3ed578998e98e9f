"""A detector that knows how a trial goes: event after event, each with its response and its pauses.

What has happened so far is the state: which event was the last, how long ago, and in how many rows
the next one comes, as in a semi-Markov chain with explicit durations (Yu 2010, Artificial
Intelligence 174:215-243; the durations are those of the fitted trials). Each state says what the
features should look like: responses after the last event and before the next one, found by
regression on events in continuous data (Smith and Kutas 2015, Psychophysiology 52:157-168), in
features of which all that their own past foretells has been taken away. Series may go at different
paces, with short pauses between trials or with long ones: which it is belongs to the state, too,
and is known after a trial or two. Row by row, Bayes' rule weighs all states by how well they
foretell that row; the chance that a state within an event's window is the true one is that event's
prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve
from sklearn.cluster import KMeans

from pipeline.detectors.taps import fit_scalers, standardise
from pipeline.errors import DataError
from pipeline.features.filter_bank import FeatureSeries
from pipeline.work.tasks import Report

# Rows far from all others weigh less, as if the noise had Student's t with so many degrees of
# freedom: a burst of artefacts is no evidence for anything.
FREEDOM = 60.0
# Of the regression on the past, relative to the features' variance.
PAST_RIDGE = 3e-4
# Share of the durations that is spread evenly over all of them, so that none is impossible.
ANY_DURATION = 1e-4
# Predicted probabilities keep this far from 0 and 1, which have no logits.
CERTAIN = 1e-6
# No state's evidence in one row is beyond e to this power, which single precision can hold.
MOST_EVIDENCE = 30.0
# The chance, each row, that all was wrong, the pace too, and it is the pause after a trial.
LOST = 1e-9
# Beside `pipeline.detectors.taps.READS`, of the group ``method``.
READS = (
    "tap_count", "observed", "rows_after", "rows_before", "response_ridge", "response_smooth",
    "response_shrinkage", "rank", "trust", "paces", "duration_smooth",
)  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """One subject's states, and what each foretells.

    Parameters
    ----------
    mean, deviation : ndarray, shape (F,)
        Of the features.
    past : ndarray, shape (P, O)
        Weights of the past, see `look_back`, that foretell the last O features.
    whiten : ndarray, shape (O, O)
        Makes what is left white.
    axes : ndarray, shape (O, K)
        The directions, in white features, in which the events show.
    after, before : ndarray, shape (E, A, K) and (E, B, K)
        Responses by rows since an event, from 0, and by rows until one, from 1.
    durations : ndarray, shape (G, E, D)
        By pace, the chance that so many rows lie between an event and the next one, from 1.
    shares : ndarray, shape (G,)
        Of the fitted series, by pace; they add up to 1.
    starts : ndarray of int, shape (G,)
        How far a series of each pace is into a pause when it begins, in rows.
    """

    mean: np.ndarray
    deviation: np.ndarray
    past: np.ndarray
    whiten: np.ndarray
    axes: np.ndarray
    after: np.ndarray
    before: np.ndarray
    durations: np.ndarray
    shares: np.ndarray
    starts: np.ndarray

    def evidence(self, features: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
        """Say how well each response fits each row.

        Parameters
        ----------
        features : ndarray, shape (T', F)
            Of one series.
        lags : int
            See `look_back`.

        Returns
        -------
        after, before : ndarray of float32, shape (T', E, A) and (T', E, B)
            The products of responses and row: log likelihoods, but for what depends on the state
            alone.
        """
        ready = standardise(features, (self.mean, self.deviation)).astype(np.float32)
        surprise = ready[:, -self.past.shape[1] :] - look_back(ready, lags, self.past)
        row = weigh(surprise @ self.whiten) @ self.axes
        both = (np.tensordot(row, each, axes=(1, 2)) for each in (self.after, self.before))
        after, before = (np.clip(each, -MOST_EVIDENCE, MOST_EVIDENCE) for each in both)
        return after, before


@dataclass(frozen=True)
class SemiMarkovDetector:
    """A chain for every subject.

    Parameters
    ----------
    chains : dict of int to Chain
        By subject.
    lags : int
        See `look_back`.
    half : int
        An event's window reaches so many rows before and after it.
    """

    chains: dict[int, Chain]
    lags: int
    half: int

    def predict(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        chain = self.chains[subject]
        chance = np.clip(follow(chain, self.half, *chain.evidence(features, self.lags)),
                         CERTAIN, 1 - CERTAIN)  # fmt: skip
        return (np.log(chance) - np.log1p(-chance)).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        chains = {
            str(subject): {name: torch.from_numpy(part) for name, part in vars(chain).items()}
            for subject, chain in self.chains.items()
        }
        torch.save({"chains": chains, "lags": self.lags, "half": self.half}, path)

    @classmethod
    def load(cls, path: Path) -> SemiMarkovDetector:
        """Read what `save` wrote."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        chains = {
            int(subject): Chain(**{name: part.numpy() for name, part in parts.items()})
            for subject, parts in stored["chains"].items()
        }
        return cls(chains, stored["lags"], stored["half"])


def earlier(rows: np.ndarray, by: int) -> np.ndarray:
    """Shift rows, shape (T', n), to where they are read `by` rows later; the first one is held."""
    return np.concatenate([np.repeat(rows[:1], min(by, len(rows)), axis=0), rows[:-by]])


def pasts(ready: np.ndarray, observed: int, lags: int) -> Iterable[np.ndarray]:
    """Give the parts of the past that foretell a row: one row ago all features, further the last.

    Parameters
    ----------
    ready : ndarray, shape (T', F)
        Standardised features of one series. The filter bank's slower filters are a memory of what
        lies longer ago than the lags.
    observed : int
        The last so many features are foretold.
    lags : int
        So many rows ago at most.
    """
    yield earlier(ready, 1)
    for lag in range(2, lags + 1):
        yield earlier(ready[:, -observed:], lag)


def look_back(ready: np.ndarray, lags: int, weights: np.ndarray) -> np.ndarray:
    """Foretell the observed features of a row from earlier rows, see `pasts`; shape (T', O)."""
    foretold, begin = np.zeros((len(ready), weights.shape[1]), dtype=np.float32), 0
    for part in pasts(ready, weights.shape[1], lags):
        foretold += part @ weights[begin : begin + part.shape[1]]
        begin += part.shape[1]
    return foretold


def weigh(white: np.ndarray) -> np.ndarray:
    """Weigh each row, shape (T', O), as Student's t does: less the further it lies from all."""
    degrees = FREEDOM + white.shape[1]
    return white * (degrees / (FREEDOM + np.square(white).sum(axis=1, keepdims=True)))


def happened(labels: np.ndarray) -> tuple[list[tuple[int, int]], list[int]]:
    """Find the events behind their windows.

    Parameters
    ----------
    labels : ndarray, shape (T', E)
        1 within an event's window.

    Returns
    -------
    events : list of (int, int)
        Row and event, in their order. A window's middle is where the event is.
    widths : list of int
        Rows of each window.
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
        Rows from an event to the next; none seen makes all alike.
    longest : int
        Of all.
    smoothing : float
        The kernel's width: of the durations' spread over the fifth root of their number.
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
        See `happened`.
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
    """Put series together whose pauses are alike.

    Parameters
    ----------
    timings : list of Timing
        Of a subject's series.
    most : int
        Groups, at most.

    Returns
    -------
    list of list of Timing
        Shorter pauses first. Series without a pause are with the longest.
    """
    lengths = np.log([timing.pause for timing in timings])
    lengths[np.isnan(lengths)] = np.nanmax(lengths) if np.isfinite(lengths).any() else 0.0
    groups = min(most, len(np.unique(lengths)))
    found = KMeans(groups, n_init=10, random_state=0).fit(lengths[:, None])
    order = np.argsort(found.cluster_centers_[:, 0])
    return [[timings[i] for i in np.flatnonzero(found.labels_ == group)] for group in order]


def pace_durations(
    group: list[Timing], timings: list[Timing], longest: int, smoothing: float
) -> np.ndarray:
    """Work out one pace's durations: its own pauses, and all that is within trials, of any pace."""
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
    """Say which response stands in each row: that after the last event, and before the next one.

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


def fit_chain(fitted: list[FeatureSeries], method: dict[str, Any]) -> tuple[Chain, list[int]]:
    """Fit one subject's chain.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Of one subject.
    method : dict
        The group ``method``.

    Returns
    -------
    Chain
    list of int
        Rows of each event's window that was seen.
    """
    (scaler,) = fit_scalers(fitted).values()
    ready = [standardise(np.asarray(s.features), scaler).astype(np.float32) for s in fitted]
    lags = method["tap_count"]
    observed = min(method["observed"] or ready[0].shape[1], ready[0].shape[1])

    rows, taps = sum(len(part) for part in ready), ready[0].shape[1] + (lags - 1) * observed
    parts = ((np.concatenate([*pasts(p, observed, lags)], 1), p[:, -observed:]) for p in ready)
    past = regress(parts, PAST_RIDGE * rows * np.eye(taps), observed).astype(np.float32)

    surprise = [part[:, -observed:] - look_back(part, lags, past) for part in ready]
    moments = sum(part.T.astype(float) @ part for part in surprise) / rows
    sizes, axes = np.linalg.eigh(moments)
    whiten = (axes / np.sqrt(np.maximum(sizes, sizes[-1] * 1e-9))).astype(np.float32)

    after, before = method["rows_after"], method["rows_before"]
    kinds = np.asarray(fitted[0].labels).shape[1]
    widths: list[int] = []
    timings = []
    for series in fitted:
        events, seen = happened(np.asarray(series.labels))
        widths += seen
        timings.append(Timing.of(events, kinds))
    parts = (
        (design(timing.events, len(part), kinds, after, before), weigh(part @ whiten))
        for timing, part in zip(timings, surprise, strict=True)
    )
    penalty = method["response_smooth"] * roughness([after] * kinds + [before] * kinds)
    penalty += method["response_ridge"] * np.eye(len(penalty))
    responses = regress(parts, penalty, observed)

    left, strengths, right = np.linalg.svd(responses, full_matrices=False)
    strengths = np.maximum(strengths - method["response_shrinkage"], 0)[: method["rank"]]
    responses = np.sqrt(method["trust"]) * left[:, : len(strengths)] * strengths
    axes = np.sqrt(method["trust"]) * right[: len(strengths)].T
    longest = before + 2 * max(
        max(rows, default=1) for timing in timings for rows in timing.durations
    )
    paces = by_pace(timings, method["paces"])
    durations = [
        pace_durations(pace, timings, longest, method["duration_smooth"]) for pace in paces
    ]
    mean, deviation = (part.astype(np.float32) for part in scaler)
    chain = Chain(
        mean, deviation, past, whiten, axes.astype(np.float32),
        responses[: kinds * after].reshape(kinds, after, -1).astype(np.float32),
        responses[kinds * after :].reshape(kinds, before, -1).astype(np.float32),
        np.stack(durations).astype(np.float32),
        np.array([len(pace) / len(timings) for pace in paces], dtype=np.float32),
        np.array([start(pace, longest - before) for pace in paces]),
    )  # fmt: skip
    return chain, widths


def fit(
    fitted: list[FeatureSeries], method: dict[str, Any], report: Report
) -> tuple[SemiMarkovDetector, list[dict[str, float]]]:
    """Fit a chain for each subject.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Of any subjects; whole trials.
    method : dict
        The group ``method``.
    report : callable
        Told each subject as it is done.

    Returns
    -------
    SemiMarkovDetector
    list of dict
        The history, of one line with nothing in it.

    Raises
    ------
    DataError
        For a subject without any event.
    """
    subjects = sorted({series.subject for series in fitted})
    chains, widths = {}, []
    for subject in subjects:
        chains[subject], seen = fit_chain([s for s in fitted if s.subject == subject], method)
        if not seen:
            raise DataError(
                f"subject {subject}: no event in the fitted series; check dataset.train_series"
            )
        widths += seen
        report(1 / len(subjects), {})
    return SemiMarkovDetector(chains, method["tap_count"], int(np.median(widths)) // 2), [{}]


def follow(chain: Chain, half: int, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Weigh all states of a series, row by row.

    Parameters
    ----------
    chain : Chain
        Whose states.
    half : int
        An event's window reaches so many rows before and after it.
    after, before : ndarray, shape (T', E, A) and (T', E, B)
        Each row's evidence, see `Chain.evidence`.

    Returns
    -------
    ndarray of float32, shape (T', E)
        The chance that a row lies within each event's window, given that row and those before it.

    Notes
    -----
    A state is near the next event, ``near[g, k, a, b]``: at pace g the last event, k, was a rows
    ago (at most A: longer ago leaves no response), and the next one, k + 1, comes in b + 1 rows; or
    it is still far from it, ``far[g, k, a]``: more than B rows, and how likely it is to come near
    now depends on a.
    """
    kinds, ages, _ = chain.after.shape
    untils = chain.before.shape[1]
    durations = chain.durations.astype(np.float64)
    paces, longest = len(durations), durations.shape[2] - untils

    # What a state foretells costs it half its size, whatever the row is.
    ending = np.roll(chain.before, -1, axis=0)  # by the last event, like all else
    aged = np.concatenate([chain.after, np.zeros_like(chain.after[:, :1])], axis=1)
    size = np.square(aged).sum(axis=2)
    both = size[:, :, None] + np.square(ending).sum(axis=2)[:, None] + 2 * aged @ ending.mT
    cost_near, cost_far = np.exp(-both / 2), np.exp(-size[:, :ages] / 2)
    # Chances of a duration beyond each, and of coming near at each age while far.
    beyond = np.cumsum(durations[..., ::-1], axis=2)[..., ::-1][..., untils:]
    nearing = (durations[..., untils:] / np.maximum(beyond, 1e-30)).clip(0, 1).astype(np.float32)
    nearing[..., -1] = 1
    soon = durations[..., :untils].astype(np.float32)
    later = beyond[..., 0].astype(np.float32)
    # Events further than the last and the next: only their durations are known.
    until = np.cumsum(np.pad(durations, ((0, 0), (0, 0), (1, 0))), axis=2)
    shortly = until[..., np.arange(half, -1, -1).clip(0, until.shape[2] - 1)].astype(np.float32)
    one_before, one_after = np.roll(shortly, 1, axis=1), np.roll(shortly, -1, axis=1)
    seen, coming = min(half + 1, ages), min(half, untils)

    near = np.zeros((paces, kinds, ages + 1, untils), dtype=np.float32)
    far = np.zeros((paces, kinds, longest), dtype=np.float32)
    pause = min(ages, longest - 1)
    far[np.arange(paces), -1, chain.starts] = chain.shares  # a series begins within a pause
    moved, chances = np.zeros_like(near), np.zeros((len(after), kinds), dtype=np.float32)
    early, total = min(ages, longest), np.float32(1)
    since = np.ones((kinds, ages + 1), dtype=np.float32)
    for row, (after_now, ahead) in enumerate(
        zip(np.exp(after), np.exp(np.roll(before, -1, axis=1)), strict=True)
    ):
        # The weights' sum is taken off a row later, with what is multiplied anyway.
        since[:, :ages], since[:, ages] = after_now / total, 1 / total
        fits = cost_near * since[:, :, None] * ahead[:, None]
        happening = np.roll(near[..., 0].sum(axis=2), 1, axis=1)
        approaching = far * nearing
        np.multiply(near[:, :, :-1, 1:], fits[:, 1:, :-1], out=moved[:, :, 1:, :-1])
        moved[:, :, ages, :-1] += near[:, :, ages, 1:] * fits[:, ages, :-1]
        moved[..., -1] = 0
        moved[:, :, 1 : early + 1, -1] = approaching[..., :early]
        moved[:, :, ages, -1] += approaching[..., early:].sum(axis=2)
        moved[..., -1] *= fits[..., -1]
        moved[:, :, 0] = happening[..., None] * soon * fits[:, 0]
        far -= approaching
        far[..., 1:] = far[..., :-1].copy()
        far[..., 0] = happening * later
        far[..., :early] *= (since[:, :ages] * cost_far)[:, :early]
        far[..., early:] /= total
        near, moved = moved, near
        total = near.sum() + far.sum()
        far[:, -1, pause] += LOST * total * chain.shares

        ago = near[:, :, :seen].sum(axis=3)
        ago[..., : min(seen, longest)] += far[..., :seen]
        hence = near[..., :coming].sum(axis=2)
        chance = ago.sum(axis=2) + np.roll(hence.sum(axis=2), 1, axis=1)
        chance += np.roll((ago * one_before[..., :seen]).sum(axis=2), -1, axis=1)
        chance += np.roll((hence * one_after[..., 1 : coming + 1]).sum(axis=2), 2, axis=1)
        chances[row] = chance.sum(axis=0) / total
    return chances
