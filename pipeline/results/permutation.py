"""What a network loses when a part of what it reads is permuted (Breiman 2001, section 10).

A network's weights cannot be drawn as a map. So it is asked: rows of held-out series are predicted
from the last seconds before them; then one part of these seconds - a channel, a frequency band, a
stretch of the past - is exchanged among the rows of a series, so that it is as natural as before
but belongs to another moment; and the AUC that is lost says what the part was worth. A part that
other parts can stand for loses little, so this is what the network needs, not all that it uses
(Machine Learning 45:5-32).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import fft
from sklearn.metrics import roc_auc_score

from pipeline.features.interface import Features

SECONDS = 8.0  # before a row that it is predicted from
STRETCHES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, SECONDS)  # s before the row: edges
BANDS = (0.0, 1.0, 4.0, 8.0, 14.0, 30.0)  # Hz: edges; the last band has no upper one
ROWS = 80  # drawn at random from a series, whatever happens there
EVENT_ROWS = 12  # drawn in addition from each event's label
FROM = 180.0  # s of a series, from its start, that are looked at
SERIES = 4  # of a subject that are looked at
REPEATS = 2  # permutations of each part; their mean loss is given

PredictEnds = Callable[[np.ndarray], np.ndarray]
"""Turns windows, shape (K, L, F), into logits of the last row of each, shape (K, E)."""


@dataclass(frozen=True)
class Windows:
    """The rows that are predicted, each with the features before it.

    Parameters
    ----------
    features : ndarray, shape (K, L, F)
        The window's last row is the one that is predicted.
    truth : ndarray of bool, shape (K, E)
        That row's labels.
    counts : ndarray of bool, shape (K, E)
        Whether the row counts for this event's AUC: those drawn from other events' labels do not,
        so that the AUC is that of the series.
    series : ndarray of int, shape (K,)
        Which series it is from.
    """

    features: np.ndarray
    truth: np.ndarray
    counts: np.ndarray
    series: np.ndarray

    @classmethod
    def joined(cls, parts: list[Windows]) -> Windows:
        """Join the windows of several series."""
        together = (np.concatenate(each) for each in zip(*map(_arrays, parts), strict=True))
        return cls(*together)


def _arrays(part: Windows) -> tuple[np.ndarray, ...]:
    return part.features, part.truth, part.counts, part.series


def draw(
    labels: np.ndarray, first: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows of a series that are predicted.

    Parameters
    ----------
    labels : ndarray, shape (T', E)
        At the features' rate.
    first : int
        The first row that has a whole window.
    random : Generator
        Draws.

    Returns
    -------
    rows : ndarray of int, shape (K,)
    counts : ndarray of bool, shape (K, E)
        See `Windows`.
    """
    there = np.arange(first, len(labels))
    chosen = [random.choice(there, min(ROWS, len(there)), replace=False)]
    counts = [np.ones((len(chosen[0]), labels.shape[1]), dtype=bool)]
    for event, column in enumerate(np.asarray(labels).T):
        active = first + np.flatnonzero(column[first:])
        more = random.choice(active, min(EVENT_ROWS, len(active)), replace=False)
        chosen.append(more)
        counts.append(np.arange(labels.shape[1]) == np.full((len(more), 1), event))
    return np.concatenate(chosen).astype(int), np.concatenate(counts)


def cut(features: np.ndarray, rows: np.ndarray, length: int) -> np.ndarray:
    """Cut the windows, shape (K, length, F), that end with these rows of features, (T', F)."""
    return np.asarray(features)[rows[:, None] + np.arange(1 - length, 1)]


def aucs(logits: np.ndarray, windows: Windows) -> np.ndarray:
    """Give each event's AUC, shape (E,); nan where only one class was drawn."""
    found = np.full(windows.truth.shape[1], np.nan)
    for event, (truth, counts) in enumerate(zip(windows.truth.T, windows.counts.T, strict=True)):
        if len(np.unique(truth[counts])) == 2:
            found[event] = roc_auc_score(truth[counts], logits[counts, event])
    return found


def exchanged(series: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Say from which window of its own series each window gets a part, shape (K,)."""
    order = np.arange(len(series))
    for one in np.unique(series):
        own = np.flatnonzero(series == one)
        order[own] = random.permutation(own)
    return order


def losses(
    windows: Windows,
    predict: PredictEnds,
    columns: Mapping[str, np.ndarray],
    stretches: Mapping[str, slice],
    others: Mapping[str, Callable[[], np.ndarray]],
    random: np.random.Generator,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Measure what the AUC loses with each part.

    Parameters
    ----------
    windows : Windows
        As recorded. They are the same again afterwards.
    predict : callable
        The network.
    columns : dict of str to ndarray of int
        Parts that are columns of the features, e.g. a channel's.
    stretches : dict of str to slice
        Parts that are rows of the windows.
    others : dict of str to callable
        Parts that are no columns, e.g. a band: gives the windows' features, shape (K, L, F), in
        which it is permuted.
    random : Generator
        Permutes.

    Returns
    -------
    whole : ndarray, shape (E,)
        The AUC with nothing permuted.
    lost : dict of str to ndarray, each of shape (E,)
        By part, how much lower it is.
    """
    whole, lost = aucs(predict(windows.features), windows), {}
    parts: dict[str, tuple[slice, slice | np.ndarray]] = {
        **{name: (slice(None), where) for name, where in columns.items()},
        **{name: (where, slice(None)) for name, where in stretches.items()},
    }
    for name, where in parts.items():
        place = (slice(None), *where)
        before = windows.features[place].copy()
        found = []
        for _ in range(REPEATS):
            windows.features[place] = before[exchanged(windows.series, random)]
            found.append(whole - aucs(predict(windows.features), windows))
        windows.features[place] = before
        lost[name] = np.mean(found, axis=0)
    for name, permuted in others.items():
        lost[name] = whole - aucs(predict(permuted()), windows)
    return whole, lost


def stretches(length: int, rate: float) -> dict[str, slice]:
    """Name the stretches of a window of so many rows, at so many rows per second."""
    found = {}
    for near, far in pairwise(STRETCHES):
        stop, start = length - round(near * rate), length - round(far * rate)
        if max(start, 0) < stop:
            found[f"{near:g}-{far:g} s"] = slice(max(start, 0), stop)
    return found


def columns_of(features: Features, channels: int) -> list[np.ndarray] | None:
    """Find out which columns of the features belong to which channel.

    Parameters
    ----------
    features : Features
        What turns samples into features.
    channels : int
        C.

    Returns
    -------
    list of ndarray of int, or None
        By channel. None where a column belongs to several, as covariances do.
    """
    random = np.random.default_rng(0)
    noise = 100 * random.standard_normal((max(10 * features.every, 50), channels))
    plain, _ = features.transform(noise)
    touched = np.zeros((channels, plain.shape[1]), dtype=bool)
    for channel in range(channels):
        changed = noise.copy()
        changed[:, channel] = 100 * random.standard_normal(len(noise))
        touched[channel] = (features.transform(changed)[0] != plain).any(axis=0)
    if (touched.sum(axis=0) > 1).any():
        return None
    return [np.flatnonzero(row) for row in touched]


def bands(rate: float) -> dict[str, tuple[float, float]]:
    """Name the frequency bands of a recording, with their edges in Hz."""
    edges = [*(edge for edge in BANDS if edge < rate / 2), np.inf]
    named = {}
    for low, high in pairwise(edges):
        named[band_name(low, None if high == np.inf else high)] = (low, high)
    return named


def band_name(low: float, high: float | None) -> str:
    """Name a frequency band by its edges in Hz, from 0 or from `low`; without `high`, all above."""
    if high is None:
        return f"above {low:g} Hz"
    return f"{low:g}-{high:g} Hz" if low else f"below {high:g} Hz"


def shifted(
    signal: np.ndarray, rate: float, band: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    """Permute a band of a recording within the series: the whole band is shifted in a circle.

    Every channel is shifted alike, so the band's maps and its course stay as they are; only when
    they take place is another.

    Parameters
    ----------
    signal : ndarray, shape (T, C)
        Samples.
    rate : float
        Per second.
    band : (float, float)
        Edges in Hz; the upper one does not belong to it.
    random : Generator
        Draws by how much, from a quarter to three quarters of the series.

    Returns
    -------
    ndarray of float64, shape (T, C)
    """
    rows = len(signal)
    by = int(random.integers(rows // 4, max(rows // 4 + 1, 3 * rows // 4)))
    spectrum = fft.rfft(np.asarray(signal, dtype=np.float64), axis=0)
    frequency = np.fft.rfftfreq(rows, 1 / rate)
    inside = (frequency >= band[0]) & (frequency < band[1])
    spectrum[inside] *= np.exp(-2j * np.pi * frequency[inside] / rate * by)[:, None]
    return fft.irfft(spectrum, rows, axis=0)
