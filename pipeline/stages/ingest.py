"""Ingest: raw files, checked, to recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.recording import Description
from pipeline.data.series import Series
from pipeline.work.files import write_text
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.config.dataset import Dataset
    from pipeline.stages.context import Context


def options(data: Dataset) -> dict[str, Any]:
    """Give what a recording depends on, beside its files."""
    read = {"source": data.source, "channels": list(data.channels), "events": list(data.events)}
    return read | {name: vars(value) for name, value in data.source_options.items()}


def task_name(series: Series) -> str:
    """Name a series' task; a series may be labelled in one split and unlabelled in another."""
    return series.name if series.labelled else f"{series.name}_unlabelled"


def files(series: Series) -> tuple[str, ...]:
    """Name a recording's files: its signal, its labels, and what its source keeps beside them."""
    kinds = ("signal.npy", "events.npy") if series.labelled else ("signal.npy",)
    return tuple(f"{series.name}_{kind}" for kind in (*kinds, *extra(series)))


def extra(series: Series) -> tuple[str, ...]:
    """Name what a series' source keeps beside signal and labels; most keep nothing."""
    return getattr(series, "extra", ())


def kept_path(context: Context, series: Series) -> Path | None:
    """Say where it stands which rows are learned from and scored; None where all are."""
    if not series.labelled or "kept.npy" not in extra(series):
        return None
    return context.ingest_folder.path / f"{series.name}_kept.npy"


def recording_paths(context: Context, series: Series) -> tuple[Path, ...]:
    """Say where a recording's arrays are."""
    arrays = [file for file in files(series) if file.endswith(".npy")]
    return tuple(context.ingest_folder.path / file for file in arrays)


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
    if recording.kept is not None:
        np.save(scratch / f"{series.name}_kept.npy", recording.kept)
    if recording.told:
        text = json.dumps(recording.told, indent=1, ensure_ascii=False)
        write_text(scratch / f"{series.name}_about.json", text)


def tell(context: Context, found: Sequence[Series]) -> None:
    """Say what the files of a data set are like, where its source tells it.

    With ``stage=ingest`` each file is told; else only what is left out or otherwise than it may
    seem, a line each.
    """
    for series in found:
        file = context.ingest_folder.path / f"{series.name}_about.json"
        if "about.json" not in extra(series):
            continue
        told = json.loads(file.read_text(encoding="utf-8"))
        if context.config.stage.name == "ingest":
            marks = ", ".join(f"{count} {text!r}" for text, count in told["marks"].items())
            context.say(
                f"{told['file']}: subject {series.subject}, series {series.series}: "
                f"{told['channels']} channels, {told['rate']:g} Hz, {told['seconds']:g} s, "
                f"{marks or 'nothing marked'}"
            )
        for note in told["notes"]:
            context.say(f"{told['file']}: {note}")
