"""Members: the first level of a stack, whose out-of-fold logits are the second level's features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.names import Id
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.member_logits import side_by_side
from pipeline.stages.features import files
from pipeline.stages.ingest import kept_path, recording_paths, task_name
from pipeline.stages.jobs import Job, Key, fold_jobs, jobs, last_jobs, logits_file, place
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context


def labelled_jobs(stack: Context, member: Context, found: Sequence[Series]) -> list[Job]:
    """Say which fits of a member predict the labelled series: by folds, and the held-out ones."""
    return jobs(member, found, final=False) + fold_jobs(member, found, stack.config.stack.folds)


def tasks(stack: Context, wanted: Sequence[Series], found: Sequence[Series]) -> list[Task]:
    """Plan one task per series: the labelled ones, or the unlabelled ones.

    Parameters
    ----------
    stack : Context
        Of the second level.
    wanted : sequence of Series
        To be turned into features.
    found : sequence of Series
        All.
    """
    labelled = all(raw.labelled for raw in wanted)
    parts: dict[Key, list[tuple[Path, int]]] = {(raw.subject, raw.series): [] for raw in wanted}
    for member in stack.members:
        fits = labelled_jobs(stack, member, found) if labelled else last_jobs(member, found)
        for job in fits:
            for key in job.predict:
                if key in parts:
                    file = place(member, job).path / logits_file(key)
                    parts[key].append((file, member.every))
    planned = []
    for raw in wanted:
        signal, *events = recording_paths(stack, raw)[:2]
        if kept := kept_path(stack, raw):
            refuse_left_out(kept, raw)
        logits = parts[raw.subject, raw.series]
        planned.append(
            Task(
                stack.feature_folder, task_name(raw),
                (*(path for path, _ in logits), signal, *events), files(raw), work,
                {
                    "subject": raw.subject, "series": raw.series, "logits": logits,
                    "every": stack.every, "signal": signal, "events": events[0] if events else None,
                },
            )
        )  # fmt: skip
    return planned


def refuse_left_out(kept: Path, raw: Series) -> None:
    """Refuse spans that are left out: the members' predictions lack their rows.

    Raises
    ------
    DataError
        Naming the series.
    """
    if not np.load(kept).all():
        raise DataError(
            f"{raw.paths[0]}: parts of it are left out (BAD spans or padding), which a stack "
            "cannot follow; cut them off, or train the members one by one"
        )


def work(
    scratch: Path,
    report: Report,
    *,
    subject: Id,
    series: Id,
    logits: list[tuple[Path, int]],
    every: int,
    signal: Path,
    events: Path | None,
) -> None:
    """Put the members' logits of one series side by side.

    Writes the same files as `pipeline.stages.features.work`.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Not used: the task is short.
    subject, series : int or Name
        Which one.
    logits : list of (Path, int)
        A member's logits, (T', E), and how many recorded rows lie between two of them.
    every : int
        Recorded rows to a row of the result.
    signal : Path
        The recording, for its length.
    events : Path or None
        Its labels, (T, E).
    """
    parts = [(np.load(path, mmap_mode="r"), step) for path, step in logits]
    features = side_by_side(parts, len(np.load(signal, mmap_mode="r")), every)
    labels = None if events is None else np.ascontiguousarray(np.load(events)[::every])
    FeatureSeries(subject, series, features, labels, Moments.of(features)).save(scratch)
