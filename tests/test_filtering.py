"""The filters: MNE's own, started from the first sample; and the scaler."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as sp
from scipy.linalg import expm

from pipeline.features.feature_series import Moments
from pipeline.features.filter_bank import CausalFilter, FilterBank, design
from pipeline.serving.snapshot import leaves

RATE = 500.0


@pytest.mark.parametrize("cutoff", [0.5, 5.0, 30.0])
def test_the_filter_is_mnes_causal_one(rng, cutoff):
    x = rng.normal(0, 50, (3, 4000))
    theirs = mne.filter.filter_data(
        x, RATE, None, cutoff, method="iir", phase="forward", verbose=False,
        iir_params={"order": 5, "ftype": "butter", "output": "sos"},
    )  # fmt: skip
    ours, _ = CausalFilter(design(RATE, None, cutoff, 5))(x.T, np.zeros((3, 3, 2)))
    np.testing.assert_allclose(ours.T, theirs, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5), st.integers(0, 12),
       st.integers(1, 7), st.integers(0, 99))  # fmt: skip
def test_the_sections_give_scipys_bits(rows, channels, order, skip, step, seed):
    rng = np.random.default_rng(seed)
    sos = design(RATE, 8.0 if seed % 2 else None, 30.0, order)
    x = rng.normal(0, 300, (rows, channels)).round()
    state = rng.normal(0, 300, (len(sos), channels, 2))
    kept, after = CausalFilter(sos)(x, state, skip, step)
    if not rows:  # which scipy refuses
        assert kept.shape == (0, channels)
        assert np.array_equal(after, state)
        return
    theirs, then = sp.sosfilt(sos, x.T, axis=-1, zi=state)
    assert kept.tobytes() == np.ascontiguousarray(theirs[:, skip::step].T).tobytes()
    assert after.tobytes() == then.tobytes()


def test_the_bank_gives_the_same_bits_however_it_cuts_a_series(rng, monkeypatch):
    x = rng.normal(0, 50, (700, 3)).cumsum(axis=0).round()
    bank = FilterBank(
        RATE, [1.0, 9.0], 5, [[8.0, 14.0]], 2.0, 15, 2, [[8.0, 30.0]], highpass_hz=0.1
    )
    whole, state = bank.transform(x)
    for rows in (1, 7, 30, 64):
        monkeypatch.setattr("pipeline.features.filter_bank.BLOCK_ROWS", rows)
        again, after = bank.transform(x)
        assert again.tobytes() == whole.tobytes()
        assert [a.tobytes() for a in leaves(after) if isinstance(a, np.ndarray)] == [
            a.tobytes() for a in leaves(state) if isinstance(a, np.ndarray)
        ]


@pytest.mark.parametrize("cutoff", [0.5, 30.0])
def test_the_response_is_a_butterworth(cutoff):
    _, response = sp.freqz_sos(design(RATE, None, cutoff, 5), [cutoff, 3 * cutoff], fs=RATE)
    reference = sp.freqz_sos(
        sp.butter(5, cutoff, fs=RATE, output="sos"), [cutoff, 3 * cutoff], fs=RATE
    )[1]
    np.testing.assert_allclose(np.abs(response), np.abs(reference), rtol=1e-6)
    assert abs(response[0]) == pytest.approx(2**-0.5, rel=1e-3)


def test_a_constant_offset_does_not_ring():
    bank = FilterBank(RATE, [0.5, 1.0, 30.0], 5, [[8.0, 14.0]], 2.0, 10)
    features, _ = bank.transform(np.full((3000, 2), 12345))
    np.testing.assert_allclose(features[:, :6], 12345, rtol=1e-6)
    np.testing.assert_allclose(features[:, 6:], 0, atol=1e-5)


def test_the_drift_is_taken_off_from_the_first_sample_on():
    bank = FilterBank(RATE, [30.0], 5, [], 2.0, 1, highpass_hz=0.03)
    minute = np.arange(60 * RATE) / RATE
    constant, _ = bank.transform(np.full((len(minute), 1), 400.0))
    np.testing.assert_allclose(constant, 0, atol=1e-6)
    movement, _ = bank.transform(400 + 50 * np.sin(2 * np.pi * 0.5 * minute)[:, None])
    later = movement[len(movement) // 2 :]
    assert np.ptp(later) == pytest.approx(100, rel=0.02)
    assert abs(later.mean()) < 2


def test_log_power_follows_the_band():
    t = np.arange(10_000) / RATE
    inside, outside = 40 * np.sin(2 * np.pi * 10.5 * t), 40 * np.sin(2 * np.pi * 40 * t)
    bank = FilterBank(RATE, [], 5, [[8.0, 14.0]], 2.0, 10)
    features, _ = bank.transform(np.stack([inside, outside], axis=1))
    assert features[-1, 0] == pytest.approx(np.log(800), abs=0.15)
    assert features[-1, 1] < np.log(8)


def test_a_band_without_an_upper_edge_follows_all_power_above():
    t = np.arange(10_000) / RATE
    slow, fast = (40 * np.sin(2 * np.pi * hz * t) for hz in (10.5, 240))
    bank = FilterBank(RATE, [], 5, [[30.0, None]], 2.0, 10)
    features, _ = bank.transform(np.stack([slow, fast], axis=1))
    assert features[-1, 0] < np.log(8)
    assert features[-1, 1] == pytest.approx(np.log(800), abs=0.15)


def test_covariances_are_followed_into_the_tangent_space(rng):
    """Two channels, the second in part a copy of the first: the logarithm, undone, says so."""
    x = rng.normal(0, 50, (10_000, 1)) * [1.0, 0.5] + rng.normal(0, 20, (10_000, 2))
    bank = FilterBank(
        RATE, [], 5, [], 2.0, 50, covariance_bands_hz=[[8.0, 30.0]], covariance_smoothing_hz=0.05
    )
    features, _ = bank.transform(x)
    assert features.shape == (200, bank.n_features(2)) == (200, 3)
    assert np.isfinite(features).all()
    a, b, c = features[-1]
    found = expm(np.array([[a, b / np.sqrt(2)], [b / np.sqrt(2), c]]))
    inside, _ = bank.covariance_band[0](x, bank.covariance_band[0].start(x[0]))
    expected = np.cov(inside[5000:].T, bias=True)
    np.testing.assert_allclose(found, expected, rtol=0.15, atol=0.05 * expected[0, 0])


def test_features_are_ordered_filter_by_filter(rng):
    x = rng.normal(0, 50, (500, 2)).cumsum(axis=0)
    both, _ = FilterBank(RATE, [1.0, 9.0], 5, [], 2.0, 5).transform(x)
    slow, _ = FilterBank(RATE, [1.0], 5, [], 2.0, 5).transform(x)
    fast, _ = FilterBank(RATE, [9.0], 5, [], 2.0, 5).transform(x)
    np.testing.assert_array_equal(both, np.hstack([slow, fast]))
    assert both.shape == (100, 4)
    assert both.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(0, 99))
def test_pooled_moments_are_those_of_all_rows_together(lengths, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal(0, 50), 3, (n, 4)).astype(np.float32) for n in lengths]
    pooled, whole = Moments.pooled([Moments.of(p) for p in parts]), Moments.of(np.vstack(parts))
    assert pooled.count == whole.count
    np.testing.assert_allclose(pooled.mean, whole.mean, atol=1e-4)
    np.testing.assert_allclose(pooled.scatter, whole.scatter, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("whiten", [False, True])
def test_the_scaler_standardises(rng, whiten):
    x = (rng.normal(0, 1, (5000, 3)) @ rng.normal(0, 1, (3, 3)) * [1, 10, 100] + 7).astype("f4")
    mean, matrix = Moments.of(x).scaler(whiten)
    z = (x - mean) @ matrix
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-3)
    covariance = np.cov(z.T, bias=True)
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.05)
    off = covariance - np.diag(np.diag(covariance))
    assert (np.abs(off).max() < 0.01) == whiten


def test_a_flat_feature_is_left_finite():
    x = np.ones((100, 2), np.float32)
    x[:, 1] = np.arange(100)
    for whiten in (False, True):
        mean, matrix = Moments.of(x).scaler(whiten)
        assert np.isfinite((x - mean) @ matrix).all()
