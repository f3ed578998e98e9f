"""What a detector looks at: on simulated recordings the maps find the sources that were planted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config.compose import compose
from pipeline.data.simulator import brain, responses
from pipeline.data.simulator.head import head_of
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import simulate_trials
from pipeline.data.simulator.setting import Setting
from pipeline.data.simulator.simulate import simulate_series
from pipeline.detectors.linear import LinearDetector
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.registry import FEATURES, make_features
from pipeline.results.patterns import Scored, activation_pattern, shown_eeg
from pipeline.stages.explain_subject import Material, subject_losses, subject_patterns
from tests.conftest import COMPETITION, fit_data

RATE, EVERY = 250.0, 10
ABOUT = replace(COMPETITION, rate=RATE)
SERIES = (1, 2, 3)
HEAD = head_of(ABOUT, (*brain.SITES, *responses.SITES))


def bank(lowpass_hz: list[float], power_bands_hz: list[list[float]]) -> dict[str, Any]:
    """A filter bank that is soon computed."""
    return {
        "lowpass_hz": lowpass_hz, "order": 5, "power_bands_hz": power_bands_hz,
        "power_smoothing_hz": 2.0, "decimate": EVERY, "highpass_hz": 0.03,
    }  # fmt: skip


def recorded(folder: Path, number: int, signal: np.ndarray, events: np.ndarray, filters: Any):
    """Write one series of subject 1 as ingestion does; give its features, which are written too."""
    np.save(folder / f"subj1_series{number}_signal.npy", signal)
    np.save(folder / f"subj1_series{number}_events.npy", events)
    features, _ = make_features(RATE, filters).transform(signal)
    labels = np.ascontiguousarray(events[::EVERY])
    series = FeatureSeries(1, number, features, labels, Moments.of(features))
    series.save(folder)
    return series


@dataclass(frozen=True)
class Planted:
    """Recordings of one subject, and what follows the hand in them, without anything else."""

    material: Material
    fitted: list[FeatureSeries]
    alone: list[np.ndarray]

    def pattern(self, times: list[np.ndarray], lags: np.ndarray) -> np.ndarray:
        """What was planted, around the rows where these are 1, shape (E, L, C)."""
        parts = [
            Scored(x, y, np.arange(len(x)), np.ones(len(x), bool))
            for x, y in zip(self.alone, times, strict=True)
        ]
        return activation_pattern(parts, lags)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    """Three short series; their sources and maps are the simulator's own."""
    folder = tmp_path_factory.mktemp("planted")
    config = SimulationConfig(seed=0, subjects=1, trials=12, snr=2.0)
    filters = bank([1.0, 3.0, 9.0, 30.0], [[8.0, 14.0], [14.0, 30.0]])
    fitted, alone = [], []
    for number in SERIES:
        whole = simulate_series(config, ABOUT, 1, number)
        trials = simulate_trials(config, 1, number)
        setting = Setting(config, 1, number, HEAD, trials, len(whole.signal), RATE)
        courses, fields = responses.responses(setting)
        alone.append(shown_eeg((fields.T @ courses).T, RATE, EVERY, ABOUT.unit_volts))
        fitted.append(recorded(folder, number, whole.signal, whole.events, filters))
    material = Material(ABOUT, folder, folder, EVERY, filters, FEATURES["bank"], (), 0)
    return Planted(material, fitted, alone)


def likeness(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlate maps with those that were planted, each event's where the planted one is largest.

    Parameters
    ----------
    found, truth : ndarray, shape (E, L, C)

    Returns
    -------
    ndarray, shape (E,)
    """
    at = np.abs(truth).max(axis=2).argmax(axis=1)
    pairs = [(found[e, row], truth[e, row]) for e, row in enumerate(at)]
    return np.array([np.corrcoef(*pair)[0, 1] for pair in pairs])


def options(recipe: str, *overrides: str) -> Any:
    """Give a recipe's options."""
    return compose([f"experiment={recipe}", "dataset=simulated", *overrides]).detector_options


def test_a_linear_detector_s_patterns_are_the_planted_maps_and_its_weights_are_not(planted):
    data = fit_data(planted.fitted, events=ABOUT.events)
    detector, _ = LinearDetector.fit(data, options("fbl_lda"))
    keys = [(1, number) for number in SERIES]
    found, seconds = subject_patterns(detector, planted.material, keys, (-2.0, 0.0))
    assert list(found) == ["EEG", "8-14 Hz", "14-30 Hz"]
    truth = planted.pattern(
        [np.asarray(series.labels, float) for series in planted.fitted],
        np.round(seconds * RATE / EVERY).astype(int),
    )
    like = likeness(found["EEG"], truth)
    assert like.min() > 0.85
    # The weights themselves, for steady potentials, and the map on a cap that is put on reversed.
    weights = detector.weights / detector.scalers[1][1][:, None]
    weights = weights[: 4 * len(ABOUT.channels)].reshape(4, -1, len(ABOUT.events)).sum(axis=0).T
    assert likeness(np.repeat(weights[:, None], truth.shape[1], axis=1), truth).max() < 0.75
    assert likeness(found["EEG"][..., ::-1], truth).max() < 0.5


def test_a_chain_s_responses_are_the_planted_maps(planted):
    data = fit_data(planted.fitted, events=ABOUT.events)
    small = ("method.rows_after=45", "method.rows_before=30", "method.tap_count=8")
    detector, _ = SemiMarkovDetector.fit(data, options("semi_markov", *small))
    keys = [(1, number) for number in SERIES]
    found, seconds = subject_patterns(detector, planted.material, keys, (-1.0, 1.5))
    lags = np.round(seconds * RATE / EVERY).astype(int)
    truth = planted.pattern([centres(series.labels) for series in planted.fitted], lags)
    like = likeness(found["EEG"], truth)
    assert like.mean() > 0.85
    assert like.min() > 0.65  # the load phase is a tenth of a second from its neighbours
    assert likeness(found["EEG"][..., ::-1], truth).mean() < 0.3
    # Its mu and beta power falls while the hand moves, above all over the hand's area.
    moved = found["8-14 Hz"][0][np.abs(seconds) < 1].mean(axis=0)
    assert moved[ABOUT.channels.index("C3")] < 0


def centres(labels: np.ndarray) -> np.ndarray:
    """Give 1 where a label has its middle, shape (T', E)."""
    found = np.zeros(labels.shape)
    for event, column in enumerate(np.asarray(labels).T):
        edges = np.diff(np.concatenate([[0], column.astype(int), [0]]))
        runs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
        found[[(first + last) // 2 for first, last in runs], event] = 1
    return found


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> tuple[LstmDetector, Material]:
    """An LSTM that has learned two sources: one below C3 at one event, the eyes at another."""
    folder = tmp_path_factory.mktemp("network")
    about = replace(ABOUT, events=("HandStart", "Replace"))
    config = SimulationConfig(seed=0, subjects=1, trials=12, snr=0.0)  # nothing else follows
    site = HEAD.direction("C3")[None]
    fields = HEAD.field(0.7 * site, site)[0], HEAD.eye_fields(np.eye(3))[0]
    filters, series = bank([1.0, 5.0, 15.0], []), []
    for number in (1, 2, 3, 4):
        plain = simulate_series(config, ABOUT, 1, number)
        events = np.ascontiguousarray(plain.events[:, [0, 4]])
        signal, times = plain.signal.astype(float), np.arange(len(plain.signal))
        for event, field in enumerate(fields):
            middles = np.flatnonzero(centres(events)[:, event])
            bumps = np.exp(-0.5 * ((times - middles[:, None]) / 25) ** 2).sum(axis=0)
            signal += 400 * bumps[:, None] * field
        series.append(recorded(folder, number, np.rint(signal).astype(np.int16), events, filters))
    small = (
        "model.hidden=16", "model.projection=8", "window.length=60", "window.batch=8",
        "window.burn_in=0", "window.stride=5", "train.epochs=6", "train.learning_rate=1e-2",
    )  # fmt: skip
    data = fit_data(series[:3], held_out=series[3:], events=about.events, scratch=folder)
    detector, _ = LstmDetector.fit(data, options("lstm", *small))
    return detector, Material(about, folder, folder, EVERY, filters, FEATURES["bank"], (), 0)


def ranked(lost: dict[str, np.ndarray], kind: str, event: int) -> list[str]:
    """Name the parts of a kind, that which costs an event most first."""
    parts = [name for name in lost if name.startswith(kind)]
    return [name.removeprefix(f"{kind} ") for name in sorted(parts, key=lambda n: -lost[n][event])]


def test_permutation_ranks_the_planted_channels_bands_and_times_first(network):
    detector, material = network
    whole, lost = subject_losses(detector, material, [(1, 4)])
    assert whole[0] > 0.9
    assert ranked(lost, "channel", 0)[0] == "C3"
    assert set(ranked(lost, "channel", 1)[:2]) == {"Fp1", "Fp2"}
    assert ranked(lost, "band", 0)[0] == "below 1 Hz"
    assert set(ranked(lost, "band", 1)[:2]) == {"below 1 Hz", "1-4 Hz"}
    assert ranked(lost, "past", 0)[0] == ranked(lost, "past", 1)[0] == "0-0.25 s"
