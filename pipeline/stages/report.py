"""Report: table, pictures and the data set's evoked responses in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.results import figures
from pipeline.results.evoked import average_series, grand_average
from pipeline.stages import decide
from pipeline.stages.evaluate import PICTURES
from pipeline.stages.ingest import recording_paths
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context


def evoked_tasks(context: Context, found: Sequence[Series]) -> list[Task]:
    """Plan one task per labelled series: its average response to each event."""
    return [
        Task(
            context.evoked_folder, raw.name, recording_paths(context, raw),
            (f"{raw.name}-ave.fif",), average_series,
            {
                "folder": context.ingest_folder.path, "subject": raw.subject,
                "series": raw.series, "about": context.about,
            },
        )
        for raw in found
        if raw.labelled
    ]  # fmt: skip


def task(
    context: Context,
    results: Sequence[Path],
    decided: Sequence[Path],
    explained: dict[str, Path],
    averages: Sequence[Path],
) -> Task:
    """Plan the report.

    Parameters
    ----------
    context : Context
        Of the command.
    results : sequence of Path
        What the evaluation wrote: the table, then the pictures.
    decided : sequence of Path
        What the decisions wrote; nothing if they are not enabled.
    explained : dict of str to Path
        The pictures of what the detector looks at, by their headings; none if not wanted.
    averages : sequence of Path
        What `evoked_tasks` wrote.
    """
    outputs = (context.file("evoked", "png"), context.file("report", "html"))
    inputs = (*results, *decided, *explained.values(), *averages)
    return Task(
        context.results_folder, "report", inputs, outputs, work,
        {
            "results": list(results), "decided": list(decided), "averages": list(averages),
            "explained": explained, "outputs": outputs,
            "name": context.name, "data_set": context.config.dataset.name,
            "settings": context.settings,
        },
        verify=True,
    )  # fmt: skip


def work(
    scratch: Path,
    report: Report,
    *,
    results: list[Path],
    decided: list[Path],
    explained: dict[str, Path],
    averages: list[Path],
    outputs: tuple[str, str],
    name: str,
    data_set: str,
    settings: str,
) -> None:
    """Draw the evoked responses and put everything into one page."""
    drawn, page = (scratch / output for output in outputs)
    responses = {
        f"{event}, {evoked.nave:.0f} trials": evoked
        for event, evoked in grand_average(averages).items()
    }
    figures.evoked_picture(drawn, responses, f"{data_set}: average of all labelled series")
    table, *pictures = results
    shown = dict(zip(PICTURES.values(), pictures, strict=True))
    decisions = None
    if decided:
        decisions = decide.show(pd.read_csv(decided[0], index_col=0))
        shown |= zip(decide.PICTURES.values(), decided[2:], strict=True)
    shown |= explained
    shown["Evoked responses of the data set"] = drawn
    figures.write_report(page, name, pd.read_csv(table, index_col=0), shown, settings, decisions)
