"""The second level never learns from a prediction by a model that saw the series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compose import compose, compose_members
from pipeline.config.lstm import LstmOptions
from pipeline.data.kaggle_files import RawFile, RawSeries
from pipeline.data.names import series_name
from pipeline.detectors.lstm.correction import CorrectionDetector
from pipeline.errors import ConfigError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.stages import flow, members
from pipeline.stages.checks import check_before_work
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from pipeline.stages.jobs import fold_jobs, folds, jobs
from pipeline.work import runner
from tests.conftest import SMALL_STACK, fit_data, make_config, tapped_series

pytestmark = pytest.mark.slow

STACK = (*SMALL_STACK, "experiment=stack", "stack.members=[fbl_lda]")


@given(series=st.lists(st.integers(1, 99), min_size=2, max_size=12, unique=True), data=st.data())
@settings(max_examples=50, deadline=None)
def test_folds_hold_each_series_once_and_are_even(series, data):
    parts = folds(series, data.draw(st.integers(2, len(series))))
    assert [s for part in parts for s in part] == sorted(series)
    sizes = [len(part) for part in parts]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [2, 3, 6])
def test_each_series_is_predicted_once_and_by_no_model_that_saw_it(tmp_path, count):
    wanted = [
        "experiment=stack", "dataset=simulated", "dataset.subjects=[1,2]", f"stack.folds={count}",
    ]  # fmt: skip
    context = Context(make_config(tmp_path, *wanted))
    found = [RawSeries(s, r, RawFile(tmp_path), None) for s in (1, 2) for r in range(1, 11)]
    assert context.members
    for member in context.members:
        parts = fold_jobs(member, found, context.config.stack.folds)
        assert len({job.name.split("_")[-1] for job in parts}) == count
        planned = jobs(member, found, final=False) + parts
        predicted = sorted(key for job in planned for key in job.predict)
        assert predicted == [(s, r) for s in (1, 2) for r in range(1, 9)]
        for job in planned:
            assert not set(job.fit) & set(job.predict)
            assert {series for _, series in job.fit} <= set(range(1, 7))
        final = jobs(member, found, final=True)
        assert {series for job in final for _, series in job.predict} == {9, 10}
    second = jobs(context, found, final=False)[0]
    assert {series for _, series in second.fit} == set(range(1, 7))
    assert {series for _, series in second.predict} == {7, 8}


def test_a_series_labels_do_not_reach_its_own_features(tmp_path, monkeypatch):
    """Change the labels of one series: its members' logits stay, those of the others move."""
    config = make_config(tmp_path, *STACK, "stage=filter")
    quiet = lambda line: None  # noqa: E731
    run(config, say=quiet)
    context = Context(config)

    def logits():
        return {
            series: np.load(context.feature_folder.path / f"subj1_series{series}_features.npy")
            for series in (1, 2, 3)
        }

    before = logits()
    file = context.members[0].feature_folder.path / "subj1_series1_labels.npy"
    labels = np.load(file)
    # Both would put the right labels back.
    monkeypatch.setattr(flow, "make_features", lambda *_: None)
    monkeypatch.setattr(runner, "_made", {})
    np.save(file, labels[::-1])
    found = find(context)
    flow.stack(context, [raw for raw in found if raw.series != 4], found)
    after = logits()
    np.testing.assert_array_equal(after[1], before[1])
    assert not np.array_equal(after[2], before[2])
    assert not np.array_equal(after[3], before[3])


def test_another_number_of_folds_is_another_recipe_and_fits_nothing_twice(tmp_path):
    more = ["dataset.simulation.series=5", "dataset.train_series=[1,2,3]",
            "dataset.valid_series=[4]", "dataset.test_series=[5]", "stage=filter"]  # fmt: skip
    names, told = [], []
    for count in (2, 3, 2):
        context = Context(make_config(tmp_path, *STACK, *more, f"stack.folds={count}"), told.append)
        run(context.config, say=told.append)
        names.append(context.name)
    assert names[0] == names[2] != names[1]
    lines = [line.split(" in ")[0] for line in told if line.startswith("folds")]
    assert lines == [
        "folds    6 done",  # two folds, and all, of two subjects
        "folds    6 done, 2 up to date",  # three folds
        "folds    up to date (6 of 6)",
    ]


def test_members_logits_are_put_side_by_side_as_of_their_time(tmp_path):
    np.save(tmp_path / "signal.npy", np.zeros((95, 3)))
    events = (np.arange(95)[:, None] == [40, 80]).astype(np.uint8)
    np.save(tmp_path / "events.npy", events)
    np.save(tmp_path / "a.npy", np.arange(10.0)[:, None])  # rows 0, 10, 20, ...
    np.save(tmp_path / "b.npy", np.arange(4.0)[:, None])  # rows 0, 25, 50, 75
    sources = [(tmp_path / "a.npy", 10), (tmp_path / "b.npy", 25)]
    members.work(
        tmp_path, lambda *_: None, subject=1, series=2, logits=sources, every=40,
        signal=tmp_path / "signal.npy", events=tmp_path / "events.npy",
    )  # fmt: skip
    made = FeatureSeries.load(tmp_path, 1, 2)
    np.testing.assert_array_equal(made.features, [[0, 0], [4, 1], [8, 3]])
    np.testing.assert_array_equal(made.labels, [[0, 0], [1, 0], [0, 1]])
    assert made.moments.count == 3
    assert (tmp_path / f"{series_name(1, 2)}_moments.npz").exists()


def test_members_share_the_data_and_add_their_seed(tmp_path):
    more = ["stack.members=[lstm,'lstm seed=2']", "seed=3", "workers=1"]
    config = make_config(tmp_path, *STACK, *more)
    first, second = compose_members(config)
    assert (first.seed, second.seed) == (3, 5)
    assert first.dataset == config.dataset
    assert first.model.hidden == 6  # of stack.overrides
    assert first.data_dir == config.data_dir
    assert first.workers == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stack.members=[lsmt]", "stack.members: 'lsmt'.*lsmt"),
        ("stack.members=['lstm modl.hidden=3']", "stack.members: 'lstm modl.hidden=3'.*modl"),
        ("stack.members=['lstm model.layers=0']", "stack.members: .*model.layers=0"),
        ("stack.members=[stack]", "stack.members: 'stack': it is a stack itself"),
        ("stack.folds=1", "stack.folds=1: must be 2"),
        ("stack.folds=3", "stack.folds=3: only 2 series"),
        ("stack.every=0", "stack.every=0"),
        ("stack.members=['']", "stack.members.*must be a recipe"),
    ],
)
def test_mistakes_name_the_member(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        Context(make_config(tmp_path, *STACK, override))


def test_a_member_that_a_fold_leaves_too_few_series_is_refused_before_work(tmp_path):
    config = make_config(tmp_path, *SMALL_STACK, "experiment=stack", "stack.members=[hybrid]")
    with pytest.raises(
        ConfigError, match=r"stack.folds=2: .* 1 training series, and hybrid needs 2"
    ):
        check_before_work(Context(config))


def test_a_correction_starts_near_its_first_member_and_reads_all_columns(tmp_path):
    """The first columns are the logits that it adds to, whatever their scale; all others count."""
    fitted = [tapped_series(1, number) for number in (1, 2, 3)]
    logits = [5 + 3 * np.asarray(series.features)[:, :2] for series in fitted]
    stacked = [
        replace(series, features=features, moments=Moments.of(features))
        for series, own in zip(fitted, logits, strict=True)
        for features in [np.concatenate([own, series.features], axis=1).astype(np.float32)]
    ]
    config = compose(
        [
            "experiment=stack", "window.length=50", "window.batch=4", "window.burn_in=0",
            "model.hidden=4", "train.learning_rate=1e-9", "train.epochs=1",
        ]
    )  # fmt: skip
    options = LstmOptions(config.window, config.model, config.train)
    fit, _ = CorrectionDetector.fit(fit_data(stacked[:2], scratch=tmp_path), options)
    features, own = stacked[2].features, logits[2]
    said = fit.predict(features, 1)
    assert np.abs(np.diff(said - own, axis=0)).max() < 0.1 * own.std()
    moved = features.copy()
    moved[:, 0] += 1
    assert (fit.predict(moved, 1) - said)[:, 0] == pytest.approx(1, abs=0.2)
    moved = features.copy()
    moved[:, -1] += 100
    assert np.abs(fit.predict(moved, 1) - said).max() > 0
