"""Decide: onsets on the held-out series, with settings chosen on the training series.

The settings are chosen on out-of-fold predictions: each training series is predicted by a model
that was fitted on the other folds. The held-out series choose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.data.recording import Description
from pipeline.results import decision_figures
from pipeline.results.decision_scores import (
    Choice,
    Column,
    Grid,
    Outcome,
    Timeline,
    choose,
    event_centres,
    outcome,
    summarise,
    sweep,
)
from pipeline.results.decisions import Decider, Settings
from pipeline.results.rows import hold, sigmoid
from pipeline.stages.ingest import kept_path
from pipeline.stages.jobs import Job, fold_jobs, jobs, logits_file, place
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context

PICTURES = {
    "alarms": "Hit rate and false alarms per minute",
    "delays": "Delay of the detected onsets",
}
Predicted = tuple[Path, Path, Path | None]
"""The logits of a series, (T', E), its labels, (T, E), and, where some rows are left out, which are
kept, (T,)."""
LEFT_OUT = -30.0  # logit of rows that are left out: nothing is decided there


def files(context: Context) -> tuple[str, ...]:
    """Name the outputs: the table, the settings, then the pictures."""
    return (
        context.file("decisions", "csv"),
        context.file("decisions", "json"),
        *(context.file(kind, "png") for kind in PICTURES),
    )


def training_jobs(context: Context, found: Sequence[Series]) -> list[Job]:
    """Plan the fits whose predictions choose the settings.

    A subject may have too few training series with events for a fold; it is left out of that.
    """

    def has_events(raw: Series) -> bool:
        file = context.ingest_folder.path / f"{raw.name}_events.npy"
        return not file.exists() or bool(np.load(file, mmap_mode="r").any())

    series = context.train_series
    teaching = [raw for raw in found if raw.series in series and has_events(raw)]
    count = min(context.config.decisions.folds, len(series))
    return [job for job in fold_jobs(context, found, count, teaching) if job.predict]


def possible(context: Context, found: Sequence[Series]) -> bool:
    """Tell whether onsets are decided: wanted, and there is something to choose them on."""
    return context.decides and bool(training_jobs(context, found))


def task(context: Context, found: Sequence[Series]) -> Task:
    """Plan the decisions."""

    def predicted(planned: list[Job], held_out: bool) -> list[Predicted]:
        places = {
            key: place(context, job).path / logits_file(key)
            for job in planned
            for key in (job.held_out if held_out else job.predict)
        }
        labels = context.ingest_folder.path
        return [
            (places[key], labels / f"{raw.name}_events.npy", kept_path(context, raw))
            for raw in found
            if (key := (raw.subject, raw.series)) in places
        ]

    training = predicted(training_jobs(context, found), held_out=False)
    held_out = predicted(jobs(context, found, final=False), held_out=True)
    options = context.config.decisions
    grid = Grid(
        options.thresholds, tuple(options.dwell_seconds), tuple(options.refractory_seconds),
        options.tolerance_seconds, options.most_false_alarms_per_minute,
    )  # fmt: skip
    inputs = [path for each in (*training, *held_out) for path in each if path is not None]
    return Task(
        context.results_folder, "decide", tuple(inputs), files(context), work,
        {
            "training": training, "held_out": held_out, "grid": grid, "outputs": files(context),
            "about": context.about, "every": context.every, "name": context.name,
        },
        verify=True,
    )  # fmt: skip


def work(
    scratch: Path,
    report: Report,
    *,
    training: list[Predicted],
    held_out: list[Predicted],
    grid: Grid,
    outputs: tuple[str, ...],
    about: Description,
    every: int,
    name: str,
) -> None:
    """Choose the settings, decide the held-out series' onsets, score and draw them."""
    table_file, settings_file, alarms_file, delays_file = (scratch / file for file in outputs)
    settings = chosen_settings(training, grid, about, every)
    settings.save(settings_file)
    logits, labels = _load(held_out, every)
    outcomes = decided(settings, logits, labels, every, grid.tolerance_seconds)
    table = decision_table(settings, outcomes)
    table.to_csv(table_file)
    curves = {}
    for column, event in enumerate(about.events):
        timeline = _timeline(logits, labels, column, about.rate, every, grid)
        row = table.loc[event, ["threshold", "dwell_seconds", "refractory_seconds"]]
        curves[event] = sweep(timeline, grid, Choice(*map(float, row)))
    decision_figures.alarms_picture(alarms_file, curves, table, f"{name}: held-out series")
    delays = {event: result.delays for event, result in outcomes.items()}
    decision_figures.delays_picture(
        delays_file, delays, grid.tolerance_seconds, f"{name}: held-out series"
    )


def chosen_settings(
    training: list[Predicted], grid: Grid, about: Description, every: int
) -> Settings:
    """Choose each event's settings, the same for all subjects.

    Parameters
    ----------
    training : list of (Path, Path)
        Out-of-fold logits and labels, see `Predicted`.
    grid : Grid
        What is tried.
    about : Description
        The events' names and the rate.
    every : int
        Recorded rows per prediction.
    """
    logits, labels = _load(training, every)
    choices = [
        choose(_timeline(logits, labels, column, about.rate, every, grid), grid)
        for column in range(len(about.events))
    ]
    return Settings(about.events, about.rate, *zip(*choices, strict=True))


def decided(
    settings: Settings,
    logits: list[np.ndarray],
    labels: list[np.ndarray],
    every: int,
    tolerance: float,
) -> dict[str, Outcome]:
    """Decide onsets as a live run does, and compare them with the truth.

    Parameters
    ----------
    settings : Settings
        Chosen beforehand.
    logits : list of ndarray, each of shape (T', E)
        By series.
    labels : list of ndarray, each of shape (T, E)
        By series.
    every : int
        Recorded rows per prediction.
    tolerance : float
        In s.

    Returns
    -------
    dict of str to Outcome
        By event.
    """
    found = []
    for values, truth in zip(logits, labels, strict=True):
        found.append(Decider(settings).push(sigmoid(hold(values, every, len(truth)))))
    outcomes = {}
    for column, event in enumerate(settings.events):
        onsets = [np.array([o.sample for o in one if o.event == event], int) for one in found]
        outcomes[event] = outcome(onsets, labels, column, settings.rate, tolerance)
    return outcomes


def decision_table(settings: Settings, outcomes: dict[str, Outcome]) -> pd.DataFrame:
    """Put settings and figures side by side: one row per event, named after it."""
    rows = {}
    for column, (event, result) in enumerate(outcomes.items()):
        rows[event] = {
            "threshold": settings.thresholds[column],
            "dwell_seconds": settings.dwell_seconds[column],
            "refractory_seconds": settings.refractory_seconds[column],
            **summarise(result),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis("event")


def show(table: pd.DataFrame) -> pd.DataFrame:
    """Give the table as people read it: intervals and units within the cells.

    Parameters
    ----------
    table : DataFrame
        From `decision_table`.

    Returns
    -------
    DataFrame of str
    """

    def cell(row: pd.Series, key: str, style: str) -> str:
        if np.isnan(row[key]):
            return "none"
        low, high = row[f"{key}_low"], row[f"{key}_high"]
        return f"{row[key]:{style}} ({low:{style}} to {high:{style}})"

    shown = {}
    for event, row in table.iterrows():
        ends = "none" if np.isnan(row["delay_p05_ms"]) else (
            f"{row['delay_p05_ms']:.0f} to {row['delay_p95_ms']:.0f}"
        )  # fmt: skip
        shown[event] = {
            "threshold": f"{row['threshold']:.3g}",
            "dwell, s": f"{row['dwell_seconds']:g}",
            "refractory, s": f"{row['refractory_seconds']:g}",
            "hits": f"{row['hits']:.0f}",
            "misses": f"{row['misses']:.0f}",
            "false alarms": f"{row['false_alarms']:.0f}",
            "false alarms/min": cell(row, "false_alarms_per_minute", ".2f"),
            "F1": cell(row, "f1", ".3f"),
            "delay, ms: median": cell(row, "delay_median_ms", ".0f"),
            "5 to 95 %": ends,
        }
    return pd.DataFrame.from_dict(shown, orient="index")


def _load(predicted: list[Predicted], every: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Give the logits and the labels; nothing happens in rows that are left out."""
    logits, labels = [], []
    for logits_file_, labels_file, kept_file in predicted:
        values, truth = np.load(logits_file_), np.load(labels_file)
        if kept_file is not None:
            kept = np.load(kept_file)
            whole = np.full((len(kept[::every]), truth.shape[1]), LEFT_OUT, dtype=values.dtype)
            whole[kept[::every]] = values
            values, truth = whole, truth * kept[:, None]
        logits.append(values)
        labels.append(truth)
    return logits, labels


def _timeline(
    logits: list[np.ndarray],
    labels: list[np.ndarray],
    column: int,
    rate: float,
    every: int,
    grid: Grid,
) -> Timeline:
    """Line up one event's probabilities on the recorded rows; one event, for the memory's sake."""
    columns: list[Column] = [
        sigmoid(hold(values[:, column], every, len(truth)))
        for values, truth in zip(logits, labels, strict=True)
    ]
    return Timeline(columns, [event_centres(truth[:, column]) for truth in labels], rate, grid)
