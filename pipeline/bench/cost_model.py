"""Minutes and memory by subjects, rows, members and workers, fitted on measured runs.

A stage takes ``fixed + slope * work`` seconds. The work is the millions of recorded rows, times the
members that do the stage, over the tasks that run at once: as many as there are workers, and no
more than the stage has tasks. The command's own memory, and that of a worker, are
``fixed + slope * rows`` in each stage. All coefficients are found by least squares and are not
negative (Lawson & Hanson 1974, `scipy.optimize.nnls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from pipeline.bench.measured_runs import MEMBERS, WHOLE, Measure, Run

FACTORS, WORKERS = (1, 10, 1000), (2, 24, 240)  # of the table of what was not measured
FEWEST = 2  # runs that two coefficients need
MILLION = 1e6


@dataclass(frozen=True)
class Line:
    """``fixed + slope * x``, neither of them negative."""

    fixed: float
    slope: float

    @classmethod
    def fitted(cls, x: Sequence[float], y: Sequence[float]) -> Line:
        """Find the line with the least squares."""
        scale = max(*x, 1e-12)  # so that both columns are of one size
        (fixed, slope), _ = nnls(np.stack([np.ones(len(x)), np.array(x) / scale], 1), np.array(y))
        return cls(float(fixed), float(slope / scale))

    def at(self, x: float) -> float:
        """Give its value."""
        return self.fixed + self.slope * x


@dataclass(frozen=True)
class StageCost:
    """What a stage costs.

    Parameters
    ----------
    tasks : Line
        By subjects.
    seconds : Line
        By work.
    root, child : Line
        GiB of the command itself and of one worker, by millions of rows.
    """

    tasks: Line
    seconds: Line
    root: Line
    child: Line


@dataclass(frozen=True)
class Size:
    """How large a run is: `rows` in millions."""

    subjects: float
    rows: float
    members: int
    workers: int

    def at_once(self, tasks: float) -> float:
        """Count the tasks that run at once."""
        return max(1.0, min(self.workers, tasks))

    def work(self, stage: str, tasks: float) -> float:
        """Give a stage's work for each of the tasks that run at once."""
        members = self.members if stage.startswith(MEMBERS) else 1
        return self.rows * members / self.at_once(tasks)


@dataclass(frozen=True)
class CostModel:
    """What a recipe costs, by stage."""

    stages: dict[str, StageCost]

    @classmethod
    def fitted(cls, runs: Sequence[Run], members: int) -> CostModel:
        """Fit a recipe's stages on its whole runs.

        Parameters
        ----------
        runs : sequence of Run
            At least two.
        members : int
            Of the stack; 1 for other recipes.
        """
        names = list(dict.fromkeys(name for run in runs for name in run.stages if name != WHOLE))
        nothing = Measure("", 0, 0.0, 0.0, 0.0, 0.0)
        stages = {}
        for name in names:
            found = [run.stages.get(name, nothing) for run in runs]
            sizes = [Size(r.subjects, r.rows / MILLION, members, r.workers) for r in runs]
            rows = [size.rows for size in sizes]
            work = [size.work(name, each.tasks) for size, each in zip(sizes, found, strict=True)]
            stages[name] = StageCost(
                Line.fitted([s.subjects for s in sizes], [each.tasks for each in found]),
                Line.fitted(work, [each.seconds for each in found]),
                Line.fitted(rows, [each.root for each in found]),
                Line.fitted(rows, [each.child for each in found]),
            )
        return cls(stages)

    def minutes(self, size: Size) -> float:
        """Predict how long a run takes."""
        return sum(
            cost.seconds.at(size.work(name, cost.tasks.at(size.subjects)))
            for name, cost in self.stages.items()
        ) / 60  # fmt: skip

    def memory(self, size: Size) -> tuple[float, float, float]:
        """Predict the GiB of all processes, of the command itself, and of one worker."""
        roots = {name: cost.root.at(size.rows) for name, cost in self.stages.items()}
        children = {name: cost.child.at(size.rows) for name, cost in self.stages.items()}
        trees = (
            roots[name] + size.at_once(cost.tasks.at(size.subjects)) * children[name]
            for name, cost in self.stages.items()
        )
        return max(trees), max(roots.values()), max(children.values())


def whole_runs(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Give the runs that came to their end, by recipe."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.whole:
            found.setdefault(run.recipe, []).append(run)
    return {recipe: each for recipe, each in found.items() if len(each) >= FEWEST}


def coefficients(models: dict[str, CostModel]) -> str:
    """Write the table of coefficients; stages of less than a tenth of a second are left out."""
    text = (
        "| recipe | stage | tasks | seconds | the command's own GiB | a worker's GiB |\n"
        "|---|---|--:|--:|--:|--:|\n"
    )
    for recipe, model in models.items():
        for stage, cost in model.stages.items():
            tasks = f"{cost.tasks.fixed:.0f} + {cost.tasks.slope:.1f} S"
            seconds = f"{cost.seconds.fixed:.1f} + {cost.seconds.slope:.2f} w"
            own = f"{cost.root.fixed:.2f} + {cost.root.slope:.3f} R"
            worker = f"{cost.child.fixed:.2f} + {cost.child.slope:.3f} R"
            text += f"| `{recipe}` | {stage} | {tasks} | {seconds} | {own} | {worker} |\n"
    return text


def left_out(runs: dict[str, list[Run]], members: dict[str, int]) -> str:
    """Predict each run from a recipe's other runs, and write how far that is off."""
    text = (
        "| recipe | subjects | workers | minutes | predicted | error | GiB | predicted | error |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    for recipe, there in runs.items():
        for run in there:
            others = [each for each in there if each is not run]
            if len(others) < FEWEST or not run.whole:
                continue
            model = CostModel.fitted(others, members[recipe])
            size = Size(run.subjects, run.rows / MILLION, members[recipe], run.workers)
            minutes, predicted = run.whole.seconds / 60, model.minutes(size)
            gib, held = run.whole.tree, model.memory(size)[0]
            text += (
                f"| `{recipe}` | {run.subjects} | {run.workers} | {minutes:.1f} | {predicted:.1f} "
                f"| {predicted / max(minutes, 1e-9) - 1:+.0%} | {gib:.2f} | {held:.2f} "
                f"| {held / max(gib, 1e-9) - 1:+.0%} |\n"
            )
    return text


def extrapolation(
    models: dict[str, CostModel], runs: dict[str, list[Run]], members: dict[str, int], full: int
) -> str:
    """Write what ten and a thousand times the data would take.

    Parameters
    ----------
    models : dict
        By recipe.
    runs : dict
        They say how many rows a subject has.
    members : dict
        How many each recipe has.
    full : int
        Subjects of the competition.
    """
    text = (
        "| recipe | data | subjects | workers | hours | GiB: the command's own | each worker |\n"
        "|---|--:|--:|--:|--:|--:|--:|\n"
    )
    for recipe, model in models.items():
        each = [run.rows / run.subjects / MILLION for run in runs[recipe]]
        rows_per_subject = float(np.mean(each))
        for factor in FACTORS:
            for workers in WORKERS:
                subjects = full * factor
                size = Size(subjects, subjects * rows_per_subject, members[recipe], workers)
                _, own, worker = model.memory(size)
                text += (
                    f"| `{recipe}` | {factor:,} x | {subjects:,} | {workers} "
                    f"| {model.minutes(size) / 60:,.1f} | {own:,.1f} | {worker:,.1f} |\n"
                )
    return text


def report(runs: Iterable[Run], members: dict[str, int], full: int) -> str:
    """Fit the model, and write its coefficients, its errors and what it foretells.

    Parameters
    ----------
    runs : iterable of Run
        Measured ones; those that were cut off are left out.
    members : dict
        By recipe; 1 for what is no stack.
    full : int
        Subjects of the competition.
    """
    there = whole_runs(runs)
    if not there:
        return "Too few runs were measured: each recipe needs two sizes.\n"
    models = {recipe: CostModel.fitted(each, members[recipe]) for recipe, each in there.items()}
    return (
        "S: subjects; R: millions of recorded rows; w: R, times the members for a stage that "
        "members do, over the tasks that run at once.\n\n"
        f"{coefficients(models)}\n"
        "Each run, predicted from the other runs of its recipe:\n\n"
        f"{left_out(there, members)}\n"
        "What the model foretells:\n\n"
        f"{extrapolation(models, there, members, full)}"
    )
