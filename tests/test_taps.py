"""Rows that are read for others: never a later one; and the work of one fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compose import compose
from pipeline.config.options import plain
from pipeline.detectors import linear
from pipeline.detectors import tap_networks as windowed
from pipeline.detectors.lstm.training import Job
from pipeline.detectors.taps import back, fit_job, fit_scalers, pack, standardise, unpack
from pipeline.features.filter_bank import FeatureSeries
from tests.conftest import tapped_series, told

EVENTS = ("one", "two")


@given(rows=st.integers(1, 30), count=st.integers(1, 5), every=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_row_is_read_last_and_all_others_lie_before_it(rows, count, every):
    taken = back(np.arange(rows), count, every)
    assert taken.shape == (rows, count)
    np.testing.assert_array_equal(taken[:, -1], np.arange(rows))
    assert (np.diff(taken, axis=1) >= 0).all()
    for k in range(count):
        expected = np.maximum(np.arange(rows) - k * every, 0)
        np.testing.assert_array_equal(taken[:, count - 1 - k], expected)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), count=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_no_row_is_read_of_the_series_before(lengths, count):
    first = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    taken = back(np.arange(sum(lengths)), count, 2, first)
    np.testing.assert_array_equal(first[taken], np.broadcast_to(first[:, None], taken.shape))


def test_each_subject_is_standardised_for_itself():
    fitted = [tapped_series(1, 1), tapped_series(2, 1, offset=50), tapped_series(2, 2, offset=50)]
    scalers = unpack(pack(fit_scalers(fitted)))
    both = np.concatenate([fitted[1].features, fitted[2].features])
    np.testing.assert_allclose(standardise(both, scalers[2]).mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standardise(both, scalers[2]).std(0), 1, atol=1e-3)


@pytest.mark.parametrize(("name", "fit"), [("lda", linear.fit), ("gru_taps", windowed.fit)])
def test_a_job_writes_what_the_lstms_jobs_write(tmp_path, monkeypatch, name, fit):
    monkeypatch.setattr(FeatureSeries, "load", lambda folder, s, r: tapped_series(s, r))
    job = Job("subj1_validate", ((1, 1), (1, 2)), ((1, 3),), (), tmp_path, EVENTS)
    small = [f"method={name}", "method.units=8", "method.updates=40", "method.tap_count=1"]
    method = {**plain(compose(small).method), "seed": 0, "device": "cpu"}
    news = []
    fit_job(tmp_path, told(news), job, fit, method, 1)
    assert {path.name for path in tmp_path.iterdir()} == set(job.outputs())
    history = pd.read_csv(tmp_path / "subj1_validate_history.csv")
    assert history["best"].tolist() == [False] * (len(history) - 1) + [True]
    assert history["valid_auc_one"].iloc[-1] > 0.9
    assert sum(progress for progress, _ in news) == pytest.approx(1.0)
    assert np.load(tmp_path / "subj1_series3_logits.npy").shape == (600, 2)
