"""Ingest: raw files, checked, to recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.recording import Description
from pipeline.data.series import Series
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.config.dataset import Dataset
    from pipeline.stages.context import Context


def options(data: Dataset) -> dict[str, Any]:
    """Give what a recording depends on, beside its files."""
    return {"source": data.source, "channels": list(data.channels), "events": list(data.events)}


def task_name(series: Series) -> str:
    """Name a series' task; a series may be labelled in one split and unlabelled in another."""
    return series.name if series.labelled else f"{series.name}_unlabelled"


def files(series: Series) -> tuple[str, ...]:
    """Name a recording's arrays: its signal and, for a labelled one, its labels."""
    kinds = ("signal", "events") if series.labelled else ("signal",)
    return tuple(f"{series.name}_{kind}.npy" for kind in kinds)


def recording_paths(context: Context, series: Series) -> tuple[Path, ...]:
    """Say where a recording's arrays are."""
    return tuple(context.ingest_folder.path / file for file in files(series))


def tasks(context: Context, found: Sequence[Series]) -> list[Task]:
    """Plan one task per series."""
    return [
        Task(
            context.ingest_folder, task_name(series), series.paths, files(series), work,
            {"series": series, "about": context.about},
        )
        for series in found
    ]  # fmt: skip


def work(scratch: Path, report: Report, *, series: Series, about: Description) -> None:
    """Read one series, check it, and write it as arrays."""
    recording = series.read(about)
    np.save(scratch / f"{series.name}_signal.npy", recording.signal)
    if recording.events is not None:
        np.save(scratch / f"{series.name}_events.npy", recording.events)
