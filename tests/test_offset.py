"""An amplifier's offset below the EEG changes nothing but the last digits of anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compose import compose
from pipeline.config.options import plain
from pipeline.data.kaggle_files import find_series
from pipeline.data.recording import Description
from pipeline.detectors.registry import METHODS
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.filter_bank import FilterBank
from pipeline.features.offset import STEP, coarse_offset
from pipeline.features.registry import make_features
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.serving.stream import Stream
from tests.conftest import COMPETITION, fit_data, small_recipe

ABOUT = Description(("C3", "C4"), ("one", "two"), 500.0, 1e-7, "")
# Each method, and each way of making features: the bank, without drift, covariances, from zero.
CHOSEN = (
    "fbl_lda", "hochberg_cnn", "lstm", "lstm_conv", "lstm_covariance", "paszke2015", "semi_markov",
)  # fmt: skip
# The largest change of a probability: of one of the coarse offsets, and of any.
COARSE, ANY = 1e-6, 2e-3


def recorded(series: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers that drift, with a wave after each event, and the labels around the events."""
    random = np.random.default_rng(series)
    signal = random.normal(0, 20, (3000, 2)).cumsum(axis=0) / 4 + random.normal(0, 40, (3000, 2))
    labels = np.zeros((3000, 2), dtype=np.uint8)
    for number, begin in enumerate(range(300, 2700, 350 + 30 * series)):
        labels[begin - 75 : begin + 75, number % 2] = 1
        signal[begin : begin + 200, number % 2] += 300
    return np.rint(signal), labels


def fitted(recipe: str, offset: float, folder: Path) -> FittedRecipe:
    """Fit a recipe on two series that ride on an offset."""
    config = compose(small_recipe(recipe))
    bank = make_features(ABOUT.rate, plain(config.filter))
    series = []
    for number in (1, 2):
        signal, labels = recorded(number)
        features, _ = bank.transform(signal + offset)
        marks = np.ascontiguousarray(labels[:: bank.every])
        FeatureSeries(1, number, features, marks, Moments.of(features)).save(folder)
        series.append(FeatureSeries.load(folder, 1, number))
    data = fit_data(series, events=ABOUT.events, scratch=folder / "scratch")
    data.scratch.mkdir()
    detector, _ = METHODS[config.method.kind].load().fit(data, config.detector_options)
    detector.save(folder / "model.pt")  # what is kept of it must hold the offset, too
    detector = METHODS[config.method.kind].load().load(folder / "model.pt")
    return FittedRecipe(ABOUT, bank.every, plain(config.filter), (), {1: detector})


@pytest.mark.parametrize("recipe", CHOSEN)
def test_an_offset_changes_no_probability(recipe, tmp_path):
    """Learned and applied; at once and as a stream; a multiple of the step, and any offset."""
    signal, chances, streamed = recorded(3)[0], {}, {}
    for offset in (0.0, 100_000.0, -123_456.0):
        folder = tmp_path / f"{offset:g}"
        folder.mkdir()
        own = fitted(recipe, offset, folder)
        chances[offset] = own.predict(signal + offset, 1)
        stream = Stream(own, 1)
        parts = np.split(signal[:800] + offset, [1, 7, 500])
        streamed[offset] = np.concatenate([stream.push(part) for part in parts])
    assert np.ptp(chances[0.0], axis=0).max() > 1e-3
    for given_ in (chances, streamed):
        np.testing.assert_allclose(given_[100_000.0], given_[0.0], rtol=0, atol=COARSE)
        np.testing.assert_allclose(given_[-123_456.0], given_[0.0], rtol=0, atol=ANY)


def test_series_may_have_different_offsets(rng):
    """The level of a series is told, as ever: only its digits are kept apart."""
    bank = FilterBank(500.0, [1.0, 30.0], 5, [[8.0, 14.0]], 2.0, 10)
    levels = (0.0, 4_000.0, 6_000.0, 100_000.0)
    x = np.rint(rng.normal(0, 30, (3000, 2)).cumsum(axis=0) / 5)
    parts = [bank.transform(x + level)[0] for level in levels]
    mean, matrix = Moments.pooled([Moments.of(part) for part in parts]).scaler(False)
    lowpassed = np.array([1, 1, 1, 1, 0, 0])
    exact = np.concatenate([parts[0].astype(float) + level * lowpassed for level in levels])
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=0, atol=2e-3)
    np.testing.assert_allclose(1 / np.diag(matrix), exact.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(parts), exact, rtol=0, atol=1e-3)
    assert [part.dtype for part in parts] == ["f4", "f4", "f8", "f8"]


@given(st.integers(-(2**30), 2**30), st.integers(-100, 100))
def test_what_is_left_of_a_sample_is_exact(sample, steps):
    offset = coarse_offset(np.array([sample]))
    assert abs(sample - offset[0]) <= STEP / 2
    assert offset[0] % STEP == 0
    moved = coarse_offset(np.array([sample + steps * 2 * STEP]))  # halves are rounded to even steps
    assert sample + steps * 2 * STEP - moved[0] == sample - offset[0]


@pytest.mark.parametrize("cell", ["{:.0f}", "{:.3f}"])
def test_a_table_with_an_offset_keeps_its_digits(cell, tmp_path, rng):
    """100,000 and EEG: whole numbers, and fractions, which single precision would cut off."""
    values = np.round(rng.normal(0, 300, (50, len(COMPETITION.channels))), 3 if "3" in cell else 0)
    for offset in (0, 100_000):
        lines = [",".join(["id", *COMPETITION.channels])]
        for row, numbers in enumerate(values + offset):
            lines.append(",".join([f"subj1_series9_{row}", *map(cell.format, numbers)]))
        folder = tmp_path / str(offset)
        folder.mkdir()
        (folder / "subj1_series9_data.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
        (series,) = find_series(folder, [1], [], [9])
        got = series.read(COMPETITION).signal.astype(float) - offset
        np.testing.assert_allclose(got, values, rtol=0, atol=5e-5)
