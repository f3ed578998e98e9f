"""Probabilities become onsets, and onsets are scored: causal, in pieces, and as others count."""

from __future__ import annotations

import pickle
import re

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from pipeline.errors import PipelineError
from pipeline.results.decision_figures import alarms_picture, delays_picture
from pipeline.results.decision_scores import (
    Grid,
    Timeline,
    choose,
    event_centres,
    f1_score,
    match,
    outcome,
    summarise,
    sweep,
)
from pipeline.results.decisions import Decider, Onset, Settings
from pipeline.stages.record import onset_metrics

RATE = 10.0
GRID = Grid(20, (0.0, 0.3), (0.5, 2.0), 1.0)
LEVELS = st.sampled_from([0.0, 0.2, 0.5, 0.9])


@st.composite
def cases(draw):
    """Settings of two events, and probabilities that often cross the thresholds."""
    rows = draw(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=60))
    times = st.sampled_from([0.0, 0.1, 0.2, 0.5])
    pair = st.tuples(times, times)
    levels = st.tuples(st.sampled_from([0.2, 0.5]), st.sampled_from([0.2, 0.9]))
    chosen = Settings(("a", "b"), RATE, draw(levels), draw(pair), draw(pair))
    return chosen, np.array(rows)


def one_by_one(chosen: Settings, probabilities: np.ndarray) -> list[Onset]:
    """The definition, sample by sample."""
    found = []
    for column, event in enumerate(chosen.events):
        lasted, last = 0, -np.inf
        for t, p in enumerate(probabilities[:, column]):
            lasted = lasted + 1 if p >= chosen.thresholds[column] else 0
            due = lasted == max(1, round(RATE * chosen.dwell_seconds[column]))
            if due and t - last >= round(RATE * chosen.refractory_seconds[column]):
                last = t
                found.append((t, column, event))
    return [Onset(t, event) for t, _, event in sorted(found)]


@given(case=cases())
@settings(max_examples=300, deadline=None)
def test_onsets_are_those_of_the_definition(case):
    chosen, probabilities = case
    assert Decider(chosen).push(probabilities) == one_by_one(chosen, probabilities)


@given(case=cases(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_onsets_are_the_same_however_the_probabilities_are_cut(case, data):
    chosen, probabilities = case
    cuts = sorted(data.draw(st.lists(st.integers(0, len(probabilities)), max_size=8)))
    decider, found = Decider(chosen), []
    for chunk in np.split(probabilities, cuts):
        found += decider.push(chunk)
        kept = pickle.loads(pickle.dumps(decider.state))  # as another process would get it
        decider = Decider(chosen)
        decider.state = kept
    assert found == Decider(chosen).push(probabilities)
    assert decider.state.samples == len(probabilities)


@given(case=cases(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_onset_depends_on_a_later_sample(case, data):
    chosen, probabilities = case
    t = data.draw(st.integers(0, len(probabilities) - 1))
    other = probabilities.copy()
    other[t + 1 :] = data.draw(LEVELS)
    before = [o for o in Decider(chosen).push(probabilities) if o.sample <= t]
    assert before == [o for o in Decider(chosen).push(other) if o.sample <= t]


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.full((2, 2), np.nan), "nan or infinite"),
        (np.full((2, 2), np.inf), "nan or infinite"),
        (np.zeros((2, 3)), r"shape \(2, 3\): must be \(n, 2\)"),
        (np.zeros(2), r"shape \(2,\): must be"),
    ],
)
def test_a_chunk_that_cannot_be_is_refused_and_forgotten(chunk, message):
    decider = Decider(Settings(("a", "b"), RATE, (0.5, 0.5), (0.3, 0.3), (1.0, 1.0)))
    decider.push(np.ones((2, 2)))
    with pytest.raises(ValueError, match=message):
        decider.push(chunk)
    assert decider.push(np.ones((1, 2))) == [Onset(2, "a"), Onset(2, "b")]
    decider.reset()
    assert decider.push(np.ones((2, 2))) == []


@given(case=cases(), more=cases())
@settings(max_examples=100, deadline=None)
def test_the_choice_counts_the_onsets_that_a_decider_gives(case, more):
    chosen, first = case
    series = [first, more[1]]
    line = Timeline([s[:, 0] for s in series], [np.array([], int)] * 2, RATE, GRID)
    runs = line.runs(chosen.thresholds[0])
    found = line.onsets(runs, chosen.dwell_seconds[0], chosen.refractory_seconds[0])
    expected = [
        onset.sample + begin
        for begin, one in zip(line.begins, series, strict=True)
        for onset in Decider(chosen).push(one)
        if onset.event == "a"
    ]
    assert found.tolist() == expected


def test_settings_are_kept_in_a_file(tmp_path):
    chosen = Settings(("a", "b"), 500.0, (0.25, 1 / 3), (0.0, 0.1), (1.0, 2.0))
    assert (chosen.dwell, chosen.refractory) == ((1, 50), (500, 1000))
    chosen.save(tmp_path / "decisions.json")
    assert Settings.load(tmp_path / "decisions.json") == chosen
    with pytest.raises(ValueError, match="thresholds: 2 events"):
        Settings(("a", "b"), 500.0, (0.5,), (0.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize("text", ["no json", "[]", '{"events": ["a"]}', '{"more": 1}', None])
def test_a_file_that_holds_no_settings_is_named_in_one_line(tmp_path, text):
    path = tmp_path / "decisions.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(PipelineError, match=re.escape(str(path))) as told:
        Settings.load(path)
    assert "\n" not in str(told.value)


# ---- scores --------------------------------------------------------------------------------------


def test_the_true_event_is_the_centre_of_its_label():
    labels = np.zeros(1000, np.uint8)
    labels[300:450] = 1
    labels[950:] = 1  # cut by the end of the series
    assert event_centres(labels).tolist() == [375, 975]
    assert event_centres(np.zeros(9)).tolist() == []


SAMPLES = st.lists(st.integers(0, 80), max_size=12, unique=True).map(
    lambda drawn: np.array(sorted(drawn), dtype=int)
)


@given(onsets=SAMPLES, true=SAMPLES, tolerance=st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_as_many_events_as_can_be_are_matched_each_with_its_own_onset(onsets, true, tolerance):
    matched = match(onsets, true, tolerance)
    hit = matched >= 0
    assert len(set(matched[hit])) == hit.sum()
    assert (np.abs(onsets[matched[hit]] - true[hit]) <= tolerance).all()
    if len(onsets) and len(true):
        near = csr_matrix(np.abs(true[:, None] - onsets) <= tolerance)
        assert hit.sum() == (maximum_bipartite_matching(near, perm_type="column") >= 0).sum()


@given(true=SAMPLES, onsets=SAMPLES)
@settings(max_examples=300, deadline=None)
def test_counts_agree_with_timescoring(true, onsets):
    """Its grid is 10 Hz; of several onsets near one event it counts none as a false alarm."""
    reason = "timescoring is not installed (extra dev)"
    annotations = pytest.importorskip("timescoring.annotations", reason=reason)
    scoring = pytest.importorskip("timescoring.scoring", reason=reason)
    true = 25 * true + 12  # windows of 1 s to either side do not meet
    onsets = 25 * onsets // 2
    labels = np.zeros((2100, 1), np.uint8)
    labels[true, 0] = 1
    mine = outcome([onsets], [labels], 0, RATE, 1.0)

    def events(samples):
        spans = [(int(t) / 10, (int(t) + 1) / 10) for t in samples]
        return annotations.Annotation(spans, 10, len(labels))

    its = scoring.EventScoring(
        events(true),
        events(onsets),
        scoring.EventScoring.Parameters(
            toleranceStart=1.0, toleranceEnd=1.0, minOverlap=0.0, maxEventDuration=300.0,
            minDurationBetweenEvents=0.0,
        ),
    )  # fmt: skip
    near = np.abs(onsets[:, None] - true) <= 10
    doubles = np.maximum(near.sum(axis=0) - 1, 0).sum()
    assert mine.hits.sum() == its.tp
    assert mine.misses.sum() == its.refTrue - its.tp
    assert mine.false_alarms.sum() == its.fp + doubles
    if not doubles and len(true):
        ours = f1_score(mine.hits.sum(), mine.misses.sum(), mine.false_alarms.sum())
        assert float(ours) == pytest.approx(its.f1)


def recording(seed, events=40, effect=0.9):
    """One event every 10 s, at 10 Hz, with its label from .3 s before to .3 s after."""
    random = np.random.default_rng(seed)
    labels = np.zeros((100 * events, 2), np.uint8)
    probabilities = random.random((len(labels), 2)) ** 8
    for begin in range(50, len(labels), 100):
        labels[begin - 3 : begin + 3] = 1
        if random.random() < effect:
            probabilities[begin + 1 : begin + 5] = random.uniform(0.5, 1, (4, 2))
    return labels, probabilities


def timeline(*recordings, grid=GRID):
    columns = [p[:, 0] for _, p in recordings]
    return Timeline(columns, [event_centres(y[:, 0]) for y, _ in recordings], RATE, grid)


def test_the_choice_has_the_best_f1_of_the_whole_grid():
    line = timeline(recording(0), recording(1))
    chosen = choose(line, GRID)
    found = {}
    for threshold in GRID.levels(line.columns).tolist():
        for dwell in GRID.dwell_seconds:
            for refractory in GRID.refractory_seconds:
                counts = line.count(line.onsets(line.runs(threshold), dwell, refractory))
                found[threshold, dwell, refractory] = float(f1_score(*counts))
    assert found[chosen] == max(found.values()) > 0.85
    assert chosen.dwell_seconds == 0.3  # single samples are noise here
    assert choose(timeline(recording(0), recording(1)), GRID) == chosen
    alarms, hits = sweep(line, GRID, chosen)
    assert len(alarms) == len(hits) == len(GRID.levels(line.columns))
    assert (hits >= 0).all()
    assert (hits <= 1).all()


def test_a_bound_on_false_alarms_is_kept_where_it_can_be():
    noisy = [recording(seed, effect=0.5) for seed in (0, 1)]
    rates = []
    for most in (None, 1.0, 0.1, 0.0):
        grid = Grid(20, (0.0,), (0.5,), 1.0, most)
        line = timeline(*noisy, grid=grid)
        chosen = choose(line, grid)
        runs = line.runs(chosen.threshold)
        *_, alarms = line.count(line.onsets(runs, 0.0, 0.5))
        rates.append(alarms / line.minutes)
    assert rates[0] > 1.0
    assert rates[1] <= 1.0
    assert rates[2] <= 0.1 or rates[2] == rates[3]  # what cannot be kept gets the fewest there are


def test_an_event_that_never_happens_gets_the_fewest_false_alarms():
    _, probabilities = recording(0)
    line = Timeline([probabilities[:, 0]], [np.array([], int)], RATE, GRID)
    chosen = choose(line, GRID)
    assert chosen.threshold == max(GRID.levels(line.columns))
    none = outcome([np.array([], int)], [np.zeros((100, 2))], 0, RATE, 1.0)
    table = summarise(none)
    assert table["hits"] == table["misses"] == table["false_alarms"] == 0
    assert np.isnan([table["f1"], table["hit_rate"], table["delay_median_ms"]]).all()
    assert table["false_alarms_per_minute"] == 0


def test_figures_are_those_of_the_counts_and_lie_in_their_intervals():
    labels, probabilities = recording(3)
    chosen = Settings(("a", "b"), RATE, (0.5, 0.5), (0.0, 0.0), (0.5, 0.5))
    onsets = np.array([o.sample for o in Decider(chosen).push(probabilities) if o.event == "a"])
    result = outcome([onsets], [labels], 0, RATE, 1.0)
    table = summarise(result)
    hits, misses, alarms = (table[key] for key in ("hits", "misses", "false_alarms"))
    assert hits + misses == 40
    assert hits + alarms == len(onsets)
    assert misses > 0
    assert alarms > 0
    assert table["f1"] == pytest.approx(2 * hits / (2 * hits + misses + alarms))
    assert table["hit_rate"] == pytest.approx(hits / 40)
    assert table["false_alarms_per_minute"] == pytest.approx(alarms / (len(labels) / RATE / 60))
    for name, level in (("median", 50), ("p05", 5), ("p95", 95)):
        exact = np.percentile(result.delays, level, method="inverted_cdf")
        assert table[f"delay_{name}_ms"] == pytest.approx(exact)
    for key in ("f1", "hit_rate", "false_alarms_per_minute", "delay_median_ms"):
        assert table[f"{key}_low"] <= table[key] <= table[f"{key}_high"]
    assert 0.02 < table["f1_high"] - table["f1_low"] < 0.4


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    def figures(seed, events=40):
        labels, probabilities = recording(seed, events, effect=0.7)
        onsets = np.flatnonzero(np.diff(probabilities[:, 0] >= 0.5, prepend=False, axis=0) == 1)
        onsets = onsets[probabilities[onsets, 0] >= 0.5]
        return summarise(outcome([onsets], [labels], 0, RATE, 1.0))

    truth = figures(99, 4000)["f1"]
    parts = [figures(seed) for seed in range(40)]
    held = sum(part["f1_low"] <= truth <= part["f1_high"] for part in parts)
    assert held >= 33


# ---- pictures and names --------------------------------------------------------------------------


def test_the_pictures_are_drawn_also_of_an_event_that_is_never_hit(tmp_path):
    line = timeline(recording(0))
    curve = sweep(line, GRID, choose(line, GRID))
    table = pd.DataFrame(
        {"hit_rate": [0.9, np.nan], "false_alarms_per_minute": [1.0, 0.0], "f1": [0.8, np.nan]},
        index=["a", "b"],
    )
    alarms_picture(tmp_path / "alarms.png", {"a": curve, "b": curve}, table, "title")
    delays = {"a": np.array([-100.0, 50.0, 60.0]), "b": np.array([])}
    delays_picture(tmp_path / "delays.png", delays, 1.0, "title")
    for name in ("alarms", "delays"):
        picture = matplotlib.image.imread(tmp_path / f"{name}.png")
        assert picture.shape[0] > 200
        assert picture[..., :3].std() > 0.01


def test_mlflow_gets_each_figure_by_its_event_and_the_mean():
    table = pd.DataFrame(
        {"f1": [0.5, 0.7], "delay_median_ms": [10.0, np.nan]}, index=["HandStart", "Replace"]
    )
    assert onset_metrics(table) == {
        "f1_HandStart": 0.5, "f1_Replace": 0.7, "delay_median_ms_HandStart": 10.0,
        "f1_mean": pytest.approx(0.6),
    }  # fmt: skip
    table.loc["Replace", "f1"] = np.nan
    assert "f1_mean" not in onset_metrics(table)
