"""Linear detectors: their past, their weights, their files, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import compose, plain
from pipeline.errors import ConfigError
from pipeline.filtering import FeatureSeries, Moments
from pipeline.linear import LinearDetector, fit, fit_job, with_past
from pipeline.stages import run
from pipeline.training import Job

EVENTS = ("one", "two")
METHODS = {name: plain(compose([f"method={name}"]).method) for name in ("lda", "lr", "delay_lr")}


def series(subject, number, rows=600, offset=0.0):
    """Features of which the first tells of the first event, and the second of it 20 rows ago."""
    random = np.random.default_rng([subject, number])
    labels = (random.random((rows, 2)) < 0.2).astype(np.uint8)
    features = random.normal(offset, 1 + subject, (rows, 3)).astype(np.float32)
    features[:, 0] += 3 * (1 + subject) * labels[:, 0]
    features[:-20, 1] += 3 * (1 + subject) * labels[20:, 1]
    return FeatureSeries(subject, number, features, labels, Moments.of(features))


def told(rows):
    return lambda progress, news: rows.append((progress, news))


@given(
    rows=st.integers(1, 30), taps=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    changed=st.integers(0, 29),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_past_beside_a_row_holds_nothing_of_its_future(rows, taps, changed):
    before = np.arange(2.0 * rows).reshape(rows, 2)
    after = before.copy()
    after[changed:] += 100
    every = np.arange(rows)
    wide, other = (with_past(x, tuple(taps), every) for x in (before, after))
    assert wide.shape == (rows, 2 * len(taps))
    np.testing.assert_array_equal(wide[:changed], other[:changed])
    row = rows - 1
    for place, tap in enumerate(taps):
        expected = before[max(row - tap, 0)]
        np.testing.assert_array_equal(wide[row, 2 * place : 2 * place + 2], expected)


@pytest.mark.parametrize("name", METHODS)
def test_an_event_that_shows_is_found_in_series_never_seen(name):
    detector = fit([series(1, 1), series(1, 2), series(2, 1, offset=50)], METHODS[name], told([]))
    new = series(2, 9, offset=50)
    logits = detector.predict(new.features, 2)
    hits, truth = logits > 0, new.labels.astype(bool)
    assert (hits[:, 0] == truth[:, 0]).mean() > 0.85
    late = (hits[20:, 1] == truth[20:, 1]).mean()
    assert late > 0.85 if name == "delay_lr" else late < 0.85  # only with the past beside


@pytest.mark.parametrize("name", METHODS)
@given(t=st.integers(0, 300))
@settings(max_examples=10, deadline=None)
def test_no_prediction_sees_a_later_row(name, t):
    detector = FITTED[name]
    before = series(1, 5).features
    after = before.copy()
    after[t + 1 :] = 1e3
    np.testing.assert_array_equal(
        detector.predict(before, 1)[: t + 1], detector.predict(after, 1)[: t + 1]
    )


FITTED = {name: fit([series(1, 1)], method, told([])) for name, method in METHODS.items()}


def test_saved_and_loaded_it_predicts_the_same_bits(tmp_path):
    FITTED["delay_lr"].save(tmp_path / "model.pt")
    again = LinearDetector.load(tmp_path / "model.pt")
    features = series(1, 3).features
    np.testing.assert_array_equal(
        again.predict(features, 1), FITTED["delay_lr"].predict(features, 1)
    )


def test_an_event_that_never_happens_is_never_predicted():
    quiet = series(1, 1)
    quiet.labels[:, 1] = 0
    logits = fit([quiet], METHODS["lda"], told([])).predict(quiet.features, 1)
    assert (logits[:, 1] == -20).all()


def test_shuffled_labels_score_chance():
    """Nothing of the held-out series leaks into what is fitted."""
    random, rows = np.random.default_rng(0), []
    for number in range(1, 5):
        one = series(1, number, rows=3000)
        random.shuffle(one.labels)
        rows.append(one)
    detector = fit(rows[:3], METHODS["lda"], told([]))
    from pipeline.scoring import score

    auc = score(rows[3].labels, detector.predict(rows[3].features, 1), EVENTS).mean
    assert auc == pytest.approx(0.5, abs=0.05)


def test_a_job_writes_what_the_networks_jobs_write(tmp_path, monkeypatch):
    monkeypatch.setattr(FeatureSeries, "load", lambda folder, s, r: series(s, r))
    job = Job("subj1_validate", ((1, 1), (1, 2)), ((1, 3),), (), tmp_path, EVENTS)
    news = []
    fit_job(tmp_path, told(news), job, METHODS["lda"], 1)
    assert {path.name for path in tmp_path.iterdir()} == set(job.outputs())
    history = pd.read_csv(tmp_path / "subj1_validate_history.csv")
    assert history["best"].all()
    assert history["valid_auc_one"].item() > 0.9
    assert sum(progress for progress, _ in news) == pytest.approx(1.0)
    assert np.load(tmp_path / "subj1_series3_logits.npy").shape == (600, 2)


def test_linear_presets_go_all_the_way_and_are_fresh_the_second_time(small_config):
    config = small_config("experiment=fbl_lda", "filter.lowpass_hz=[1,5]")
    result = run(config, say=lambda line: None)
    assert result.submission.exists()
    lines = []
    run(config, say=lines.append)
    assert not any("fitted" in line for line in lines)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.taps=[-1]", "method.taps=.*never sees what comes later"),
        ("method.taps=[]", "method.taps"),
        ("method.fit_every=0", "method.fit_every=0"),
        ("method.shrinkage=2", "method.shrinkage=2"),
        ("method.penalty_c=0", "method.penalty_c"),
        ("method.iterations=0", "method.iterations=0"),
        ("train.scaler=shared", "train.scaler=.*must be subject with method.kind=lda"),
    ],
)
def test_contradictions_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        compose(["method=lda", override])
