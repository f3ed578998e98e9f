"""The AUC's interval over trials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.results.scoring import score
from pipeline.results.uncertainty import auc_interval, trial_of_row


def series(trials, seed, effect=1.5, shared=0.0):
    """Trials of 100 rows, the first 10 of which are the event's; noise may be each trial's own."""
    random = np.random.default_rng(seed)
    labels = np.zeros((100 * trials, 2), np.uint8)
    for begin in range(0, len(labels), 100):
        labels[begin : begin + 10, 0] = labels[begin + 40 : begin + 50, 1] = 1
    own = np.repeat(random.normal(0, 1, (trials, 2)), 100, axis=0)
    noise = random.normal(0, 1, labels.shape)
    return labels, effect * labels + shared * own + (1 - shared) * noise


def test_trials_are_counted_from_each_hand_start():
    labels, _ = series(3, 0)
    labels = np.vstack([np.zeros((5, 2), np.uint8), labels])
    number = trial_of_row(labels)
    assert (number[:5] == 0).all()
    assert (number[5:105] == 1).all()
    assert number[-1] == 3


@given(seed=st.integers(0, 99), effect=st.floats(-1, 3))
@settings(max_examples=15, deadline=None)
def test_the_interval_is_around_the_auc_as_scored(seed, effect):
    parts = [series(12, seed + k, effect) for k in (0, 1000)]
    low, high = auc_interval([y for y, _ in parts], [s for _, s in parts])
    point = score(*(np.concatenate(side) for side in zip(*parts, strict=True)), ("a", "b"))
    for column, auc in enumerate((*point.events.values(), point.mean)):
        assert low[column] - 0.005 <= auc <= high[column] + 0.005
    assert (low <= high).all()


@pytest.mark.slow
def test_it_covers_the_truth_about_as_often_as_it_says():
    truth = score(*series(4000, 5), ("a", "b")).mean
    held = 0
    for seed in range(40):
        labels, scores = series(20, 100 + seed)
        low, high = auc_interval([labels], [scores])
        held += low[2] <= truth <= high[2]
    assert held >= 34


def test_it_is_wider_when_the_rows_of_a_trial_go_together():
    widths = []
    for shared in (0.0, 0.8):
        labels, scores = series(40, 1, shared=shared)
        low, high = auc_interval([labels], [scores])
        widths.append(high[2] - low[2])
    assert widths[1] > 1.5 * widths[0]


def test_an_event_that_never_happens_has_no_interval():
    labels, scores = series(10, 0)
    labels[:, 1] = 0
    low, high = auc_interval([labels], [scores])
    assert low[0] == pytest.approx(high[0], abs=0.2)
    assert np.isnan(low[1:]).all()
