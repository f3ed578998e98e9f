"""Train: one wrapper that loads, fits, predicts and writes, whatever the method."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.config.lstm import Scaler, Scope
from pipeline.data.names import series_name
from pipeline.detectors.base import Detector, FitData, Line
from pipeline.features.feature_series import FeatureSeries
from pipeline.results.scoring import held_out_line
from pipeline.stages.jobs import Job, Key, logits_file, place
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context


# What a line of the history has where the method does not say it.
UNKNOWN = {"epoch": 1.0, "step": 1, "loss": np.nan, "learning_rate": np.nan, "best": False}


def options(context: Context) -> dict[str, Any]:
    """Give what a fit depends on, beside its features and its code."""
    config, entry = context.config, context.entry
    data, train = config.dataset, config.train
    found = {
        "kind": config.method.kind,
        "options": context.plain_options,
        "threads": config.threads,
        "splits": [list(data.train_series), list(data.valid_series), context.unlabelled],
        "scope": train.scope.name,
        "refit": train.refit,
    }
    if entry.random:
        found["seed"] = config.seed
    if entry.gpu:
        found["device"] = context.device_type
    if train.scope is not Scope.subject or train.scaler is not Scaler.subject:
        found["subjects"] = context.subjects  # each model depends on the other subjects' series
    return found


def workers(context: Context, count: int) -> int:
    """Say how many fits are done at once: one per core; one alone on a GPU, unless told."""
    if context.entry.gpu and context.device_type != "cpu":
        return min(context.config.workers or 1, count)
    return min(context.workers, count)


def tasks(context: Context, found: Sequence[Series], planned: Sequence[Job]) -> list[Task]:
    """Plan one task per fit; it begins with what `part_tasks` have made."""
    made = []
    for job in planned:
        folder = place(context, job).path
        parts = {part: folder / f"{name}.pt" for name, part, _ in parts_of(context, job)}
        before = (job.history,) if job.history else job.others
        read = (*_files(job, found, job.predict), *before, *parts.values())
        told = {"kind": context.config.method.kind, "parts": parts}
        made.append(_task(context, job, job.name, read, job.outputs(), work, told))
    return made


def part_tasks(context: Context, found: Sequence[Series], planned: Sequence[Job]) -> list[Task]:
    """Plan the parts of fits that do not need one another, those that take longest first."""
    return [
        _task(
            context, job, name, _files(job, found, job.held_out), (f"{name}.pt",), work_part,
            {"part": part}, share,
        )
        for job in planned
        for name, part, share in parts_of(context, job)
    ]  # fmt: skip


def parts_of(context: Context, job: Job) -> list[tuple[str, str, float]]:
    """Name the tasks of a fit's parts, each with the part and what it takes."""
    if job.others:  # what others taught is adapted
        return []
    fewest = min(Counter(subject for subject, _ in job.fit).values())
    parts = context.config.method.parts(job.subjects, fewest)
    return [(f"{job.name}_{part}", part, share) for part, share in parts.items()]


def _files(job: Job, found: Sequence[Series], predicted: Sequence[Key]) -> list[Path]:
    """Name the files of features that a fit reads, and those of the series that it predicts."""
    labelled = {(raw.subject, raw.series) for raw in found if raw.labelled}
    files = [
        job.folder / f"{series_name(*key)}_{kind}"
        for key in (*job.fit, *predicted)
        for kind in ("features.npy", "moments.npz", "labels.npy")
        if kind != "labels.npy" or key in labelled
    ]
    others = set(job.scale) - set(job.fit) - set(predicted)
    return files + [job.folder / f"{series_name(*key)}_moments.npz" for key in sorted(others)]


def _task(
    context: Context,
    job: Job,
    name: str,
    inputs: Sequence[Path],
    outputs: Sequence[str],
    function: Callable[..., None],
    more: dict[str, Any],
    share: float = 1.0,
) -> Task:
    """Plan a task of a fit."""
    config, entry = context.config, context.entry
    return Task(
        place(context, job), name, tuple(inputs), tuple(outputs), function,
        {
            "job": job, "detector": (entry.module, entry.name), "seed": config.seed,
            "options": config.detector_options, "device": config.device, **more,
        },
        weight=share * (config.train.epochs if entry.resumable else 1.0),
        threads=config.threads, resumable=entry.resumable, verify=True,
    )  # fmt: skip


def work(
    scratch: Path,
    report: Report,
    *,
    job: Job,
    kind: str,
    detector: tuple[str, str],
    options: Any,
    seed: int,
    device: str,
    parts: dict[str, Path],
) -> None:
    """Fit one detector, predict with it, and write.

    Writes ``<name>_model.pt``, ``<name>_history.csv`` and, for each predicted series,
    ``<series>_logits.npy`` of shape (T', E).

    Parameters
    ----------
    scratch : Path
        Where to write. A detector may keep checkpoints here.
    report : callable
        Told the progress and the score.
    job : Job
        On what.
    kind : str
        The method, a key of `pipeline.detectors.registry.METHODS`.
    detector : (str, str)
        Module and class that learn. The registry is not asked here: a new method in it would fit
        all others anew.
    options : dataclass
        The method's.
    seed : int
        Of the recipe.
    device : str
        For detectors that use a GPU.
    parts : dict of str to Path
        What the fit begins with, see `work_part`.

    Raises
    ------
    PipelineError
        When nothing can be learned.
    """
    begun = time.monotonic()
    data = replace(
        _data(scratch, report, job, seed, device), epochs=_chosen_epochs(job.history), parts=parts
    )
    learner: type[Detector] = getattr(import_module(detector[0]), detector[1])
    if job.others:
        fitted, history = _adapted(data, job, kind, learner, options)
    else:
        fitted, history = learner.fit(data, options)
    for series in [*data.held_out, *_series(job, job.test)]:
        logits = fitted.predict(series.features, series.subject)
        np.save(scratch / logits_file((series.subject, series.series)), logits)
    history = [{**UNKNOWN, **line} for line in history]
    history = _with_score(history, data, scratch, time.monotonic() - begun)
    pd.DataFrame(history).to_csv(scratch / job.lines, index=False)
    fitted.save(scratch / job.model)


def work_part(
    scratch: Path,
    report: Report,
    *,
    job: Job,
    part: str,
    detector: tuple[str, str],
    options: Any,
    seed: int,
    device: str,
) -> None:
    """Make a part of a fit, see `pipeline.config.methods.base.Method.parts`; see `work`.

    Writes ``<name>_<part>.pt``.
    """
    data = _data(scratch, report, job, seed, device)
    getattr(import_module(detector[0]), detector[1]).fit_part(part, data, options)


def _data(scratch: Path, report: Report, job: Job, seed: int, device: str) -> FitData:
    """Load what a job is fitted on."""
    return FitData(
        name=job.name, fitted=_series(job, job.fit), held_out=_series(job, job.held_out),
        shared=[series.moments for series in _series(job, job.scale)], events=job.events,
        seed=seed, device=device, epochs=None, scratch=scratch, report=report,
        channels=job.channels,
    )  # fmt: skip


def _series(job: Job, keys: Sequence[Key]) -> list[FeatureSeries]:
    """Load the features of some series."""
    return [FeatureSeries.load(job.folder, *key) for key in keys]


def _adapted(
    data: FitData, job: Job, kind: str, learner: type[Detector], options: Any
) -> tuple[Detector, list[Line]]:
    """Adapt other subjects' models to a new one."""
    # Not imported above: what is fitted within subjects does not depend on it.
    module = import_module("pipeline.detectors.adaptation.adapt")
    known = [learner.load(path) for path in job.others]
    return module.adapt(kind, known, data, job.subject, options)


def load(context: Context, job: Job) -> Detector:
    """Load what a job has fitted."""
    learner = context.entry.load()
    if job.unseen:
        learner = import_module("pipeline.detectors.unseen").UnseenDetector  # as in `_adapted`
    return learner.load(place(context, job).path / job.model)


def _chosen_epochs(history: Path | None) -> float | None:
    """Read how long the validating twin trained before its best state."""
    if history is None:
        return None
    twin = pd.read_csv(history)
    return float(twin.loc[twin["best"], "epoch"].iloc[0])


def _with_score(
    history: list[dict[str, Any]], data: FitData, scratch: Path, seconds: float
) -> list[dict[str, Any]]:
    """Add the held-out score to the line of the state that was kept, unless it has one."""
    best = next(line for line in history if line["best"])
    if "rows_per_second" not in best:
        best["rows_per_second"] = sum(len(s.features) for s in data.fitted) / seconds
    if not data.held_out or "valid_auc_mean" in best:
        return history
    keys = [(series.subject, series.series) for series in data.held_out]
    logits = np.concatenate([np.load(scratch / logits_file(key)) for key in keys])
    truth = np.concatenate([np.asarray(series.labels) for series in data.held_out])
    best |= held_out_line(logits, truth, data.events)
    numbers = {k: v for k, v in best.items() if k not in ("best", "notes") and v is not None}
    known = {k: v for k, v in numbers.items() if np.isfinite(v)}
    metrics = {key: float(value) for key, value in known.items()}
    auc = best["valid_auc_mean"]
    show = f"AUC {np.nan if auc is None else auc:.4f}"
    data.report(0.0, {"show": show, "step": best["step"], "metrics": metrics})
    return history
