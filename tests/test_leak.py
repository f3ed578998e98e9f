"""The leak test's own parts: what it does to the labels, and what the rhythm tells."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.bench.leak import changed_job, rhythm, shifted, shuffled, since_start
from pipeline.training import Job

RATE = 50.0


def labels(rows=3000, period=400, first=100):
    """Two events a trial, 15 rows wide, the second 100 rows after the first."""
    made = np.zeros((rows, 2), np.uint8)
    for start in range(first, rows - 200, period):
        made[start : start + 15, 0] = made[start + 100 : start + 115, 1] = 1
    return made


def test_shuffling_keeps_how_often_and_loses_when():
    before = labels()
    after = shuffled(before, RATE, np.random.default_rng(0))
    assert not np.array_equal(before, after)
    assert 0 < after.sum() <= before.sum()  # runs may fall onto each other
    assert (after & before).sum() < 0.5 * before.sum()


def test_shifting_is_by_five_seconds_and_into_the_future():
    before = labels()
    after = shifted(before, RATE, np.random.default_rng(0))
    np.testing.assert_array_equal(after[250:], before[:-250])
    assert not after[:250].any()


def test_the_time_since_the_last_start_sees_the_past_only():
    before = labels()
    when = since_start(before, RATE)
    assert (when[:100] == 0).all()
    assert when[100] == 1
    assert when[150] == 11
    later = before.copy()
    later[1000:] = 0
    np.testing.assert_array_equal(since_start(later, RATE)[:1000], when[:1000])


def test_a_steady_rhythm_explains_shifted_labels(tmp_path):
    for series in (1, 2):
        np.save(tmp_path / f"subj1_series{series}_labels.npy", labels(first=60 * series))
    job = Job("subj1", ((1, 1),), ((1, 2),), (), tmp_path, ("one", "two"))
    assert rhythm([job], RATE) > 0.95


def test_a_changed_job_leaves_the_features_as_they_are(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    for series in (1, 2):
        name = f"subj1_series{series}"
        np.save(old / f"{name}_features.npy", np.full((3000, 2), series))
        np.savez(old / f"{name}_moments.npz", rows=1)
        np.save(old / f"{name}_labels.npy", labels())
    job = Job("subj1", ((1, 1),), ((1, 2),), (), old, ("one", "two"))
    again = changed_job(job, new, "shuffled", RATE)
    assert again.folder == new
    assert np.load(new / "subj1_series2_features.npy")[0, 0] == 2
    np.testing.assert_array_equal(np.load(old / "subj1_series1_labels.npy"), labels())
    assert not np.array_equal(np.load(new / "subj1_series1_labels.npy"), labels())
    with pytest.raises(KeyError):
        changed_job(job, tmp_path, "unknown", RATE)
