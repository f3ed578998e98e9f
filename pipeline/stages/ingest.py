"""Ingest: raw files, checked, to recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.kaggle_files import RawSeries, ingest_series
from pipeline.data.kaggle_files import outputs as recording_files
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.config.dataset import Dataset
    from pipeline.stages.context import Context


def options(data: Dataset) -> dict[str, Any]:
    """Give what a recording depends on, beside its files."""
    return {"channels": list(data.channels), "events": list(data.events)}


def task_name(raw: RawSeries) -> str:
    """Name a series' task; a series may be labelled in one split and unlabelled in another."""
    return raw.name if raw.events else f"{raw.name}_unlabelled"


def recording_paths(context: Context, raw: RawSeries) -> tuple[Path, ...]:
    """Say where a recording's arrays are: its signal and, for a labelled one, its labels."""
    return tuple(context.ingest_folder.path / output for output in recording_files(raw))


def tasks(context: Context, found: Sequence[RawSeries]) -> list[Task]:
    """Plan one task per series."""
    return [
        Task(
            context.ingest_folder, task_name(raw), raw.paths, recording_files(raw), work,
            {"raw": raw, **options(context.config.dataset)},
        )
        for raw in found
    ]  # fmt: skip


def work(
    scratch: Path, report: Report, *, raw: RawSeries, channels: list[str], events: list[str]
) -> None:
    """Read one series, check it, and write it as arrays."""
    ingest_series(scratch, report, raw, channels, events)
