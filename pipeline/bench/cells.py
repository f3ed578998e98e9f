"""Train the recipe `lstm` with each LSTM cell and compare the AUCs.

``python -m pipeline.bench.cells [overrides]`` runs the recipe `lstm` on the default simulated
recordings once per cell, prints the table, and writes it into ``docs/cells.md``.
"""

from __future__ import annotations

import json

import pandas as pd

from pipeline.bench.arguments import run_command
from pipeline.bench.document import machine, write_between
from pipeline.config.compose import compose
from pipeline.config.lstm import Cell
from pipeline.config.paths import PROJECT
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.results import scoring
from pipeline.stages.context import Context
from pipeline.stages.flow import run
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "cells.md"


def main(overrides: list[str]) -> None:
    """Run every cell, print the table and write it into the page.

    Parameters
    ----------
    overrides : list of str
        As on the pipeline's command line.
    """
    rows, sizes, seconds = {}, {}, {}
    for cell in Cell:
        chosen = ["dataset=simulated", "stage=evaluate", *overrides, f"model.cell={cell.name}"]
        config = compose(chosen)
        context = Context(config)
        auc = run(config).auc
        assert auc is not None
        # From the stage's records: a cell that was trained earlier shows the time that it took
        # then.
        records = context.train_folder.path.glob("*_validate.json")
        seconds[cell.name] = sum(
            json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in records
        )
        model = next(context.train_folder.path.glob("*_validate_model.pt"))
        weights = LstmDetector.load(model).network.parameters()
        sizes[cell.name] = sum(weight.numel() for weight in weights)
        rows[cell.name] = auc.loc["pooled"]

    lines = scoring.show(pd.DataFrame(rows).T).splitlines()
    table = [f"{lines[0]} parameters | seconds |", f"{lines[1]} ---------: | ------: |"]
    for line, cell_name in zip(lines[2:], rows, strict=True):
        table.append(f"{line} {sizes[cell_name]:>10,} | {seconds[cell_name]:>7.0f} |")
    text = (
        "\n".join(table)
        + f"\n\n{machine(cores())}; seed {config.seed}; seconds of training, one process a "
        + "subject, added up over the subjects.\n"
    )
    print(text)
    write_between(DOC, "cells", text)


if __name__ == "__main__":
    run_command(main)
