"""Record: what MLflow is told of a command's results, and the fitted recipe that it keeps."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.config.compose import recipe_groups
from pipeline.config.live import is_read
from pipeline.data.recording import Recording
from pipeline.results import scoring
from pipeline.serving.fitted_recipe import export
from pipeline.stages import decide, explain
from pipeline.stages.evaluate import PICTURES
from pipeline.stages.jobs import last_jobs, place
from pipeline.tracking.models import FittedModel
from pipeline.work.files import contents
from pipeline.work.keys import digest

if TYPE_CHECKING:
    from pipeline.config.options import Config
    from pipeline.data.series import Series
    from pipeline.stages.context import Context

DECISIONS = "decisions.json"
"""Beside a fitted recipe in its MLflow model: what onsets are decided with, if it was chosen."""


@dataclass(frozen=True)
class Given:
    """What the user set on the command line.

    Parameters
    ----------
    dataset : str
        A file of ``conf/dataset``.
    keys : tuple of str
        All else, each as ``key=value``.
    """

    dataset: str
    keys: tuple[str, ...]


def scores(
    context: Context, found: Sequence[Series], auc: pd.DataFrame, decisions: pd.DataFrame | None
) -> None:
    """Tell MLflow the scores, the files, and the data that they came from.

    Parameters
    ----------
    context : Context
        Of the command.
    found : sequence of Series
        All.
    auc : DataFrame
        The AUC table.
    decisions : DataFrame or None
        The decided onsets' figures, one row per event.
    """
    tracker, data = context.tracker, context.config.dataset
    pooled = auc.loc["pooled"].dropna()
    tracker.metrics({f"auc_{event}": value for event, value in pooled.items()})
    tracker.metrics({f"auc_{name}": row["mean"] for name, row in auc.dropna().iterrows()})
    text = (
        f"Area under the ROC curve, series {', '.join(map(str, data.valid_series))}\n\n"
        f"{scoring.show(auc)}\n\n`pooled_low` to `pooled_high`: 95 % over trials."
    )
    if decisions is not None:
        text += f"\n\nOnsets\n\n{scoring.show_cells(decide.show(decisions))}"
        tracker.metrics(onset_metrics(decisions))
        tracker.files([context.results_folder.path / file for file in decide.files(context)])
    tracker.describe(text)
    if context.config.explain:
        tracker.files([context.results_folder.path / file for file in explain.files(context)])
    kinds = [("auc", "csv"), ("report", "html"), *((k, "png") for k in (*PICTURES, "evoked"))]
    tracker.files([context.results_folder.path / context.file(*kind) for kind in kinds])
    signals = [context.ingest_folder.path / f"{raw.name}_signal.npy" for raw in found]
    rows = sum(len(np.load(path, mmap_mode="r")) for path in signals)
    raw_files = digest(contents([path for raw in found for path in raw.paths]))
    tracker.data(raw_files, str(context.raw), rows, len(found))


def onset_metrics(decisions: pd.DataFrame) -> dict[str, float]:
    """Name the decided onsets' figures, e.g. ``f1_HandStart``, and the events' mean ``f1_mean``.

    An undefined figure is left out; so is the mean if one event's F1 is undefined.
    """
    named = {
        f"{key}_{event}": float(value)
        for event, row in decisions.iterrows()
        for key, value in row.dropna().items()
    }
    mean = float(decisions["f1"].mean(skipna=False))
    return named if np.isnan(mean) else named | {"f1_mean": mean}


def model(context: Context, found: Sequence[Series], files: list[Path]) -> None:
    """Give MLflow the predictions, and the recipe that made them."""
    context.tracker.files(files)
    first = next(raw for raw in found if not raw.labelled)
    recording = Recording.load(
        context.ingest_folder.path, first.subject, first.series, context.about
    )
    samples = np.asarray(recording.signal[:200])
    example = pd.DataFrame(samples, columns=list(context.about.channels))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "recipe"
        export_recipe(context, found, folder)
        if decide.possible(context, found):
            settings = context.results_folder.path / decide.files(context)[1]
            shutil.copyfile(settings, folder / DECISIONS)
        auc = pd.read_csv(context.results_folder.path / context.file("auc", "csv"), index_col=0)
        context.tracker.model(
            FittedModel(folder, example, context.about.events, first.subject, auc)
        )


def next_step(context: Context, found: Sequence[Series], given: Given | None) -> list[str]:
    """Say which model was logged, and how to watch it on a test recording.

    Parameters
    ----------
    context : Context
        Of a recipe that is fitted.
    found : sequence of Series
        All.
    given : Given or None
        What the user set; None if not known.

    Returns
    -------
    list of str
        Lines to print. Where there is no model: how to record one, if nothing was recorded now.
    """
    address = context.tracker.logged_model()
    if address is None:
        if not context.tracker.is_idle():
            return []
        return [
            "not recorded in this MLflow store, because all of it was done before; to record it, "
            f"remove {context.results_folder.path} and give the command again"
        ]
    lines = [f"fitted model: {address}"]
    if given is not None:
        keys = {each: each.lstrip("+").partition("=")[0] for each in given.keys}
        read = [each for each, key in keys.items() if is_read("replay", key)]
        first = next(raw for raw in found if not raw.labelled)
        wanted = [f"model={address}", f"subject={first.subject}", f"series={first.series}", *read]
        text = " ".join(quote(each) for each in wanted)
        # In double quotes, the shell would read these three signs; and make would read a dollar.
        plain = not set(text) & set('"`\\$')
        arguments = f'ARGS="{text}"' if plain else quote(f"ARGS={text}".replace("$", "$$"))
        lines.append(f"watch it detect: make replay DATASET={given.dataset} {arguments}")
    return lines


def origin_of(config: Config) -> dict[str, Any]:
    """Say how a recipe of one level was fitted, which ``stage=adapt`` reads."""
    return {"protocol": config.protocol.kind.name, "groups": recipe_groups(config)}


def export_recipe(context: Context, found: Sequence[Series], folder: Path) -> None:
    """Copy what predicts the test series into a folder; `FittedRecipe.load` reads it.

    Parameters
    ----------
    context : Context
        Of a recipe that is fitted.
    found : sequence of Series
        What it was fitted on, and predicts.
    folder : Path
        New; a stack's members go into its ``member0``, ``member1``, ...
    """
    planned = last_jobs(context, found)
    models = {place(context, job).path / job.model: job.subjects for job in planned}
    bank = None if context.members else context.bank
    kind = context.config.method.kind
    export(
        folder, context.about, context.every, bank, kind, models, len(context.members),
        unseen=any(job.unseen for job in planned),
        origin=None if context.members else origin_of(context.config),
    )  # fmt: skip
    for number, member in enumerate(context.members):
        export_recipe(member, found, folder / f"member{number}")
