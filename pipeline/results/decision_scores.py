"""How good onsets are: hits, false alarms, F1, delays; and the choice of settings by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.recording import label_runs
from pipeline.results.decisions import Samples, dwell_samples, keep_apart, reached, runs
from pipeline.results.uncertainty import draw_trials, number_trials

Column = NDArray[np.float64]
"""One number per sample, trial or draw: mostly the probabilities of one event in one series."""

SHARES = 0.5, 0.0005
"""This share of the samples lies above the lowest threshold that is tried, and the highest."""


def event_centres(labels: NDArray) -> Samples:
    """Give the sample of each event. It is the centre of its label.

    Parameters
    ----------
    labels : ndarray, shape (T,)
        Zeros and ones.
    """
    return np.array([(first + stop) // 2 for first, stop in label_runs(labels)], dtype=int)


def match(onsets: Samples, true: Samples, tolerance: int) -> Samples:
    """Match true events with onsets: as many pairs as possible, each event and onset in one pair.

    All windows have the same length. So the best way is to take the events in their order, and for
    each the first onset that is free.

    Parameters
    ----------
    onsets, true : ndarray of int
        Ascending samples.
    tolerance : int
        The largest distance between the two, in samples.

    Returns
    -------
    ndarray of int
        For each true event the index of its onset, or -1 if it has none (a miss).
    """
    matched = np.full(len(true), -1)
    free, count = 0, len(onsets)
    first = np.searchsorted(onsets, true - tolerance).tolist()
    past = np.searchsorted(onsets, true + tolerance, side="right").tolist()
    for number, (begin, end) in enumerate(zip(first, past, strict=True)):
        free = max(free, begin)
        if free < min(end, count):
            matched[number] = free
            free += 1
    return matched


def f1_score(hits: Any, misses: Any, false_alarms: Any) -> Any:
    """Compute F1 = 2 hits / (2 hits + misses + false alarms); nan where all are 0."""
    whole = 2 * hits + misses + false_alarms
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, 2 * hits / np.where(whole > 0, whole, 1), np.nan)


@dataclass(frozen=True)
class Grid:
    """The settings that are tried, and how they are compared.

    Parameters
    ----------
    thresholds : int
        How many thresholds are tried. They are quantiles of the probabilities, so they suit the
        probabilities of any method. The shares of the samples above them are evenly spaced on a
        logarithmic scale.
    dwell_seconds, refractory_seconds : tuple of float
        Times that are tried, in s.
    tolerance_seconds : float
        The largest distance between an onset and the true event.
    most_false_alarms_per_minute : float, optional
        Settings with more false alarms are not chosen.
    """

    thresholds: int
    dwell_seconds: tuple[float, ...]
    refractory_seconds: tuple[float, ...]
    tolerance_seconds: float
    most_false_alarms_per_minute: float | None = None

    def levels(self, columns: Sequence[Column]) -> Column:
        """Give the thresholds that are tried on these series."""
        shares = 1 - np.geomspace(*SHARES, self.thresholds)
        return np.unique(np.quantile(np.concatenate(columns), shares, method="higher"))


class Choice(NamedTuple):
    """The settings of one event: threshold, and dwell and refractory time in s."""

    threshold: float
    dwell_seconds: float
    refractory_seconds: float


class Timeline:
    """Several series one after another, with gaps so long that no onset affects the next series.

    Parameters
    ----------
    columns : list of ndarray, each of shape (T,)
        Probabilities of one event.
    true : list of ndarray of int
        Samples of the true events.
    rate : float
        Samples per second.
    grid : Grid
        Its tolerance and refractory times determine the length of the gaps.
    """

    def __init__(self, columns: list[Column], true: list[Samples], rate: float, grid: Grid) -> None:
        self.columns, self.rate = columns, rate
        self.tolerance = round(grid.tolerance_seconds * rate)
        gap = round(max(grid.refractory_seconds) * rate) + 2 * self.tolerance + 1
        lengths = np.array([len(column) for column in columns])
        self.minutes = float(lengths.sum()) / rate / 60
        self.begins = np.concatenate([[0], np.cumsum(lengths + gap)])[:-1]
        self.true = np.concatenate([s + b for s, b in zip(true, self.begins, strict=True)])

    def runs(self, threshold: float) -> tuple[Samples, Samples]:
        """Give the starts and stops of all runs."""
        parts = [runs(column >= threshold) for column in self.columns]
        starts, stops = (
            np.concatenate([part[side] + b for part, b in zip(parts, self.begins, strict=True)])
            for side in (0, 1)
        )
        return starts, stops

    def onsets(self, found: tuple[Samples, Samples], dwell: float, refractory: float) -> Samples:
        """Give the onsets of such runs."""
        at = reached(*found, dwell_samples(dwell, self.rate))
        return np.array(keep_apart(at, round(refractory * self.rate)), dtype=int)

    def count(self, onsets: Samples) -> tuple[int, int, int]:
        """Count hits, misses and false alarms."""
        hits = int((match(onsets, self.true, self.tolerance) >= 0).sum())
        return hits, len(self.true) - hits, len(onsets) - hits


def choose(timeline: Timeline, grid: Grid) -> Choice:
    """Choose the settings of an event: the highest F1 that keeps the limit on false alarms.

    If several have the same F1, the one with the fewest false alarms is chosen; then the one with
    the highest threshold, the shortest dwell time and the shortest refractory time. If no setting
    keeps the limit, the one with the fewest false alarms is chosen.

    Parameters
    ----------
    timeline : Timeline
        The predictions, made by models that did not see these series.
    grid : Grid
        The settings to try.
    """
    best: tuple[float, ...] | None = None
    most = grid.most_false_alarms_per_minute
    for threshold in grid.levels(timeline.columns).tolist():
        found = timeline.runs(threshold)
        for dwell in grid.dwell_seconds:
            for refractory in grid.refractory_seconds:
                hits, misses, alarms = timeline.count(timeline.onsets(found, dwell, refractory))
                f1 = float(np.nan_to_num(f1_score(hits, misses, alarms)))
                if most is not None and alarms > most * timeline.minutes:
                    f1 = -1.0
                rank = (f1, -alarms, threshold, -dwell, -refractory)
                best = rank if best is None else max(best, rank)
    assert best is not None
    return Choice(best[2], -best[3], -best[4])


def sweep(timeline: Timeline, grid: Grid, chosen: Choice) -> tuple[Column, Column]:
    """Vary the threshold; dwell time and refractory time stay as chosen.

    Returns
    -------
    false_alarms_per_minute, hit_rate : ndarray
        One value per threshold, from the lowest threshold to the highest.
    """
    points = []
    for threshold in grid.levels(timeline.columns).tolist():
        onsets = timeline.onsets(
            timeline.runs(threshold), chosen.dwell_seconds, chosen.refractory_seconds
        )
        hits, misses, alarms = timeline.count(onsets)
        points.append((alarms / timeline.minutes, hits / max(1, hits + misses)))
    alarm_rate, hit_rate = np.array(points).T
    return alarm_rate, hit_rate


@dataclass(frozen=True)
class Outcome:
    """How good the onsets of one event are, by trial.

    Parameters
    ----------
    hits, misses, false_alarms : ndarray of int, shape (trials,)
        Hits and misses count for the trial of the true event, false alarms for the trial of the
        onset.
    seconds : ndarray, shape (trials,)
        How long each trial is.
    delays : ndarray, shape (hits,)
        Onset minus true event, in ms.
    delay_trials : ndarray of int, shape (hits,)
        The trial of each hit.
    """

    hits: Samples
    misses: Samples
    false_alarms: Samples
    seconds: Column
    delays: Column
    delay_trials: Samples


def outcome(
    onsets: list[Samples], labels: list[NDArray], column: int, rate: float, tolerance: float
) -> Outcome:
    """Compare one event's onsets with the truth.

    Parameters
    ----------
    onsets : list of ndarray of int
        By series.
    labels : list of ndarray, each of shape (T, E)
        By series.
    column : int
        Which event.
    rate : float
        Samples per second.
    tolerance : float
        The largest distance between an onset and the true event, in s.
    """
    trials, count = number_trials(labels)
    hits, misses, alarms, delays = [], [], [], []
    for found, truth, trial in zip(onsets, labels, trials, strict=True):
        true = event_centres(truth[:, column])
        matched = match(found, true, round(tolerance * rate))
        hit = matched >= 0
        hits.append(trial[true[hit]])
        misses.append(trial[true[~hit]])
        alarms.append(trial[np.delete(found, matched[hit])])
        delays.append(1000 * (found[matched[hit]] - true[hit]) / rate)
    by_trial: list[Any] = [
        np.bincount(np.concatenate(part), minlength=count) for part in (hits, misses, alarms)
    ]
    seconds = np.bincount(np.concatenate(trials), minlength=count) / rate
    return Outcome(
        by_trial[0], by_trial[1], by_trial[2], seconds, np.concatenate(delays), np.concatenate(hits)
    )


def summarise(result: Outcome, share: float = 0.95) -> dict[str, float]:
    """Give the figures of one event, with intervals from drawing trials again and again.

    Whole trials are drawn, as for the AUC (`pipeline.results.uncertainty`).

    Parameters
    ----------
    result : Outcome
        Of one event.
    share : float
        Share of the draws that lie within an interval.

    Returns
    -------
    dict of str to float
        ``hits``, ``misses``, ``false_alarms``; and with ``_low`` and ``_high`` beside each:
        ``hit_rate``, ``false_alarms_per_minute``, ``f1``, ``delay_median_ms``, ``delay_p05_ms``
        and ``delay_p95_ms``. nan where one is undefined.
    """
    once = np.ones((1, len(result.hits)))
    point = {key: float(value[0]) for key, value in _figures(result, once).items()}
    drawn = _figures(result, draw_trials(len(result.hits)))
    tail = 100 * (1 - share) / 2
    table: dict[str, float] = {
        "hits": int(result.hits.sum()), "misses": int(result.misses.sum()),
        "false_alarms": int(result.false_alarms.sum()),
    }  # fmt: skip
    for key, value in point.items():
        known = drawn[key][np.isfinite(drawn[key])]
        low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (np.nan, np.nan)
        table |= {key: value, f"{key}_low": float(low), f"{key}_high": float(high)}
    return table


def _figures(result: Outcome, weight: NDArray[np.float64]) -> dict[str, Column]:
    """Compute the figures for each draw of trials; ``weight`` has shape (draws, trials)."""
    hits, misses, alarms = (
        weight @ part for part in (result.hits, result.misses, result.false_alarms)
    )
    minutes = weight @ result.seconds / 60
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = {
            "hit_rate": hits / (hits + misses),
            "false_alarms_per_minute": alarms / minutes,
            "f1": f1_score(hits, misses, alarms),
        }
    order = np.argsort(result.delays, kind="stable")
    delays = result.delays[order]
    grown = np.cumsum(weight[:, result.delay_trials[order]], axis=1)
    for name, level in (("median", 0.5), ("p05", 0.05), ("p95", 0.95)):
        figures[f"delay_{name}_ms"] = _percentile(delays, grown, level)
    return figures


def _percentile(values: Column, grown: NDArray[np.float64], level: float) -> Column:
    """Give the smallest value below which lies at least this share of each draw's weight."""
    if not len(values):
        return np.full(len(grown), np.nan)
    place = (grown < level * grown[:, -1:]).sum(axis=1)
    return np.where(grown[:, -1] > 0, values[np.minimum(place, len(values) - 1)], np.nan)
