"""How long each recipe takes for a chunk of a live signal, and whether its memory grows.

``python -m pipeline.bench.live [presets=a,b] [minutes=60] [overrides]`` fits every recipe in haste,
at its full size, on a few simulated trials: how long a prediction takes does not depend on how good
it is. Then it pushes a signal through a `pipeline.serving.stream.Stream` in chunks of 10 samples on
one thread, prints a table, and writes it into ``docs/live.md`` if all recipes were measured.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import chosen_presets
from pipeline.config.compose import compose, compose_members
from pipeline.config.options import Config, plain
from pipeline.config.paths import CONF, PROJECT
from pipeline.data.recording import Description, Recording
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.detectors.base import FitData
from pipeline.detectors.registry import METHODS
from pipeline.errors import ConfigError, PipelineError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.member_logits import side_by_side
from pipeline.features.registry import make_features
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.serving.stream import Stream
from pipeline.work.machine import cores, threads

DOC = PROJECT / "docs" / "live.md"
RECIPES = tuple(sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
TRIALS = 4  # of each of the two series that a recipe is fitted on
CHUNK = 10  # samples
MOST_FITTED = {"method.updates": "1", "method.iterations": "3", "train.epochs": "1"}


def simulated(trials: int, series: int) -> Recording:
    """Simulate a series of the competition's first subject."""
    about = Description.of(compose(["dataset=kaggle"]).dataset)
    return simulate_series(SimulationConfig(trials=trials), about, 1, series)


def fit_in_haste(config: Config, recordings: list[Recording], folder: Path) -> FittedRecipe:
    """Fit a recipe, of any quality.

    Parameters
    ----------
    config : Config
        The recipe.
    recordings : list of Recording
        Of one subject; what to fit on. A stack's second level is fitted on what its members say of
        the series that they were fitted on.
    folder : Path
        For checkpoints.
    """
    about, members = recordings[0].about, ()
    if config.stack.members:
        parts = enumerate(compose_members(config))
        members = tuple(fit_in_haste(c, recordings, folder / f"member{i}") for i, c in parts)
        bank, every = None, config.stack.every
    else:
        bank, every = plain(config.filter), config.filter.every
    fitted = []
    for recording in recordings:
        if bank is None:
            logits = [(m.logits(recording.signal, recording.subject), m.every) for m in members]
            features = side_by_side(logits, len(recording.signal), every)
        else:
            features, _ = make_features(about.rate, bank).transform(recording.signal)
        labels = np.ascontiguousarray(recording.events[::every])
        one = FeatureSeries(
            recording.subject, recording.series, features, labels, Moments.of(features)
        )
        fitted.append(one)
    folder.mkdir(parents=True, exist_ok=True)
    shared = [one.moments for one in fitted] if config.train.scaler == "shared" else []
    data = FitData(
        config.recipe, fitted, [], shared, about.events, config.seed, "cpu", None, folder,
        lambda progress, news: None,
    )  # fmt: skip
    detector, _ = METHODS[config.method.kind].load().fit(data, config.detector_options)
    detector.save(folder / "model.pt")
    loaded = METHODS[config.method.kind].load().load(folder / "model.pt")
    subjects = {recording.subject for recording in recordings}
    return FittedRecipe(about, every, bank, members, dict.fromkeys(subjects, loaded))
