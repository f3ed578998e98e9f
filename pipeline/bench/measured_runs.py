"""What a run of full size took, stage by stage, as rows of a table that can be read again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

HEAD = (
    "| recipe | subjects | workers | rows | stage | tasks | seconds | rows/s "
    "| GiB: all processes | the command's own | largest worker | measured |\n"
    "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|---|\n"
)
WHOLE = "**all**"
MEMBERS = "members' "
"""Before the name of a stage that a stack's members do."""


@dataclass(frozen=True)
class Measure:
    """What one stage of a run took.

    Parameters
    ----------
    stage : str
        Its name; `WHOLE` for the whole command, and ``other`` for what lies between the stages.
    tasks : int
        How many were done.
    seconds : float
    tree, root, child : float
        Peak of memory in GiB: of all processes together, the command's own, and the largest worker.
    """

    stage: str
    tasks: int
    seconds: float
    tree: float
    root: float
    child: float

    def joined(self, other: Measure) -> Measure:
        """Add what a stage of the same name took."""
        return Measure(
            self.stage, self.tasks + other.tasks, self.seconds + other.seconds,
            max(self.tree, other.tree), max(self.root, other.root), max(self.child, other.child),
        )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One command from CSV files to a submission.

    Parameters
    ----------
    recipe : str
    subjects, workers, rows : int
        Its size: recorded rows, of all series.
    measured : str
        The day.
    stages : dict
        By name, in order. The last is `WHOLE`, unless the run was cut off.
    """

    recipe: str
    subjects: int
    workers: int
    rows: int
    measured: str = field(default_factory=lambda: f"{date.today():%Y-%m-%d}")
    stages: dict[str, Measure] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, int]:
        """A run with the same one takes its place."""
        return self.recipe, self.subjects, self.workers

    @property
    def whole(self) -> Measure | None:
        """The whole command; None if it was cut off."""
        return self.stages.get(WHOLE)

    def add(self, measure: Measure) -> None:
        """Add a stage; a stack has several of one name."""
        known = self.stages.get(measure.stage)
        self.stages[measure.stage] = known.joined(measure) if known else measure

    def lines(self) -> str:
        """Write its rows."""
        begin = f"| `{self.recipe}` | {self.subjects} | {self.workers} | {self.rows:,} "
        return "".join(
            f"{begin}| {each.stage} | {each.tasks or ''} | {each.seconds:,.1f} "
            f"| {self.rows / max(round(each.seconds, 1), 0.1):,.0f} "
            f"| {each.tree:.2f} | {each.root:.2f} | {each.child:.2f} | {self.measured} |\n"
            for each in self.stages.values()
        )


def read(text: str) -> list[Run]:
    """Read the runs from a table that `write` has written."""
    runs: dict[tuple[str, int, int], Run] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 12 or not re.fullmatch(r"`\w+`", cells[0]):
            continue
        recipe, subjects, workers, rows, stage, tasks, seconds, _, *memory, measured = cells
        run = Run(
            recipe.strip("`"), int(subjects), int(workers), int(rows.replace(",", "")), measured
        )
        run = runs.setdefault(run.key, run)
        tree, root, child = map(float, memory)
        took = float(seconds.replace(",", ""))
        run.add(Measure(stage, int(tasks or 0), took, tree, root, child))
    return list(runs.values())


def write(runs: Iterable[Run], recipes: Sequence[str]) -> str:
    """Write the runs as a table, in the order of these recipes and by size."""
    order = {recipe: place for place, recipe in enumerate(recipes)}
    ordered = sorted(runs, key=lambda run: (order.get(run.recipe, len(order)), *run.key))
    return HEAD + "".join(run.lines() for run in ordered)


def replaced(runs: Iterable[Run], new: Run) -> list[Run]:
    """Put a run in the place of the one with the same key."""
    return [*(run for run in runs if run.key != new.key), new]


def summary(runs: Iterable[Run], targets: dict[str, tuple[float, float]], full: int) -> str:
    """Write one row per whole run, with the aims that hold for the full size.

    Parameters
    ----------
    runs : iterable of Run
    targets : dict
        Of each recipe the most minutes, and GiB or infinity.
    full : int
        Subjects of the full size.
    """
    text = "| recipe | subjects | workers | rows | minutes | rows/s | GiB | aim |\n"
    text += "|---|--:|--:|--:|--:|--:|--:|---|\n"
    for run in runs:
        if not (whole := run.whole):
            continue
        minutes, aim = whole.seconds / 60, ""
        if run.subjects == full and run.recipe in targets:
            most = targets[run.recipe]
            met = minutes <= most[0] and whole.tree <= most[1]
            memory = f", {most[1]:g} GiB" if math.isfinite(most[1]) else ""
            aim = f"{most[0]:g} minutes{memory}: {'met' if met else '**not met**'}"
        text += (
            f"| `{run.recipe}` | {run.subjects} | {run.workers} | {run.rows:,} | {minutes:.1f} "
            f"| {run.rows / whole.seconds:,.0f} | {whole.tree:.1f} | {aim} |\n"
        )
    return text
