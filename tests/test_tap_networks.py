"""Networks over taps: what they learn, that they see no later row, and their files."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compose import compose
from pipeline.detectors.tap_networks import LINES, TapNetworkDetector, make_network
from pipeline.errors import PipelineError
from pipeline.results.scoring import score
from tests.conftest import fit_data, tapped_series, told

SMALL = [
    "method.units=16", "method.updates=300", "method.tap_count=25", "method.tap_every=1",
    "method.learning_rate=0.05", "method.input_dropout=0.1", "method.dropout=0.1",
]  # fmt: skip


def method(name, *more):
    return compose([f"method={name}", *SMALL, *more]).method


def fit(fitted, options, **changes):
    return TapNetworkDetector.fit(fit_data(fitted, **changes), options)


NAMES = ("gru_taps", "hochberg_cnn")


@cache
def fitted_detector(name):
    return fit([tapped_series(1, n) for n in (1, 2, 3)], method(name))[0]


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_shows_is_found_in_a_series_never_seen(name):
    new = tapped_series(1, 9)
    result = score(new.labels, fitted_detector(name).predict(new.features, 1), ("one", "two"))
    assert result.row()["one"] > 0.8


@pytest.mark.parametrize("name", NAMES)
@given(t=st.integers(0, 598))
@settings(max_examples=10, deadline=None)
def test_no_prediction_sees_a_later_row(name, t):
    before = tapped_series(1, 5).features
    after = before.copy()
    after[t + 1 :] = 1e3
    first, second = (fitted_detector(name).predict(x, 1) for x in (before, after))
    np.testing.assert_array_equal(first[: t + 1], second[: t + 1])
    assert not np.array_equal(first[t + 1 :], second[t + 1 :])


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_predicts_the_same_bits(tmp_path, name):
    fitted_detector(name).save(tmp_path / "model.pt")
    again = TapNetworkDetector.load(tmp_path / "model.pt")
    features = tapped_series(1, 3).features
    expected = fitted_detector(name).predict(features, 1)
    np.testing.assert_array_equal(again.predict(features, 1), expected)


def test_a_file_with_options_of_other_methods_is_read(tmp_path):
    """As they were written when all methods shared one set of options."""
    fitted_detector("gru_taps").save(tmp_path / "model.pt")
    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    stored["options"]["method"] |= {"filters": 8, "shrinkage": 1e-4}
    torch.save(stored, tmp_path / "older.pt")
    again = TapNetworkDetector.load(tmp_path / "older.pt")
    assert again.method == fitted_detector("gru_taps").method


def test_the_seed_and_the_series_decide_the_weights():
    one = [tapped_series(1, 1)]
    short = method("gru_taps", "method.updates=3")

    def weights(fitted, seed=0):
        detector, _ = fit(fitted, short, seed=seed)
        return torch.cat([p.flatten() for p in detector.network.parameters()])

    assert torch.equal(weights(one), weights(one))
    assert not torch.equal(weights(one), weights(one, seed=1))
    assert not torch.equal(weights(one), weights([tapped_series(1, 2)]))


def test_the_loss_falls_and_is_told():
    news = []
    _, history = fit([tapped_series(1, 1)], method("gru_taps"), report=told(news))
    assert len(history) == len(news) == LINES
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert history[-1]["step"] == 300
    assert [line["best"] for line in history] == [False] * (LINES - 1) + [True]
    assert sum(progress for progress, _ in news) == pytest.approx(1.0)


def test_a_loss_that_is_not_finite_is_one_clear_error():
    with pytest.raises(PipelineError, match=r"subj1_validate: the loss .*lower method\.learning_"):
        fit([tapped_series(1, 1)], method("hochberg_cnn", "method.learning_rate=1e30"))


def test_the_networks_have_the_winners_shapes():
    """As in their configuration files."""
    gru = make_network(compose(["method=gru_taps"]).method, 128, 6)
    assert sum(p.numel() for p in gru.gru.parameters()) == 3 * 256 * (128 + 256 + 2)
    assert [tuple(p.shape) for p in gru.head.parameters()][::2] == [(256, 256), (6, 256)]
    cnn = make_network(compose(["method=hochberg_cnn"]).method, 32, 6)
    assert tuple(cnn.spatial.weight.shape) == (8, 32)
    dense = [tuple(p.shape) for p in cnn.head.parameters()][::2]
    assert dense == [(1024, 4000), (1024, 1024), (6, 1024)]
