"""Adapt: a fitted recipe and a new subject's first recordings give a model for him."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config.compose import with_recipe
from pipeline.config.options import Config
from pipeline.config.paths import path
from pipeline.config.protocol import Evaluation, Protocol, refusal
from pipeline.data.names import Id, identity, subject_name
from pipeline.data.recording import Description, Recording
from pipeline.errors import ConfigError, DataError
from pipeline.serving.fitted_recipe import FittedRecipe, export
from pipeline.stages import features, ingest, train
from pipeline.stages.checks import check_before_work
from pipeline.stages.context import Context
from pipeline.stages.flow import find
from pipeline.stages.jobs import Job, place
from pipeline.stages.record import DECISIONS, origin_of
from pipeline.tracking.logged_recipe import find_recipe
from pipeline.tracking.models import FittedModel
from pipeline.work.files import contents
from pipeline.work.keys import digest

Say = Callable[[str], None]


def run(config: Config, say: Say = print) -> Path:
    """Adapt the recipe that the group ``adapt`` names to a new subject.

    Parameters
    ----------
    config : Config
        Composed and checked; its data set has the subject's recordings.
    say : callable
        Prints a line.

    Returns
    -------
    Path
        A folder that `FittedRecipe.load` reads, for this subject.

    Raises
    ------
    PipelineError
        The recipe cannot be adapted, the subject is known already, or the recordings are missing
        or of another kind than those that the recipe was fitted on.
    """
    with TemporaryDirectory() as scratch:
        assert config.adapt.model is not None
        given = find_recipe(config.adapt.model, Path(scratch), config.tracking.uri, "adapt.model")
        recipe = FittedRecipe.load(given)
        stored = json.loads((given / "recipe.json").read_text(encoding="utf-8"))
        chosen = _for_newcomer(config, recipe, stored)
        context = Context(chosen, say)
        _refuse_other_recordings(recipe.about, context.about)
        check_before_work(context)
        context.tracker.check()
        kept = _keep(given, stored, context)
    try:
        folder = _adapt(context, kept, stored)
        context.tracker.close()
    except BaseException as error:
        context.tracker.close(error)
        raise
    address = context.tracker.logged_model()
    if address is not None:
        say(f"fitted model: {address}")
    say(str(folder))
    return folder


def _for_newcomer(config: Config, recipe: FittedRecipe, stored: dict[str, Any]) -> Config:
    """Give the configuration with the recipe's own groups, for the new subject alone.

    Raises
    ------
    ConfigError, DataError
        The recipe cannot be adapted, or not to this subject.
    """
    options = config.adapt
    named = f"adapt.model={options.model}"
    if recipe.members:
        raise ConfigError(f"{named}: a stack cannot be adapted; adapt one of its members")
    origin = stored.get("origin")
    if origin is None:
        raise ConfigError(
            f"{named}: it was fitted by an earlier version, and does not say how; fit it again"
        )
    try:
        protocol, chosen = origin["protocol"], with_recipe(config, origin["groups"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{named}: recipe.json is damaged, or of another version ({type(error).__name__}); "
            "fit the recipe again"
        ) from error
    if protocol != Evaluation.within_subject.name:
        raise ConfigError(
            f"{named}: it was fitted for new subjects itself (protocol={protocol}); adapt one that "
            "was fitted with protocol=within_subject"
        )
    if reason := refusal(chosen.method, chosen.train):
        raise ConfigError(f"{named}: {reason}")
    subject, series = identity(options.subject), [identity(each) for each in options.series]
    if subject in recipe.detectors:
        known = ", ".join(str(each) for each in recipe.detectors)
        raise ConfigError(
            f"adapt.subject={subject}: the recipe was fitted on his series already; it knows "
            f"{known}"
        )
    data = config.dataset
    if data.source == "simulated":
        _refuse_not_simulated(config, subject, series)
    data = replace(
        data, subjects=[options.subject], train_series=list(options.series), valid_series=[],
        test_series=[],
    )  # fmt: skip
    protocol_now = Protocol(Evaluation.calibration, len(series))
    return replace(chosen, dataset=data, protocol=protocol_now)


def _refuse_not_simulated(config: Config, subject: Id, series: list[Id]) -> None:
    """Refuse a subject or a series that the simulator does not have."""
    made = config.dataset.simulation
    if subject not in range(1, made.subjects + 1):
        raise ConfigError(
            f"adapt.subject={subject}: dataset.simulation.subjects={made.subjects} has no such one"
        )
    for each in series:
        if each not in range(1, made.series + 1):
            raise ConfigError(
                f"adapt.series: dataset.simulation.series={made.series} has no series {each}"
            )


def _refuse_other_recordings(fitted: Description, here: Description) -> None:
    """Refuse recordings of another kind than those that the recipe was fitted on.

    Raises
    ------
    ConfigError
        Naming what differs.
    """
    for name in ("channels", "events", "rate", "unit_volts", "relative"):
        theirs, own = getattr(fitted, name), getattr(here, name)
        if theirs == own:
            continue
        shown = [", ".join(map(str, v)) if isinstance(v, tuple) else v for v in (own, theirs)]
        raise ConfigError(
            f"dataset.{name}: his recordings have {shown[0]}, and the recipe was fitted on "
            f"{shown[1]}; name recordings of the same kind"
        )


def _keep(given: Path, stored: dict[str, Any], context: Context) -> Path:
    """Copy the recipe's files to where they stay, so that a killed command finds them again."""
    files = [given / "recipe.json", *(given / name for name in stored["models"])]
    if (given / DECISIONS).is_file():
        files.append(given / DECISIONS)
    kept = context.derived / f"recipe-{digest(contents(files))}"
    if not kept.is_dir():
        hidden = kept.with_name(f".{os.getpid()}.recipe")
        try:
            hidden.mkdir(parents=True)
            for file in files:
                shutil.copyfile(file, hidden / file.name)
            os.replace(hidden, kept)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    return kept


def _adapt(context: Context, kept: Path, stored: dict[str, Any]) -> Path:
    """Make the features, adapt, and write the model; it is recorded if it is new."""
    found = find(context)
    context.run("ingest", ingest.tasks(context, found), context.workers)
    ingest.tell(context, found)
    context.run("filter", features.tasks(context, found), context.workers)
    (subject,) = context.subjects
    job = Job(
        f"{subject_name(subject)}_adapted", tuple((raw.subject, raw.series) for raw in found), (),
        (), context.feature_folder.path, context.about.events, len(context.about.channels),
        others=tuple(kept / name for name in stored["models"]), subject=subject,
    )  # fmt: skip
    summary = context.run("adapt", train.tasks(context, found, [job]), 1, context.listen)
    model = place(context, job).path / job.model
    name = f"{context.config.recipe}-{subject_name(subject)}-{digest(kept.name, context.name)[:6]}"
    folder = path(context.config.output_dir) / context.config.dataset.name / name
    _export(context, kept, model, subject, folder)
    if context.tracker.wants(bool(summary.done)):
        first = Recording.load(context.ingest_folder.path, subject, found[0].series, context.about)
        samples = np.asarray(first.signal[:200])
        example = pd.DataFrame(samples, columns=list(context.about.channels))
        context.tracker.model(FittedModel(folder, example, context.about.events, subject, None))
    return folder


def _export(context: Context, kept: Path, model: Path, subject: Id, folder: Path) -> None:
    """Write the new subject's recipe; the folder is there when all of it is."""
    config, hidden = context.config, folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        export(
            hidden, context.about, context.every, context.bank, config.method.kind,
            {model: [subject]}, 0, origin=origin_of(config),
        )  # fmt: skip
        if (kept / DECISIONS).is_file():
            shutil.copyfile(kept / DECISIONS, hidden / DECISIONS)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
