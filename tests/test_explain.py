"""What a detector looks at: on simulated recordings the maps find the sources that were planted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.config.compose import compose
from pipeline.data.simulator import brain, responses
from pipeline.data.simulator.head import head_of
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import simulate_trials
from pipeline.data.simulator.setting import Setting
from pipeline.data.simulator.simulate import simulate_series
from pipeline.detectors.linear import LinearDetector
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import make_network as lstm_network
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.tap_networks import TapNetworkDetector
from pipeline.detectors.tap_networks import make_network as tap_network
from pipeline.errors import ConfigError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.registry import FEATURES, make_features
from pipeline.results import explained_figures, permutation
from pipeline.results.explained import Explained
from pipeline.results.patterns import Scored, activation_pattern, shown_eeg
from pipeline.stages.explain import PICTURES
from pipeline.stages.explain_subject import Material, subject_losses, subject_patterns
from pipeline.stages.flow import run
from tests.conftest import COMPETITION, fit_data, make_config, real_pictures, small_recipe

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
    data = fit_data(planted.fitted, events=ABOUT.events, channels=len(ABOUT.channels))
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
    data = fit_data(planted.fitted, events=ABOUT.events, channels=len(ABOUT.channels))
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


def test_a_pattern_is_the_covariance_times_the_weights(rng):
    """Theorem 1 of Haufe et al., row by row, also where some rows are left out."""
    signals = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3))
    weights = np.array([1.0, -2.0, 0.5])
    scores = (signals @ weights)[:, None]
    whole = Scored(signals, scores, np.arange(400), np.ones(400, bool))
    pattern = activation_pattern([whole], np.array([0]))[0, 0]
    expected = np.cov(signals.T, bias=True) @ weights / scores.std()
    np.testing.assert_allclose(pattern, expected, rtol=1e-9)

    there = np.arange(400) % 7 > 0
    left = np.where(there[:, None], signals, np.nan)
    some = Scored(left, scores[there], np.flatnonzero(there), there)
    got = activation_pattern([some], np.array([-3, 0, 2, 500, -500]))[0]
    for row, lag in enumerate((-3, 0, 2)):
        at = np.flatnonzero(there)
        at = at[(at + lag >= 0) & (at + lag < 400)]
        at = at[there[at + lag]]
        centred = signals - signals[there].mean(axis=0), scores - scores[there].mean()
        mean = (centred[0][at + lag] * centred[1][at]).mean(axis=0)
        np.testing.assert_allclose(got[row], mean / scores[there].std(), rtol=1e-9)
    assert (got[3:] == 0).all()  # no row has one so far from it
    constant = Scored(signals, 0 * scores, np.arange(400), np.ones(400, bool))
    assert (activation_pattern([constant], np.array([0])) == 0).all()


def test_what_is_permuted_is_what_is_lost(rng):
    """A network that reads one column 30 rows ago, and another now; two series."""
    truth = rng.random((600, 2)) < 0.3
    features = rng.normal(size=(600, 50, 3))
    features[:, 19, 1] += 4 * truth[:, 0]
    features[:, 49, 2] += 4 * truth[:, 1]
    series = np.repeat([0, 1], 300)
    windows = permutation.Windows(features, truth, np.ones((600, 2), bool), series)
    before = features.copy()
    columns = {f"column {number}": np.array([number]) for number in range(3)}
    times = permutation.stretches(50, 10.0)
    assert times["2-4 s"] == slice(10, 30)
    assert times["4-8 s"] == slice(0, 10)  # as much of it as there is
    whole, lost = permutation.losses(
        windows, lambda x: np.stack([x[:, 19, 1], x[:, 49, 2]], axis=1), columns, times,
        {"other": lambda: features[::-1]}, rng,
    )  # fmt: skip
    assert (features == before).all()
    assert whole.min() > 0.98
    expected = {"column 1": [1, 0], "column 2": [0, 1], "2-4 s": [1, 0], "0-0.25 s": [0, 1]}
    for name, values in lost.items():
        half = 0.5 * np.array(expected.get(name, [1, 1] if name == "other" else [0, 0]))
        np.testing.assert_allclose(values, half, atol=0.1, err_msg=name)


def test_parts_are_exchanged_within_a_series(rng):
    series = np.repeat([3, 1, 2], [4, 5, 1])
    order = permutation.exchanged(series, rng)
    assert sorted(order) == list(range(10))
    assert (series[order] == series).all()


def test_rows_of_events_count_for_their_own_event_alone(rng):
    labels = np.zeros((1000, 3), np.uint8)
    labels[200:220, 0] = labels[500:505, 1] = 1
    rows, counts = permutation.draw(labels, 100, rng)
    assert rows.min() >= 100
    assert len(rows) == permutation.ROWS + permutation.EVENT_ROWS + 5
    assert counts[: permutation.ROWS].all()
    assert (counts[permutation.ROWS :] == (labels[rows[permutation.ROWS :]] > 0)).all()
    windows = permutation.Windows(
        permutation.cut(np.arange(1000.0)[:, None], rows, 100), labels[rows] > 0, counts, 0 * rows
    )
    assert (windows.features[:, -1, 0] == rows).all()
    assert (windows.features[:, 0, 0] == rows - 99).all()
    found = permutation.aucs(labels[rows] + 0.0, windows)
    assert found[0] == found[1] == 1
    assert np.isnan(found[2])  # it never takes place


def test_a_shifted_band_is_the_same_band_at_another_time(rng):
    rate, rows = 100.0, 1001
    times = np.arange(rows) / rate
    slow, fast = np.sin(2 * np.pi * 3 * times), np.sin(2 * np.pi * 20 * times) * (times < 3)
    signal = np.stack([slow + fast + 5e5, 2 * slow - fast], axis=1)
    moved = permutation.shifted(signal, rate, (14.0, 30.0), rng)
    left = np.abs(moved - signal)
    assert 0.5 < left[:300].max() < 1.5  # it was there, and is elsewhere
    assert np.corrcoef(moved[310:, 0] - slow[310:], slow[310:] * 2 - moved[310:, 1])[0, 1] > 0.99
    power = [np.abs(np.fft.rfft(each, axis=0)) for each in (signal, moved)]
    np.testing.assert_allclose(*power, atol=1e-5)
    named = permutation.bands(rate)
    assert list(named)[:2] == ["below 1 Hz", "1-4 Hz"]
    assert list(named)[-1] == "above 30 Hz"
    assert permutation.bands(40.0)["above 14 Hz"] == (14.0, np.inf)


def test_a_channel_s_columns_are_found_and_covariances_have_none():
    filters = make_features(RATE, bank([1.0, 5.0], [[8.0, 14.0]]))
    found = permutation.columns_of(filters, 3)
    assert [list(each) for each in found] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    mixed = {**bank([], []), "covariance_bands_hz": [[1.0, 6.0]]}
    assert permutation.columns_of(make_features(RATE, mixed), 3) is None


@pytest.mark.parametrize("recipe", ["lstm", "gru_taps", "hochberg_cnn"])
def test_the_last_row_of_each_window_is_predicted_as_that_of_a_series(recipe, rng):
    if recipe == "lstm":
        arguments = {"n_features": 3, "n_events": 2, "hidden": 4, "layers": 1}
        scaler = torch.zeros(3, dtype=torch.float64), torch.eye(3)
        detector = LstmDetector(lstm_network(**arguments), arguments, {1: scaler}, stride=4)
    else:
        small = ("method.units=8", "method.tap_count=4", "method.tap_every=5")
        method = options(recipe, *small)
        scaler = np.zeros(3), np.ones(3, np.float32)
        detector = TapNetworkDetector(tap_network(method, 3, 2), method, 3, 2, {1: scaler})
    windows = rng.normal(size=(5, 22, 3)).astype(np.float32)
    expected = [detector.predict(window, 1)[-1] for window in windows]
    np.testing.assert_allclose(detector.predict_ends(windows, 1), expected, atol=1e-6)


def test_a_mean_over_subjects_leaves_out_those_without_an_auc(tmp_path):
    nan = float("nan")
    parts = [
        Explained({"EEG": np.full((2, 3, 4), value)}, np.arange(3), np.array(whole), {"a b": lost})
        for value, whole, lost in (
            (1.0, [0.8, nan], np.array([0.2, nan])), (3.0, [0.6, nan], np.array([0.1, nan])),
        )
    ]  # fmt: skip
    for number, part in enumerate(parts):
        part.save(tmp_path / f"{number}.npz")
    mean = Explained.mean([Explained.load(tmp_path / f"{number}.npz") for number in range(2)])
    assert (mean.patterns["EEG"] == 2).all()
    about = replace(ABOUT, events=("x", "y"), channels=("Fz", "C3", "Cz", "Pz"))
    table = mean.loss_table(about)
    assert table[["kind", "part"]].to_numpy().tolist() == [["auc", "nothing"], ["a", "b"]]
    np.testing.assert_allclose(table["x"], [0.7, 0.15])
    assert table[["y", "mean"]].isna().all(axis=None)
    patterns = mean.pattern_table(about)
    assert list(patterns.columns) == ["signal", "event", "seconds", *about.channels]
    assert len(patterns) == 6
    assert (patterns["Fz"] == 2e6).all()  # µV


@pytest.mark.parametrize("montage", ["colin27_1005", ""])
def test_pictures_do_without_maps_where_there_is_no_montage_and_say_so(
    montage, tmp_path, monkeypatch
):
    told, maps = [], []
    monkeypatch.setattr(
        "matplotlib.figure.FigureBase.suptitle", lambda self, text, **_: told.append(text)
    )
    monkeypatch.setattr("mne.viz.plot_topomap", lambda values, *_, **__: maps.append(len(values)))
    about = replace(ABOUT, events=("x",), channels=("Fz", "C3", "Cz", "Pz"), montage=montage)
    part = Explained(
        {"EEG": np.ones((1, 9, 4))}, np.linspace(-2, 0, 9), np.array([0.9]),
        {f"{kind}": np.array([0.1]) for kind in ("channel Fz", "channel C3", "channel Cz",
                                                 "channel Pz", "band 1-4 Hz", "past 0-1 s")},
    )  # fmt: skip
    with real_pictures():
        explained_figures.loss_picture(tmp_path / "a.png", part.loss_table(about), about, "title")
        explained_figures.pattern_picture(
            tmp_path / "b.png", part.patterns, part.seconds, about, False, "title"
        )
    said = [text for text in told if text.startswith("title")]
    assert len(said) == 2
    assert all(("no scalp maps" in text) == (not montage) for text in said)
    assert maps == ([4] * 6 if montage else [])


def test_models_of_other_subjects_are_not_explained():
    with pytest.raises(ConfigError, match="explain=True: needs protocol=within_subject"):
        options("fbl_lda", "protocol=cross_subject", "explain=true")


class ReadsOneColumn:
    """A detector of a method that has nothing but `predict`: a logit is the first column."""

    def predict(self, features, subject):
        """Predict one series."""
        return np.repeat(features[:, :1], 2, axis=1)


@pytest.fixture
def followed(tmp_path, rng) -> Path:
    """One series of three channels, the first of which follows both events."""
    events = np.zeros((6000, 2), np.uint8)
    for start in range(300, 5700, 600):
        events[start : start + 100] = 1
    signal = rng.normal(0, 10, (6000, 3))
    signal[:, 0] *= 1 + 9 * events[:, 0]
    recorded(tmp_path, 1, signal, events, bank([1.0], []))
    return tmp_path


def small_material(folder: Path, filters: Any, members: tuple[str, ...] = ()) -> Material:
    """Describe what `followed` wrote."""
    about = replace(ABOUT, channels=("Fz", "Cz", "Pz"), events=("x", "y"))
    return Material(about, folder, folder, EVERY, filters, FEATURES["bank"], members, 0)


def test_channels_that_share_features_are_permuted_in_the_recording(followed):
    filters = {**bank([], []), "covariance_bands_hz": [[20.0, 60.0]], "covariance_smoothing_hz": 2}
    signal = np.load(followed / "subj1_series1_signal.npy")
    events = np.load(followed / "subj1_series1_events.npy")
    recorded(followed, 1, signal, events, filters)
    whole, lost = subject_losses(ReadsOneColumn(), small_material(followed, filters), [(1, 1)])
    assert whole.min() > 0.75
    assert lost["channel Fz"].min() > 0.2
    assert max(np.abs(lost[f"channel {name}"]).max() for name in ("Cz", "Pz")) < 0.1
    assert ranked(lost, "band", 0)[:2] == ["above 30 Hz", "14-30 Hz"]


def test_of_a_stack_members_are_permuted(followed):
    stored = FeatureSeries.load(followed, 1, 1)
    labels = np.array(stored.labels)
    logits = labels[:, [0, 1, 0, 1]].astype(np.float32)
    replace(stored, features=logits, labels=labels).save(followed)
    whole, lost = subject_losses(
        ReadsOneColumn(), small_material(followed, None, ("lstm", "fbl_lda")), [(1, 1)]
    )
    assert whole.tolist() == [1, 1]
    assert [name for name in lost if not name.startswith("past")] == [
        "member lstm", "member fbl_lda",
    ]  # fmt: skip
    assert lost["member lstm"].min() > 0.2
    assert np.abs(lost["member fbl_lda"]).max() == 0


@pytest.mark.slow
def test_the_report_shows_what_a_recipe_looks_at(recipes_folder):
    """The hybrid has it all: a chain's responses, and a network that reads them."""
    given = [*small_recipe("hybrid"), "stage=evaluate"]
    plain = run(make_config(recipes_folder, *given), say=lambda line: None)
    told: list[str] = []
    config = make_config(recipes_folder, *given, "explain=true")
    folder = run(config, say=told.append).folder
    assert not list(plain.folder.glob("permuted*"))
    table = pd.read_csv(folder / "permuted_simulated.csv")
    assert set(table["kind"]) == {"auc", "channel", "beside", "band", "past"}
    assert len(pd.read_csv(folder / "patterns_simulated.csv")) > 100
    page = (folder / "report_simulated.html").read_text(encoding="utf-8")
    assert PICTURES["permuted"] in page
    assert PICTURES["patterns"] in page
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    run(config, say=told.append)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
