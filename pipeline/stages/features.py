"""Features: recordings through the causal filter bank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.names import Id
from pipeline.data.recording import Description, Recording
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.interface import build
from pipeline.stages.ingest import recording_paths, task_name
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context


def files(raw: Series) -> tuple[str, ...]:
    """Name the files of a series' features."""
    kinds = ["features.npy", "moments.npz", *(["labels.npy"] if raw.labelled else [])]
    return tuple(f"{raw.name}_{kind}" for kind in kinds)


def tasks(context: Context, found: Sequence[Series]) -> list[Task]:
    """Plan one task per series."""
    return [
        Task(
            context.feature_folder, task_name(raw), recording_paths(context, raw), files(raw), work,
            {
                "folder": context.ingest_folder.path, "subject": raw.subject, "series": raw.series,
                "about": context.about, "bank": context.bank,
                "kind": context.feature_kind, "labelled": raw.labelled,
            },
        )
        for raw in found
    ]  # fmt: skip


def work(
    scratch: Path,
    report: Report,
    *,
    folder: Path,
    subject: Id,
    series: Id,
    about: Description,
    bank: dict[str, Any],
    kind: tuple[str, str],
    labelled: bool,
) -> None:
    """Turn one recording into features: see `FeatureSeries.save` for what is written.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Not used: the task is short.
    folder : Path
        The ingested recordings.
    subject, series : int or Name
        Which one.
    about : Description
        What the recordings share.
    bank : dict
        The group ``filter``, plain.
    kind : (str, str)
        Module and class that compute the features.
    labelled : bool
        Whether to keep the labels of the rows that are kept.
    """
    recording = Recording.load(folder, subject, series, about)
    filters = build(kind, about.rate, bank)
    features, _ = filters.transform(recording.signal)
    labels = None
    if labelled and recording.events is not None:
        labels = np.ascontiguousarray(recording.events[:: filters.every])
        if recording.kept is not None:
            # The filters have seen all rows; nobody learns from those that are left out.
            kept = recording.kept[:: filters.every]
            features, labels = features[kept], labels[kept]
    FeatureSeries(subject, series, features, labels, Moments.of(features)).save(scratch)
