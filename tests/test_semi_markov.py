"""The semi-Markov chain: against plain sums over all its states, and on trials it can learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipeline.config import compose, plain
from pipeline.errors import ConfigError, DataError
from pipeline.filtering import FeatureSeries, Moments
from pipeline.semi_markov import (
    Chain,
    SemiMarkovDetector,
    design,
    earlier,
    fit,
    follow,
    happened,
    look_back,
    pasts,
    spread,
)
from tests.conftest import told

METHOD = plain(compose(["method=semi_markov"]).method) | {
    "observed": 0, "tap_count": 3, "rows_after": 12, "rows_before": 6, "response_smooth": 10.0,
    "response_ridge": 3.0, "trust": 1.0,
}  # fmt: skip
EVENTS, HALF = 3, 2


def trials(number: int, subject: int = 1, count: int = 60, rows: int = 2400) -> FeatureSeries:
    """Features in which each of three events shows after it, and the third one before it, too."""
    random = np.random.default_rng([subject, number])
    features = random.normal(0, 1, (rows, 5))
    features = features + 0.8 * earlier(features, 1)
    labels, row = np.zeros((rows, EVENTS), dtype=np.uint8), 25
    for index in range(count * EVENTS):
        event = index % EVENTS
        if row > rows - 20:
            break
        labels[row - HALF : row + HALF + 1, event] = 1
        features[row : row + 6, event] += 2.0
        if event == 2:
            features[row - 4 : row, 3] += 2.0
        row += int(random.integers(8, 12)) if event < 2 else int(random.integers(20, 40))
    features = features.astype(np.float32)
    return FeatureSeries(subject, number, features, labels, Moments.of(features))


@pytest.fixture(scope="module")
def detector() -> SemiMarkovDetector:
    return fit([trials(1), trials(2)], METHOD, told([]))[0]


def test_events_are_found_before_they_show_in_series_never_seen(detector):
    new = trials(3)
    chances = detector.predict(new.features, 1)
    aucs = [roc_auc_score(new.labels[:, e], chances[:, e]) for e in range(EVENTS)]
    # Nothing foretells the first, which comes after a pause of any length.
    assert (np.array(aucs) > [0.88, 0.95, 0.98]).all()
    assert detector.half == HALF
    # Durations tell the second event's window as it begins, before any response to the event.
    begins = np.flatnonzero(np.diff(new.labels[:, 1].astype(int)) == 1) + 1
    assert np.median(chances[begins, 1]) > np.quantile(chances[:, 1], 0.75)


def test_what_lies_before_the_features_are_foretold_rows(detector):
    """What is left of features that their own past foretells is white."""
    new, chain = trials(4), detector.chains[1]
    ready = (new.features - chain.mean) / chain.deviation
    left = ready - look_back(ready, detector.lags, chain.past)
    assert np.abs(np.corrcoef(left[1:].T, left[:-1].T)[:5, 5:]).max() < 0.3
    assert np.corrcoef(ready[1:, 4], ready[:-1, 4])[0, 1] > 0.4


@given(t=st.integers(0, 2398))
@settings(max_examples=6, deadline=None)
def test_no_prediction_sees_a_later_row(detector, t):
    before = trials(5).features
    after = before.copy()
    after[t + 1 :] = 1e3
    np.testing.assert_array_equal(
        detector.predict(before, 1)[: t + 1], detector.predict(after, 1)[: t + 1]
    )


def test_saved_and_loaded_it_predicts_the_same_bits(detector, tmp_path):
    detector.save(tmp_path / "model.pt")
    again, features = SemiMarkovDetector.load(tmp_path / "model.pt"), trials(6).features
    np.testing.assert_array_equal(again.predict(features, 1), detector.predict(features, 1))


def test_rows_beyond_all_measure_end_in_numbers_all_the_same(detector):
    whole = trials(7)
    broken = whole.features.copy()
    broken[100:200] = 1e6
    chances = detector.predict(broken, 1)
    assert np.isfinite(chances).all()
    it_finds_its_way_back, as_before = (
        roc_auc_score(whole.labels[400:, 1], each[400:, 1])
        for each in (chances, detector.predict(whole.features, 1))
    )
    assert it_finds_its_way_back > as_before - 0.02


def plain_sums(chain: Chain, half: int, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Do what `follow` does with a table of all (last event, duration, age), one by one."""
    kinds, ages, _ = chain.after.shape
    untils, durations = chain.before.shape[1], chain.durations.astype(float)
    most = durations.shape[1]
    within = [[durations[k, : max(0, n)].sum() for n in range(half + 1)] for k in range(kinds)]
    start = min(ages, most - untils - 1)
    states = {
        (kinds - 1, d, start): durations[-1, d - 1] for d in range(start + untils + 1, most + 1)
    }
    result = np.zeros((len(after), kinds))
    for t in range(len(after)):
        moved: dict = {}
        for (k, d, a), weight in states.items():
            if a + 1 < d:
                moved[k, d, a + 1] = moved.get((k, d, a + 1), 0) + weight
                continue
            k = (k + 1) % kinds
            for new in range(1, most + 1):
                moved[k, new, 0] = moved.get((k, new, 0), 0) + weight * durations[k, new - 1]
        for (k, d, a), weight in moved.items():
            mean, evidence, coming = np.zeros(chain.after.shape[2]), 0.0, (k + 1) % kinds
            if a < ages:
                mean, evidence = mean + chain.after[k, a], evidence + after[t, k, a]
            if d - a <= untils:
                mean = mean + chain.before[coming, d - a - 1]
                evidence += before[t, coming, d - a - 1]
            moved[k, d, a] = weight * np.exp(evidence - np.square(mean).sum() / 2)
        total = sum(moved.values())
        states = {state: weight / total for state, weight in moved.items()}
        for (k, d, a), weight in states.items():
            if a <= half:
                result[t, k] += weight
                result[t, (k - 1) % kinds] += weight * within[(k - 1) % kinds][half - a]
            if d - a <= half:
                result[t, (k + 1) % kinds] += weight
                after_that = (k + 1) % kinds
                result[t, (k + 2) % kinds] += weight * within[after_that][half - (d - a)]
    return result


@pytest.mark.parametrize(("kinds", "ages", "untils", "most"), [(3, 4, 3, 9), (4, 3, 4, 6)])
def test_it_weighs_states_as_plain_sums_do(kinds, ages, untils, most, rng):
    durations = rng.random((kinds, most))
    chain = Chain(
        *(np.zeros(1),) * 5, rng.normal(0, 1, (kinds, ages, 2)).astype(np.float32),
        rng.normal(0, 1, (kinds, untils, 2)).astype(np.float32),
        (durations / durations.sum(axis=1, keepdims=True)).astype(np.float32),
    )  # fmt: skip
    rows = rng.normal(0, 1.5, (40, 2)).astype(np.float32)
    evidence = [np.tensordot(rows, part, axes=(1, 2)) for part in (chain.after, chain.before)]
    got = follow(chain, 2, *evidence)
    np.testing.assert_allclose(got, plain_sums(chain, 2, *evidence), atol=1e-4)


@given(
    durations=st.lists(st.integers(1, 50), max_size=20),
    longest=st.integers(50, 120),
    smoothing=st.floats(0, 2),
)
@settings(max_examples=50, deadline=None)
def test_durations_are_chances_and_none_is_impossible(durations, longest, smoothing):
    chance = spread(durations, longest, smoothing)
    assert chance.sum() == pytest.approx(1)
    assert (chance > 0).all()
    if durations:
        assert chance[np.asarray(durations) - 1].min() > chance.min()


def test_an_event_is_in_the_middle_of_its_window():
    labels = np.zeros((20, 2), dtype=np.uint8)
    labels[[3, 4, 5], 1] = labels[[9, 10, 11, 12, 13], 0] = labels[[18, 19], 1] = 1
    events, widths = happened(labels)
    assert events == [(4, 1), (11, 0), (18, 1)]
    assert sorted(widths) == [2, 3, 5]


def test_each_row_has_the_response_after_the_last_event_and_before_the_next():
    chosen = design([(3, 0), (6, 1)], 10, kinds=2, after=2, before=2)
    after, before = chosen[:, :4].reshape(10, 2, 2), chosen[:, 4:].reshape(10, 2, 2)
    assert np.argwhere(after).tolist() == [[3, 0, 0], [4, 0, 1], [6, 1, 0], [7, 1, 1]]
    assert np.argwhere(before).tolist() == [[1, 0, 1], [2, 0, 0], [4, 1, 1], [5, 1, 0]]


@given(rows=st.integers(1, 8), lags=st.integers(1, 5), observed=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_past_is_past(rows, lags, observed):
    ready = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    whole = np.concatenate([*pasts(ready, observed, lags)], axis=1)
    assert whole.shape == (rows, 3 + (lags - 1) * observed)
    for row in range(1, rows):
        assert whole[row].max() < ready[row].min()


def test_a_subject_without_events_is_told():
    quiet = trials(1, subject=7)
    silent = replace(quiet, labels=np.zeros_like(quiet.labels))
    with pytest.raises(DataError, match="subject 7: no event in the fitted series"):
        fit([trials(1), silent], METHOD, told([]))


NOT_BELOW_0 = ("observed", "response_smooth", "response_shrinkage", "duration_smooth")
ABOVE_0 = ("rank", "rows_after", "rows_before", "response_ridge", "trust")


@pytest.mark.parametrize(("key", "value"), [*product(ABOVE_0, "0"), *product(NOT_BELOW_0, ["-1"])])
def test_what_cannot_be_is_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=f"method.{key}={value}"):
        compose(["experiment=semi_markov", f"method.{key}={value}"])
