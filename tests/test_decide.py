"""The stage that decides onsets: what it is chosen on, what it writes, what it leaves as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.data.kaggle_files import RawFile, RawSeries
from pipeline.data.recording import Description
from pipeline.errors import ConfigError
from pipeline.results.decisions import Settings
from pipeline.stages import decide
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from tests.conftest import SMALL_RECIPE, make_config, real_pictures, small_recipe, submitted
from tests.test_decisions import GRID, RATE, recording

pytestmark = pytest.mark.slow

ABOUT = Description(("c",), ("a", "b"), RATE, 1e-6, "standard_1020")


def written(folder, seed, effect=0.9):
    """The logits and labels of one series, as files."""
    labels, probabilities = recording(seed, effect=effect)
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    pair = folder / f"{seed}_logits.npy", folder / f"{seed}_labels.npy", None
    np.save(pair[0], np.log(p / (1 - p)))
    np.save(pair[1], labels)
    return pair


def test_the_held_out_series_choose_nothing(tmp_path):
    training = [written(tmp_path, seed) for seed in (1, 2)]
    outputs = ("table.csv", "settings.json", "alarms.png", "delays.png")
    made = []
    for number, held_out in enumerate(([written(tmp_path, 3)], [written(tmp_path, 4, 0.1)])):
        folder = tmp_path / str(number)
        folder.mkdir()
        decide.work(
            folder, lambda *_: None, training=training, held_out=held_out, grid=GRID,
            outputs=outputs, about=ABOUT, every=1, name="recipe",
        )  # fmt: skip
        made.append(folder)
    first, second = ((folder / "settings.json").read_bytes() for folder in made)
    assert first == second
    good, bad = (pd.read_csv(folder / "table.csv", index_col=0) for folder in made)
    assert (good["f1"] > bad["f1"] + 0.2).all()
    other = decide.chosen_settings([written(tmp_path, 5, 0.3)], GRID, ABOUT, 1)
    assert json.loads(first)["thresholds"] != list(other.thresholds)


def test_nothing_is_decided_in_rows_that_are_left_out(tmp_path):
    """Their predictions are missing: what follows keeps its place."""
    logits, labels, _ = written(tmp_path, 1)
    kept = np.ones(len(np.load(labels)), bool)
    kept[100:400] = False
    whole = decide._load([(logits, labels, None)], 1)
    np.save(tmp_path / "kept.npy", kept)
    np.save(tmp_path / "some.npy", np.load(logits)[kept])
    (values,), (truth,) = decide._load([(tmp_path / "some.npy", labels, tmp_path / "kept.npy")], 1)
    np.testing.assert_array_equal(values[kept], whole[0][0][kept])
    np.testing.assert_array_equal(truth[kept], whole[1][0][kept])
    assert (values[~kept] == decide.LEFT_OUT).all()
    assert not truth[~kept].any()


def test_a_fold_leaves_out_who_learns_nothing_from_the_others(tmp_path):
    """Subject 2 has no event in series 4 to 6, and subject 3 no series but the first."""
    context = Context(
        make_config(tmp_path, *RUN[:1], "dataset=simulated", "decisions.enabled=true",
                    "dataset.simulation.subjects=3", "decisions.folds=2")
    )  # fmt: skip
    found = [RawSeries(s, r, RawFile(tmp_path), None) for s in (1, 2) for r in range(1, 11)]
    found += [RawSeries(3, r, RawFile(tmp_path), None) for r in (1, 7, 8, 9, 10)]
    folder = context.ingest_folder.path
    folder.mkdir(parents=True)
    for raw in found:
        labels = np.zeros((10, 6), np.uint8)
        labels[3] = raw.subject != 2 or raw.series < 4
        np.save(folder / f"{raw.name}_events.npy", labels)
    predicted = sorted(key for job in decide.training_jobs(context, found) for key in job.predict)
    assert predicted == [*((1, r) for r in range(1, 7)), *((2, r) for r in range(4, 7))]
    assert decide.possible(context, found)
    assert not decide.possible(context, [raw for raw in found if raw.subject == 3])


@pytest.mark.parametrize("recipe", ["fbl_lda", "stack"])
def test_settings_come_from_models_that_did_not_see_the_series(tmp_path, recipe):
    more = ["stack.members=[fbl_lda]"] if recipe == "stack" else []
    context = Context(
        make_config(
            tmp_path, f"experiment={recipe}", *SMALL_RECIPE[:1], *more, "decisions.enabled=true",
            "dataset.simulation.subjects=2", "decisions.folds=2",
        )
    )  # fmt: skip
    found = [RawSeries(s, r, RawFile(tmp_path), None) for s in (1, 2) for r in range(1, 11)]
    planned = decide.training_jobs(context, found)
    assert sorted(key for job in planned for key in job.predict) == [
        (s, r) for s in (1, 2) for r in range(1, 7)
    ]
    for job in planned:
        assert not set(job.fit) & set(job.predict)
        assert {series for _, series in job.fit} <= set(range(1, 7))
    arguments = decide.task(context, found).arguments
    series = {
        side: {int(re.search(r"series(\d+)_", labels.name)[1]) for _, labels, _ in arguments[side]}
        for side in ("training", "held_out")
    }
    assert series == {"training": set(range(1, 7)), "held_out": {7, 8}}


RUN = (
    "experiment=fbl_lda", "dataset.simulation.series=4", "dataset.train_series=[1,2]",
    "dataset.valid_series=[3]", "dataset.test_series=[4]", "decisions.folds=2",
)  # fmt: skip


def check_record(uri, result):
    """MLflow has each event's figures, the files, and the settings beside the fitted recipe."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("simulated")
    runs = client.search_runs([experiment.experiment_id])
    run_ = next(each for each in runs if "f1_HandStart" in each.data.metrics)
    for event, row in result.decisions.iterrows():
        for key in ("f1", "hits", "misses", "false_alarms_per_minute", "delay_median_ms"):
            if not np.isnan(row[key]):
                assert run_.data.metrics[f"{key}_{event}"] == pytest.approx(row[key])
    names = {file.path for file in client.list_artifacts(run_.info.run_id)}
    assert {"decisions_simulated.csv", "alarms_simulated.png", "delays_simulated.png"} <= names
    model = run_.outputs.model_outputs[0].model_id
    mlflow.set_tracking_uri(uri)
    stored = Path(mlflow.artifacts.download_artifacts(f"models:/{model}"))
    mlflow.set_tracking_uri(None)
    settings_file = next(stored.rglob("decisions.json"))
    assert Settings.load(settings_file).thresholds == tuple(result.decisions["threshold"])


def test_decisions_are_made_only_if_wanted_and_change_no_submission(small_config, uri):
    told: list[str] = []
    plain = run(small_config(*RUN), say=told.append)
    assert not any(line.startswith(("folds", "decide")) for line in told)
    assert plain.decisions is None

    told.clear()
    with real_pictures():
        with_onsets = run(small_config(*RUN, "decisions.enabled=true"), say=told.append)
    assert any(line.startswith("folds    4 done") for line in told)
    assert any(line.startswith("decide   1 done") for line in told)
    assert any("false alarms/min" in line for line in told)
    assert with_onsets.submission.read_bytes() == plain.submission.read_bytes()
    assert len(submitted(with_onsets.submission, "subj1_series4"))
    table = with_onsets.decisions
    labelled = small_config(*RUN).dataset.simulation.trials * 2  # one series of two subjects
    assert (table["hits"] + table["misses"] == labelled).all()
    page = next(with_onsets.folder.glob("report_*.html")).read_text(encoding="utf-8")
    assert "Onsets (in brackets" in page
    for heading in decide.PICTURES.values():
        assert heading in page
    kept = Settings.load(with_onsets.folder / "decisions_simulated.json")
    assert kept.thresholds == tuple(table["threshold"])

    told.clear()  # another grid: other results, and no new fit
    recorded = small_config(
        *RUN, "decisions.enabled=true", "decisions.thresholds=5", "tracking.enabled=true",
        f"tracking.uri={uri}", "tracking.system_metrics=false",
    )  # fmt: skip
    again = run(recorded, told.append)
    assert any(line.startswith("folds    up to date") for line in told)
    assert again.folder != with_onsets.folder
    check_record(uri, again)


def test_a_stack_and_its_members_share_the_folds(tmp_path):
    told: list[str] = []
    config = make_config(
        tmp_path, *(o for o in small_recipe("stack") if not o.startswith("stack.members")),
        "stack.members=[fbl_lda]", "stage=evaluate",
        "decisions.enabled=true", "decisions.folds=2",
    )  # fmt: skip
    table = run(config, say=told.append).decisions
    assert len(table) == 6
    found = find(Context(config))
    planned = decide.training_jobs(Context(config), found)
    assert len(planned) == 2  # one model for all subjects, without each of two folds
    told.clear()
    common = [o for o in SMALL_RECIPE if o.startswith(("dataset", "workers", "device", "track"))]
    member = make_config(
        tmp_path, *common, "experiment=fbl_lda", "filter.lowpass_hz=[1]", "stage=evaluate",
        "decisions.enabled=true", "decisions.folds=2",
    )  # fmt: skip
    run(member, say=told.append)
    assert any(line.startswith("folds    up to date") for line in told)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decisions.folds=1", "decisions.folds=1: must be 2"),
        ("decisions.folds=3", "decisions.folds=3: only 2 series"),
        ("decisions.thresholds=0", "decisions.thresholds=0"),
        ("decisions.dwell_seconds=[]", "decisions.dwell_seconds=.*must not be empty"),
        ("decisions.refractory_seconds=[-1]", "decisions.refractory_seconds=.*0 or more"),
        ("decisions.tolerance_seconds=0", "decisions.tolerance_seconds=0"),
        ("decisions.most_false_alarms_per_minute=-1", "most_false_alarms_per_minute=-1"),
        ("decisions.tolerance_seconds=inf", "decisions.tolerance_seconds=inf"),
    ],
)
def test_mistakes_name_the_key(small_config, override, message):
    given = [o for o in RUN if o.partition("=")[0] != override.partition("=")[0]]
    with pytest.raises(ConfigError, match=message):
        small_config(*given, "decisions.enabled=true", override)


def test_folds_that_leave_too_few_series_for_the_method_are_refused(tmp_path):
    given = ["experiment=hybrid", *RUN[1:], "decisions.enabled=true", "dataset=simulated"]
    said = r"decisions.folds=2: .* has 1 training series, and method.kind=hybrid needs 2; name more"
    with pytest.raises(ConfigError, match=said):
        make_config(tmp_path, *given)
    enough = ["dataset.simulation.series=5", "dataset.train_series=[1,2,5]", "decisions.folds=3"]
    make_config(tmp_path, *given, *enough)
