"""Simulate: raw files as Kaggle ships its own, for whoever has no data at hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.kaggle_files import RawFile, RawSeries
from pipeline.data.names import series_name
from pipeline.data.recording import Description
from pipeline.data.simulator.format import write_series
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.config.dataset import Simulation
    from pipeline.stages.context import Context


def drawn(simulation: Simulation) -> dict[str, Any]:
    """Give the options that a simulated series depends on.

    How many subjects and series there are changes none of them, so it makes no new folder.
    """
    named = vars(simulation).items()
    return {key: value for key, value in named if key not in ("subjects", "series")}


def options(context: Context) -> dict[str, Any]:
    """Give what a simulated series depends on, beside its subject and its number."""
    about = {k: v for k, v in asdict(context.about).items() if k != "unit_volts"}
    return {**drawn(context.config.dataset.simulation), **about}


def series(context: Context) -> list[RawSeries]:
    """List the raw files that `tasks` write, ordered by (subject, series).

    The configuration's check has seen that both are whole numbers.
    """
    found, folder = [], context.simulate_folder.path
    for subject in context.subjects:
        for number in sorted([*context.labelled, *context.unlabelled]):
            labelled = number in context.labelled
            half = folder / ("train" if labelled else "test")
            name = series_name(subject, number)
            events = RawFile(half / f"{name}_events.csv") if labelled else None
            found.append(
                RawSeries(int(subject), int(number), RawFile(half / f"{name}_data.csv"), events)
            )
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
                    "options": drawn(context.config.dataset.simulation), "about": context.about,
                    "subject": raw.subject, "series": raw.series, "half": half,
                    "labelled": raw.labelled,
                },
            )
        )  # fmt: skip
    return planned


def work(
    scratch: Path,
    report: Report,
    *,
    options: dict[str, Any],
    about: Description,
    subject: int,
    series: int,
    half: str,
    labelled: bool,
) -> None:
    """Simulate one series and write its CSV files."""
    folder = scratch / half
    folder.mkdir(exist_ok=True)
    made = simulate_series(SimulationConfig(**options), about, subject, series)
    write_series(made, folder, labelled)
