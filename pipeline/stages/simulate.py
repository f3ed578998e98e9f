"""Simulate: raw files as Kaggle ships its own, for whoever has no data at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.kaggle_files import RawFile, RawSeries
from pipeline.data.recording import series_name
from pipeline.data.simulator import SimulationConfig, simulate_series, write_series
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.config.dataset import Dataset
    from pipeline.stages.context import Context


def options(data: Dataset) -> dict[str, Any]:
    """Give what a simulated series depends on, beside its subject and its number.

    How many subjects and series there are changes none of them, so it makes no new folder.
    """
    return {"trials": data.simulation.trials, "seed": data.simulation.seed, "rate": data.rate}


def series(context: Context) -> list[RawSeries]:
    """List the raw files that `tasks` write, ordered by (subject, series)."""
    found, folder = [], context.simulate_folder.path
    for subject in context.subjects:
        for number in sorted([*context.labelled, *context.unlabelled]):
            labelled = number in context.labelled
            half = folder / ("train" if labelled else "test")
            name = series_name(subject, number)
            events = RawFile(half / f"{name}_events.csv") if labelled else None
            found.append(RawSeries(subject, number, RawFile(half / f"{name}_data.csv"), events))
    return found


def tasks(context: Context) -> list[Task]:
    """Plan the series that the splits name: each in ``train`` or ``test``, as Kaggle has them.

    A series may stand in both, where another command gave it to the other half.
    """
    planned = []
    for raw in series(context):
        files = [raw.data.path, *([raw.events.path] if raw.events else [])]
        half = files[0].parent.name
        planned.append(
            Task(
                context.simulate_folder, f"{half}_{raw.name}", (),
                tuple(f"{half}/{file.name}" for file in files), work,
                {
                    **options(context.config.dataset), "subject": raw.subject,
                    "series": raw.series, "half": half, "labelled": raw.events is not None,
                },
            )
        )  # fmt: skip
    return planned


def work(
    scratch: Path, report: Report, *, subject: int, series: int, half: str, labelled: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Simulate one series and write its CSV files."""
    folder = scratch / half
    folder.mkdir(exist_ok=True)
    made = simulate_series(SimulationConfig(**options), subject, series)
    write_series(made, folder, labelled)
