"""Explain one subject's model: activation patterns, and what a network loses by permutation."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.names import Id, series_name, subject_name
from pipeline.data.recording import Description, Recording
from pipeline.features.feature_series import FeatureSeries
from pipeline.features.interface import Features, build
from pipeline.results import patterns, permutation
from pipeline.results.explained import Explained
from pipeline.stages.jobs import Key
from pipeline.work.tasks import Report

SPANS = {"past": (-2.0, 0.0), "around": (-1.5, 2.5)}
"""Lags of an activation pattern in s, by what is shown (`pipeline.detectors.registry.Entry`)."""
STEP = 0.02  # s between two lags, or one feature row where that is longer


@dataclass(frozen=True)
class Material:
    """What an explanation reads beside the model.

    Parameters
    ----------
    about : Description
        Of the recordings.
    ingested, features : Path
        Folders of the recordings and of their features.
    every : int
        Recorded rows per feature row.
    bank : dict or None
        The group ``filter``, plain; None for a stack.
    kind : (str, str)
        Module and class that compute the features.
    members : tuple of str
        A stack's.
    seed : int
        Of the recipe.
    """

    about: Description
    ingested: Path
    features: Path
    every: int
    bank: dict[str, Any] | None
    kind: tuple[str, str]
    members: tuple[str, ...]
    seed: int

    @property
    def rate(self) -> float:
        """Feature rows per second."""
        return self.about.rate / self.every

    def recording(self, key: Key) -> tuple[Recording, np.ndarray]:
        """Open a recording; say which of its feature rows are kept."""
        found = Recording.load(self.ingested, *key, self.about)
        every_row = np.arange(-(-len(found.signal) // self.every))
        return found, every_row if found.kept is None else every_row[found.kept[:: self.every]]


def power_bands(bank: dict[str, Any] | None) -> list[str]:
    """Name the bands whose power a filter bank follows."""
    return [permutation.band_name(*band) for band in (bank or {}).get("power_bands_hz") or []]


def work(
    scratch: Path,
    report: Report,
    *,
    subject: Id,
    model: Path,
    material: Material,
    fitted: list[Key],
    held_out: list[Key],
    shown: tuple[str, ...],
    detector: tuple[str, str],
) -> None:
    """Explain one subject's model.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Not used: the task is short.
    subject : int or Name
        Whose.
    model : Path
        What the detector's class loads.
    material : Material
        Recordings and features.
    fitted, held_out : list of Key
        The subject's series: patterns are those of the first, losses those of the second.
    shown : tuple of str
        See `pipeline.detectors.registry.Entry`.
    detector : (str, str)
        Module and class.
    """
    learned = getattr(import_module(detector[0]), detector[1]).load(model)
    result = Explained()
    for kind, span in SPANS.items():
        if kind in shown:
            result.patterns, result.seconds = subject_patterns(learned, material, fitted, span)
    if "permuted" in shown and held_out:
        result.whole, result.lost = subject_losses(learned, material, held_out)
    result.save(scratch / f"{subject_name(subject)}_explained.npz")


def subject_patterns(
    detector: Any, material: Material, keys: list[Key], span: tuple[float, float]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Work out a detector's activation patterns on one subject's series.

    Parameters
    ----------
    detector : Detector
        With ``event_scores``: one score per row and event, linear in the features.
    material : Material
        Recordings and features.
    keys : list of Key
        The series.
    span : (float, float)
        First and last lag in s.

    Returns
    -------
    dict of str to ndarray, each of shape (E, L, C)
        ``EEG`` in V, and the log power of each band that the features follow, by the band's name.
    ndarray, shape (L,)
        Lags in s.
    """
    about, bands = material.about, power_bands(material.bank)
    step = max(1, round(STEP * material.rate))
    lags = np.arange(round(span[0] * material.rate), round(span[1] * material.rate) + 1, step)
    parts: dict[str, list[patterns.Scored]] = {name: [] for name in ("EEG", *bands)}
    for key in keys:
        recording, rows = material.recording(key)
        features = np.asarray(FeatureSeries.load(material.features, *key).features)
        scores = detector.event_scores(features, key[0])
        eeg = patterns.shown_eeg(recording.signal, about.rate, material.every, about.unit_volts)
        parts["EEG"].append(patterns.Scored(eeg, scores, rows, np.ones(len(eeg), dtype=bool)))
        there = np.isin(np.arange(len(eeg)), rows)
        # After the low-passes come the bands, each with a column for each channel.
        first = len(material.bank["lowpass_hz"]) if material.bank and bands else 0
        for number, band in enumerate(bands, first):
            power = np.zeros_like(eeg)
            power[rows] = features[:, number * eeg.shape[1] : (number + 1) * eeg.shape[1]]
            parts[band].append(patterns.Scored(power, scores, rows, there))
    found = {name: patterns.activation_pattern(each, lags) for name, each in parts.items()}
    return found, lags / material.rate


def subject_losses(
    detector: Any, material: Material, keys: list[Key]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Measure what a network loses on one subject's series.

    Parameters
    ----------
    detector : Detector
        ``predict_ends`` predicts the last row of many windows at once. ``beside`` gives what it
        reads beside the features, if it reads anything.
    material : Material
        Recordings and features.
    keys : list of Key
        The series.

    Returns
    -------
    whole, lost
        See `pipeline.results.permutation.losses`. The parts are named ``channel Cz``, ``band 8-14
        Hz``, ``past 1-2 s``, ``beside chain``, ``member lstm``.
    """
    about = material.about
    seed = zlib.crc32("-".join(series_name(*key) for key in keys).encode())
    random = np.random.default_rng([material.seed, seed])
    look = Look(detector, material, keys, random)
    windows = look.windows
    width, length = windows.features.shape[2], windows.features.shape[1]
    stretches = permutation.stretches(length, material.rate)
    columns: dict[str, np.ndarray] = {}
    others: dict[str, Callable[[], np.ndarray]] = {}
    if material.bank is None:
        for name, part in zip(
            material.members, np.split(np.arange(width), len(material.members)), strict=True
        ):
            columns[f"member {name}"] = part
    else:
        features = build(material.kind, about.rate, material.bank)
        own = features.n_features(len(about.channels))
        owned = permutation.columns_of(features, len(about.channels))
        for number, name in enumerate(about.channels):
            if owned is None:
                others[f"channel {name}"] = look.shift(features, (0.0, np.inf), [number])
            else:
                columns[f"channel {name}"] = owned[number]
        if own < width:
            columns["beside chain"] = np.arange(own, width)
        for name, band in permutation.bands(about.rate).items():
            others[f"band {name}"] = look.shift(features, band, slice(None))
    past = {f"past {name}": where for name, where in stretches.items()}
    return permutation.losses(windows, look.predict, columns, past, others, random)


class Look:
    """The windows of one subject that are predicted, and how they look with a part permuted.

    Parameters
    ----------
    detector, material, keys
        See `subject_losses`.
    random : Generator
        Draws the rows, and by how much bands are shifted.
    """

    def __init__(
        self, detector: Any, material: Material, keys: list[Key], random: np.random.Generator
    ) -> None:
        self.detector, self.material, self.keys, self.random = detector, material, keys, random
        self.subject = keys[0][0]
        stored = [FeatureSeries.load(material.features, *key) for key in keys]
        most = round(permutation.FROM * material.rate)
        self.features = [np.asarray(series.features[:most]) for series in stored]
        shortest = min(len(features) for features in self.features)
        self.length = max(1, min(round(permutation.SECONDS * material.rate), shortest // 2))
        self.beside = [
            detector.beside(features, self.subject) if hasattr(detector, "beside") else None
            for features in self.features
        ]
        self.rows, parts = [], []
        for number, series in enumerate(stored):
            assert series.labels is not None
            labels = np.asarray(series.labels[:most])
            rows, counts = permutation.draw(labels, self.length - 1, random)
            self.rows.append(rows)
            which = np.full(len(rows), number)
            cut = self._cut(number, self.features[number])
            parts.append(permutation.Windows(cut, labels[rows] > 0, counts, which))
        self.windows = permutation.Windows.joined(parts)

    def _cut(self, number: int, features: np.ndarray) -> np.ndarray:
        """Cut the windows of one series."""
        more = self.beside[number]
        together = features if more is None else np.concatenate([features, more], axis=1)
        return permutation.cut(together, self.rows[number], self.length)

    def predict(self, windows: np.ndarray) -> np.ndarray:
        """Predict the last row of each window, shape (K, L, F): logits, shape (K, E)."""
        if hasattr(self.detector, "predict_ends"):
            return self.detector.predict_ends(windows, self.subject)
        return np.stack([self.detector.predict(each, self.subject)[-1] for each in windows])

    def shift(
        self, features: Features, band: tuple[float, float], channels: Any
    ) -> Callable[[], np.ndarray]:
        """Give what cuts the windows from recordings in which a band of channels is shifted."""

        def windows() -> np.ndarray:
            parts = []
            for number, key in enumerate(self.keys):
                recording, rows = self.material.recording(key)
                rows = rows[: len(self.features[number])]
                signal = np.array(recording.signal[: rows[-1] * self.material.every + 1], float)
                signal[:, channels] = permutation.shifted(
                    signal[:, channels], self.material.about.rate, band, self.random
                )
                anew, _ = features.transform(signal)
                parts.append(self._cut(number, anew[rows]))
            return np.concatenate(parts)

        return windows
