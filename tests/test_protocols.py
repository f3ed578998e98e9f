"""Protocols and ``stage=adapt`` from raw files to a model: who teaches whom, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.options import Config
from pipeline.data.kaggle_files import RawFile, RawSeries
from pipeline.data.recording import Recording
from pipeline.data.series import Series
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.results.rows import hold, sigmoid
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.stages import adapt, evaluate, ingest, record, submit
from pipeline.stages.context import Context
from pipeline.stages.flow import find, fit, make_features, run
from pipeline.stages.jobs import jobs, logits_file, other_jobs, place
from tests.conftest import SMALL, command_line, make_config, unless_given

pytestmark = pytest.mark.slow

THREE = (
    "dataset=simulated", "experiment=fbl_lda", "dataset.simulation.subjects=3",
    "dataset.simulation.series=4", "dataset.train_series=[1,2]", "dataset.valid_series=[3]",
    "dataset.test_series=[4]", "dataset.subjects=[1,2,3]",
)  # fmt: skip
CALIBRATION = ("protocol=calibration", "protocol.own_series=1")


def small(folder: Path, *more: str):
    given = [*THREE, *more]
    return make_config(folder, *given, *unless_given(SMALL, given))


def series() -> list[RawSeries]:
    nowhere = RawFile(Path("none"))
    return [
        RawSeries(subject, number, nowhere, nowhere if number < 4 else None)
        for subject in (1, 2, 3)
        for number in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(("recipe", "own"), [("semi_markov", 0), ("hybrid", 1)])
def test_no_series_of_a_subject_teaches_the_others_models(recipe, own, tmp_path):
    """And those of his own that may teach his model are the first."""
    more = (f"experiment={recipe}", "protocol=calibration", f"protocol.own_series={own}")
    context = Context(make_config(tmp_path, *THREE, *more))
    for final in (False, True):
        others = {
            place(context, job).path / job.model: job
            for job in other_jobs(context, series(), final)
        }
        planned = jobs(context, series(), final)
        assert [job.subjects for job in planned] == [[1], [2], [3]]
        for job in planned:
            teachers = {subject for path in job.others for subject, _ in others[path].fit}
            assert teachers == {1, 2, 3} - set(job.subjects)
            taught = {number for path in job.others for _, number in others[path].fit}
            assert taught == ({1, 2, 3} if final else {1, 2})
            assert job.fit == tuple((job.subject, number) for number in (1,)[:own])
            assert job.unseen == (own == 0)


def test_one_subject_alone_has_nobody_to_learn_from(tmp_path):
    context = Context(make_config(tmp_path, *THREE, "protocol=cross_subject"))
    with pytest.raises(DataError, match="subject 2: protocol=cross_subject needs other subjects"):
        jobs(context, [raw for raw in series() if raw.subject == 2], False)


def test_more_series_than_there_are_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"protocol\.own_series=3: must be 0 to 2"):
        run(small(tmp_path, "protocol=calibration", "protocol.own_series=3"), lambda line: None)
    context = Context(make_config(tmp_path, *THREE, "protocol=calibration"))
    left = [raw for raw in series() if (raw.subject, raw.series) != (3, 1)]
    with pytest.raises(DataError, match=r"subject 3: has 1 of the series .*own_series=2"):
        jobs(context, left, False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all of these commands work: what one has made is up to date for the next."""
    return tmp_path_factory.mktemp("protocols")


def fitted(config: Config) -> tuple[Context, list[Series]]:
    """Fit all models of a command, without its scores and pictures."""
    context = Context(config, say=lambda line: None)
    found = find(context)
    context.run("ingest", ingest.tasks(context, found))
    make_features(context, found)
    for final in (False, True):
        fit(context, found, other_jobs(context, found, final), "others")
        fit(context, found, jobs(context, found, final), "fits")
    return context, found


@pytest.fixture(scope="module")
def recipe(folder) -> Path:
    """A recipe that was fitted on two of the three subjects, within subjects."""
    context, found = fitted(small(folder, "dataset.subjects=[1,2]"))
    record.export_recipe(context, found, folder / "recipe")
    return folder / "recipe"


@pytest.mark.parametrize("more", [("protocol=cross_subject",), CALIBRATION])
def test_new_subjects_are_predicted_as_by_their_exported_models(more, recipe, folder):
    before = {path.name for path in folder.rglob("*_final_model.pt")}
    assert {"subj1_final_model.pt", "subj2_final_model.pt"} <= before
    context, found = fitted(small(folder, *more))
    exported = folder / f"exported{len(more)}"
    record.export_recipe(context, found, exported)
    applied = FittedRecipe.load(exported)
    assert list(applied.detectors) == [1, 2, 3]
    for subject in (1, 3):
        raw = Recording.load(context.ingest_folder.path, subject, 4, context.about)
        logits = np.load(context.scored_folder.path / logits_file((subject, 4)))
        expected = sigmoid(hold(logits, context.every, len(raw.signal))).astype(np.float32)
        np.testing.assert_array_equal(applied.predict(np.asarray(raw.signal), subject), expected)
    for task in (evaluate.task(context, found), submit.task(context, found)):
        assert all(path.exists() for path in task.inputs)
    # What is fitted within subjects is not fitted a second time for others.
    assert len(list(folder.rglob("train-*/subj1_final_model.pt"))) == 1


def adapting(folder: Path, model: Path | str, *more: str):
    given = ["stage=adapt", f"adapt.model={model}", *more]
    data = [each for each in (*THREE, *SMALL) if each.startswith(("dataset", "tracking", "work"))]
    unset = [each for each in data if "subjects=[" not in each]
    keys = {each.partition("=")[0] for each in given}
    taken = {each.partition("=")[0]: each for each in [*unset[::-1]]}
    return make_config(folder, *given, *(v for k, v in taken.items() if k not in keys))


def test_a_fitted_recipe_and_two_recordings_give_a_model_for_a_new_subject(recipe, folder):
    made = adapt.run(adapting(folder, recipe, "adapt.subject=3", "adapt.series=[1,2]"), print)
    applied = FittedRecipe.load(made)
    assert list(applied.detectors) == [3]
    context = Context(small(folder, *CALIBRATION), say=lambda line: None)
    raw = Recording.load(context.ingest_folder.path, 3, 4, context.about)
    assert np.isfinite(applied.predict(np.asarray(raw.signal), 3)).all()
    stored = json.loads((made / "recipe.json").read_text(encoding="utf-8"))
    assert stored["origin"]["protocol"] == "calibration"
    assert (
        adapt.run(adapting(folder, recipe, "adapt.subject=3", "adapt.series=[1,2]"), print) == made
    )
    with pytest.raises(ConfigError, match="it was fitted for new subjects itself"):
        adapt.run(adapting(folder, made, "adapt.subject=2", "adapt.series=[1]"), print)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("adapt.subject=2", "adapt.series=[1]"), "adapt.subject=2: .*fitted on his .*knows 1, 2"),
        (("adapt.subject=4", "adapt.series=[1]"), "adapt.subject=4: .*subjects=3 has no such"),
        (("adapt.subject=3", "adapt.series=[5]"), "adapt.series: .*series=4 has no series 5"),
        (
            ("adapt.subject=3", "adapt.series=[1]", "dataset.rate=250"),
            "dataset.rate: his recordings have 250.0, and the recipe was fitted on 500.0",
        ),
    ],
)
def test_a_subject_or_recordings_that_cannot_be_are_refused(more, message, recipe, folder):
    with pytest.raises(PipelineError, match=message):
        adapt.run(adapting(folder, recipe, *more), print)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": None}, "fitted by an earlier version"),
        ({"origin": {"protocol": "within_subject"}}, "recipe.json is damaged"),
        ({"members": 1, "bank": None}, "a stack cannot be adapted"),
    ],
)
def test_a_recipe_that_cannot_be_adapted_is_refused(change, message, recipe, tmp_path):
    copy = tmp_path / "recipe"
    shutil.copytree(recipe, copy)
    if "members" in change:
        shutil.copytree(recipe, copy / "member0")
    stored = json.loads((copy / "recipe.json").read_text(encoding="utf-8")) | change
    (copy / "recipe.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(PipelineError, match=message):
        adapt.run(adapting(tmp_path, copy, "adapt.subject=3", "adapt.series=[1]"), print)


def test_a_mistake_is_one_line_of_the_command(tmp_path):
    done = command_line(tmp_path, "stage=adapt", "model=none", "subject=3", "series=[1]")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("error: adapt.model=none: no folder with recipe.json")
