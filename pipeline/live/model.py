"""A fitted recipe to be applied live, and what its onsets are decided with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config.live import Live
from pipeline.data.names import Id, identity
from pipeline.errors import ConfigError, DataError
from pipeline.results.decisions import Settings
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.stages.record import DECISIONS
from pipeline.tracking.logged_recipe import find_recipe

USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class LiveModel:
    """A fitted recipe with its settings.

    Parameters
    ----------
    recipe : FittedRecipe
        What is applied.
    subject : int or Name
        Whose EEG it is.
    settings : Settings
        Of the onsets.
    decided_by : str
        Says where the settings come from.
    """

    recipe: FittedRecipe
    subject: Id
    settings: Settings
    decided_by: str


def load(options: Live, uri: str | None) -> LiveModel:
    """Read a fitted recipe.

    Parameters
    ----------
    options : Live
        Name the model, the subject and, where the model's own settings are not wanted, others.
    uri : str or None
        Of MLflow's store; None for the usual one.

    Raises
    ------
    PipelineError
        If there is no such model, it knows no such subject, or its files cannot be read.
    """
    assert options.model is not None
    with TemporaryDirectory() as scratch:
        folder = find_recipe(options.model, Path(scratch), uri, "live.model")
        recipe = FittedRecipe.load(folder)
        settings, decided_by = chosen_settings(options, recipe, folder)
    subject = identity(options.subject)
    if subject not in recipe.detectors:
        known = ", ".join(str(each) for each in recipe.detectors)
        raise ConfigError(
            f"live.subject={subject}: none that the recipe was fitted on; choose from {known}"
        )
    return LiveModel(recipe, subject, settings, decided_by)


def chosen_settings(options: Live, recipe: FittedRecipe, folder: Path) -> tuple[Settings, str]:
    """Give the settings of the onsets, and say where they come from.

    Parameters
    ----------
    options : Live
        A threshold here goes before the model's own settings.
    recipe : FittedRecipe
        With the events and the rate.
    folder : Path
        Where the model's ``decisions.json`` is, if it has one.
    """
    about, own = recipe.about, folder / DECISIONS
    if options.threshold is None and own.is_file():
        settings = Settings.load(own)
        if settings.events != about.events or settings.rate != about.rate:
            raise DataError(f"{own}: is for other events or another rate than recipe.json")
        return settings, f"onsets by the model's own {DECISIONS}"
    threshold = USUAL_THRESHOLD if options.threshold is None else options.threshold
    count = len(about.events)
    settings = Settings(
        about.events, about.rate, (threshold,) * count, (options.dwell_seconds,) * count,
        (options.refractory_seconds,) * count,
    )  # fmt: skip
    why = "" if options.threshold is not None else f" (the model has no {DECISIONS})"
    said = (
        f"onsets by live.threshold={threshold:g}, dwell {options.dwell_seconds:g} s, refractory "
        f"{options.refractory_seconds:g} s{why}"
    )
    return settings, said
