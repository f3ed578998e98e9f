"""Linear detectors: what they learn, their files, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compose import compose
from pipeline.detectors.discriminant import NEVER
from pipeline.detectors.linear import LinearDetector
from pipeline.errors import ConfigError
from pipeline.results.scoring import score
from tests.conftest import composed, fit_data, told
from tests.conftest import tapped_series as series

EVENTS = ("one", "two")
NAMES = ("lda", "lr", "delay_lr")


def method(name):
    return composed(f"method={name}").method


@cache
def fitted_detector(name):
    return LinearDetector.fit(fit_data([series(1, 1)]), method(name))[0]


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_shows_is_found_in_series_never_seen(name):
    fitted = [series(1, 1), series(1, 2), series(2, 1, offset=50)]
    detector, _ = LinearDetector.fit(fit_data(fitted), method(name))
    new = series(2, 9, offset=50)
    logits = detector.predict(new.features, 2)
    hits, truth = logits > 0, new.labels.astype(bool)
    assert (hits[:, 0] == truth[:, 0]).mean() > 0.85
    late = (hits[20:, 1] == truth[20:, 1]).mean()
    assert late > 0.85 if name == "delay_lr" else late < 0.85  # only with the past beside


@pytest.mark.parametrize("name", NAMES)
@given(t=st.integers(0, 300))
@settings(max_examples=10, deadline=None)
def test_no_prediction_sees_a_later_row(name, t):
    detector = fitted_detector(name)
    before = series(1, 5).features
    after = before.copy()
    after[t + 1 :] = 1e3
    np.testing.assert_array_equal(
        detector.predict(before, 1)[: t + 1], detector.predict(after, 1)[: t + 1]
    )


def test_saved_and_loaded_it_predicts_the_same_bits(tmp_path):
    fitted_detector("delay_lr").save(tmp_path / "model.pt")
    again = LinearDetector.load(tmp_path / "model.pt")
    features = series(1, 3).features
    np.testing.assert_array_equal(
        again.predict(features, 1), fitted_detector("delay_lr").predict(features, 1)
    )


def test_an_event_that_never_happens_is_never_predicted():
    quiet = series(1, 1)
    quiet.labels[:, 1] = 0
    detector, _ = LinearDetector.fit(fit_data([quiet]), method("lda"))
    assert (detector.predict(quiet.features, 1)[:, 1] == NEVER).all()


def test_the_history_has_one_line_and_each_event_is_told():
    news = []
    _, history = LinearDetector.fit(fit_data([series(1, 1)], report=told(news)), method("lr"))
    assert [line["best"] for line in history] == [True]
    assert news == [(0.5, {}), (0.5, {})]


@pytest.mark.filterwarnings("error")
def test_a_limit_of_iterations_is_no_reason_to_warn():
    once = replace(method("delay_lr"), iterations=1)
    detector, _ = LinearDetector.fit(fit_data([series(1, 1)]), once)
    assert np.isfinite(detector.predict(series(1, 2).features, 1)).all()


def test_shuffled_labels_score_chance():
    """Nothing of the held-out series leaks into what is fitted."""
    random, rows = np.random.default_rng(0), []
    for number in range(1, 5):
        one = series(1, number, rows=3000)
        random.shuffle(one.labels)
        rows.append(one)
    detector, _ = LinearDetector.fit(fit_data(rows[:3]), method("lda"))
    auc = score(rows[3].labels, detector.predict(rows[3].features, 1), EVENTS).mean
    assert auc == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        ("lda", "method.tap_count=0", "method.tap_count=0"),
        ("lda", "method.tap_every=0", "method.tap_every=0"),
        ("lda", "method.fit_every=0", "method.fit_every=0"),
        ("lda", "method.shrinkage=2", "method.shrinkage=2"),
        ("lr", "method.penalty_c=0", "method.penalty_c=0"),
        ("lr", "method.iterations=0", "method.iterations=0"),
        ("lda", "train.scaler=shared", "train.scaler=.*must be subject with method.kind=lda"),
    ],
)
def test_contradictions_name_the_key(method, override, message):
    with pytest.raises(ConfigError, match=message):
        compose([f"method={method}", override])
