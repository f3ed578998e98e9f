"""Every recipe, small: it goes all the way, sees nothing that comes later, and can be taken along.

What one of these tests has trained is fresh for the others.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.options import plain
from pipeline.data.recording import Recording
from pipeline.features.registry import make_features
from pipeline.results.rows import hold
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from pipeline.stages.jobs import jobs
from pipeline.stages.record import export_recipe
from pipeline.stages.train import load
from tests.conftest import RECIPES, make_config, small_recipe, submitted

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_to_a_submission(recipe, recipes_folder):
    result = run(make_config(recipes_folder, *small_recipe(recipe)), say=lambda line: None)
    assert result.submission is not None
    assert "simulated" in result.submission.name


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_exported_predicts_what_was_submitted(recipe, recipes_folder, tmp_path):
    context = Context(make_config(recipes_folder, *small_recipe(recipe)))
    path = run(context.config, say=lambda line: None).submission
    export_recipe(context, find(context), tmp_path / "recipe")
    exported = FittedRecipe.load(tmp_path / "recipe")
    for subject in (1, 2):
        recording = Recording.load(context.ingest_folder.path, subject, 4, context.about)
        got = exported.predict(np.asarray(recording.signal), subject)
        np.testing.assert_array_equal(got, submitted(path, recording.name))


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_sees_what_comes_later(recipe, recipes_folder):
    """Every recipe as trained: raw samples in, held predictions out, the future exchanged."""
    context = Context(make_config(recipes_folder, *small_recipe(recipe), "stage=train"))
    run(context.config, say=lambda line: None)
    found = find(context)
    job = jobs(context, found, final=False)[0]
    subject, series = job.held_out[0]
    recording = Recording.load(context.ingest_folder.path, subject, series, context.about)

    def features(level: Context, samples: np.ndarray) -> np.ndarray:
        if level.members:
            rows = np.arange(0, len(samples), level.every)
            parts = [predicted(member, samples)[rows] for member in level.members]
            return np.concatenate(parts, axis=1)
        return make_features(level.about.rate, plain(level.config.filter)).transform(samples)[0]

    def predicted(level: Context, samples: np.ndarray) -> np.ndarray:
        model = load(level, jobs(level, found, final=False)[0])
        logits = model.predict(features(level, samples), subject)
        return hold(logits, level.every, len(samples))

    whole = np.array(recording.signal)
    before = predicted(context, whole)
    stored = np.load(context.train_folder.path / f"{recording.name}_logits.npy")
    np.testing.assert_allclose(hold(stored, context.every, len(whole)), before, atol=1e-4)
    for t in (0, 4321, len(whole) // 2):
        changed = whole.copy()
        changed[t + 1 :] = changed[t + 1 :][::-1] // 2 + 300
        after = predicted(context, changed)
        np.testing.assert_array_equal(after[: t + 1], before[: t + 1])
        assert not np.array_equal(after[t + 1 :], before[t + 1 :])


@pytest.mark.parametrize(
    ("recipe", "read", "other"),
    [
        ("fbl_lda", "method.shrinkage=0.5", "seed=3"),
        ("semi_markov", "method.trust=0.9", "seed=3"),
        ("hochberg_cnn", "method.filters=3", "train.refit=true"),
        ("lstm", "model.hidden=5", "train.checkpoint_seconds=7"),
        ("lstm", "threads=2", "workers=2"),
    ],
)
def test_a_fit_is_done_anew_for_what_it_reads_and_for_nothing_else(recipe, read, other, tmp_path):
    def key(*more: str) -> str:
        overrides = [f"experiment={recipe}", *more]
        return Context(make_config(tmp_path, "dataset=simulated", *overrides)).train_folder.key

    assert key(read) != key()
    assert key(other) == key()
