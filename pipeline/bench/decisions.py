"""Compare the onsets that several recipes decide on the same recordings.

``python -m pipeline.bench.decisions [recipes=a,b] [overrides]`` runs each recipe with
``decisions.enabled=true``, prints the tables, and writes them into ``docs/decisions.md`` with the
date and the size, and one line for each recipe into ``docs/benchmark.md``. By default it uses all
twelve subjects.
"""

from __future__ import annotations

import pandas as pd

from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import COMPARED, SPLIT
from pipeline.config.compose import compose, reading
from pipeline.config.paths import PROJECT
from pipeline.data.simulator.options import MOST_SUBJECTS
from pipeline.results.scoring import show_cells
from pipeline.stages.context import Context
from pipeline.stages.decide import show
from pipeline.stages.flow import find, run
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "decisions.md"
SUMMARY = DOC.with_name("benchmark.md")
HEAD = (
    "| recipe | mean F1 | hits | misses | false alarms per minute and event | median delay, ms |\n"
    "|---|--:|--:|--:|--:|--:|"
)  # fmt: skip
RECIPES = ("lstm", "semi_markov", "stack")
DATA = (
    "dataset=simulated", f"dataset.simulation.subjects={MOST_SUBJECTS}",
    "dataset.simulation.trials=0", "decisions.enabled=true",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    """Run the recipes, print their tables and write them into the document.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for other recipes; the rest as on the pipeline's command line.
    """
    recipes, overrides = chosen_recipes(arguments, RECIPES, COMPARED, [*DATA, *SPLIT])
    parts, lines = [], [HEAD]
    for recipe in recipes:
        config = compose(reading([f"experiment={recipe}", *DATA, *SPLIT], overrides))
        table = run(config).decisions
        assert table is not None
        parts.append(f"`{recipe}`: mean F1 {table['f1'].mean(skipna=False):.3f}\n")
        parts.append(show_cells(show(table)) + "\n")
        lines.append(line(recipe, table))
    found = find(Context(config))
    subjects = len({raw.subject for raw in found})
    trials = config.dataset.simulation.trials or "as many as in the competition"
    below = (
        f"{machine(cores())}; simulated recordings, {subjects} of {MOST_SUBJECTS} subjects, trials "
        f"per series: {trials}, seed {config.seed}. Chosen on series "
        f"{config.dataset.train_series}, scored on series {config.dataset.valid_series}.\n"
    )
    text = "\n".join([*parts, below])
    print(text)
    write_between(DOC, "decisions", text)
    write_between(SUMMARY, "onsets", "\n".join([*lines, "", below]))


def line(recipe: str, table: pd.DataFrame) -> str:
    """Sum a recipe's onsets up over the events: counts added, the rest as means."""
    delays = table["delay_median_ms"].mean()
    return (
        f"| {recipe} | {table['f1'].mean(skipna=False):.3f} | {table['hits'].sum():.0f} "
        f"| {table['misses'].sum():.0f} | {table['false_alarms_per_minute'].mean():.2f} "
        f"| {delays:+.0f} |"
    )


if __name__ == "__main__":
    run_command(main)
