"""Real EEG whose events are cued: recipes beside what the rhythm of the cues alone gives.

``python -m pipeline.bench.cued [recipes=a,b] [overrides]`` fits each recipe on R03, R05 and R07 of
PhysioNet's EEG Motor Movement/Imagery recordings, scores R09, prints the table and writes it into
``docs/your-own-recordings.md``. ``dataset.raw=...`` says where the recordings are; ``make data
DATASET=eegmmidb`` says where they can be had.
"""

from __future__ import annotations

import time
from typing import cast

import pandas as pd

from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import COMPARED
from pipeline.config.compose import compose, reading
from pipeline.config.paths import PROJECT
from pipeline.stages.context import Context
from pipeline.stages.evaluate import RHYTHM
from pipeline.stages.flow import find, run
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "your-own-recordings.md"
RECIPES = ("fbl_lda", "lstm", "semi_markov")
DATA = (
    "dataset=eegmmidb", "dataset.train_series=[R03,R05,R07]", "dataset.valid_series=[R09]",
    "dataset.test_series=[R10]", "decisions.enabled=false", "stage=evaluate",
)  # fmt: skip


def cell(low: float, value: float, high: float) -> str:
    """Write an AUC with its interval."""
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def lines(name: str, auc: pd.DataFrame, rows: tuple[str, ...]) -> list[str]:
    """Write rows of an AUC table as lines of Markdown; the first of the rows is called `name`."""
    written = []
    for row in rows:
        cells = [f"{value:.3f}" for value in auc.loc[row]]
        if f"{row}_low" in auc.index:
            parts = (auc.loc[each] for each in (f"{row}_low", row, f"{row}_high"))
            cells = [cell(*each) for each in zip(*parts, strict=True)]
        written.append(f"| {name if row == 'pooled' else f'`{row}`'} | {' | '.join(cells)} |")
    return written


def main(arguments: list[str]) -> None:
    """Run the recipes, print their table and write it into the document.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for other recipes; all else as on the pipeline's command line.
    """
    recipes, overrides = chosen_recipes(arguments, RECIPES, COMPARED, DATA)
    table: list[str] = []
    begun = time.perf_counter()
    for recipe in recipes:
        config = compose(reading([f"experiment={recipe}", *DATA], overrides))
        auc = cast(pd.DataFrame, run(config).auc)
        if not table:
            head = ["", *auc.columns]
            table += [f"| {' | '.join(head)} |", "| :--- |" + " :---: |" * len(auc.columns)]
            ends = lines("", auc, tuple(RHYTHM))
        table += lines(f"`{recipe}`", auc, ("pooled",))
    minutes = (time.perf_counter() - begun) / 60
    subjects = sorted({str(raw.subject) for raw in find(Context(config))})
    fitted, scored = (", ".join(map(str, each)) for each in (
        config.dataset.train_series, config.dataset.valid_series,
    ))  # fmt: skip
    told = (
        f"{machine(cores())}; {', '.join(subjects)}, fitted on {fitted}, scored on {scored}; "
        f"{minutes:.1f} minutes in all."
    )
    text = "\n".join([*table, *ends, "", told, ""])
    print(text)
    write_between(DOC, "cued", text)


if __name__ == "__main__":
    run_command(main)
