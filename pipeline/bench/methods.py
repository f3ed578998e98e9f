"""Compare all methods on the same recordings, with the same split and the same scores.

``python -m pipeline.bench.methods [recipes=a,b] [overrides]`` runs each recipe in a separate
process as the command line does, scores series 7-8 and prints the table. With all twelve simulated
subjects it also writes three things: the table and a picture of AUC against fitting time into
``docs/``, and the table in the README. There the lines of recipes that were not run stay as they
are. MLflow gets the same figures, as one run with one child per recipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bench import front_page
from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import machine, read_between, renewed, write_between
from pipeline.config.compose import compose, reading
from pipeline.config.options import Config
from pipeline.config.paths import PROJECT
from pipeline.data.recording import series_name
from pipeline.data.simulator.options import MOST_SUBJECTS
from pipeline.results import scoring
from pipeline.results.figures import cost_picture
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from pipeline.stages.jobs import fold_jobs, jobs, place
from pipeline.stages.train import load, parts_of
from pipeline.tracking.runs import Tracker
from pipeline.work.files import write_whole
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "benchmark.md"
PICTURE = DOC.with_name("benchmark.png")
MARK = "benchmark-full"
COMPARED = (
    "fbl_lda", "fbl_lr", "fbl_delay_lr", "naive_lstm", "gru_taps", "hochberg_cnn", "paszke2015",
    "lstm", "lstm_global", "semi_markov", "hybrid", "stack",
)  # fmt: skip
DATA = (
    "dataset=simulated", "dataset.simulation.subjects=4", "dataset.simulation.trials=0",
)  # fmt: skip
# One model for all subjects makes fewer updates per epoch with four subjects than with the twelve
# that its recipe is made for.
LONGER = {"naive_lstm": ("train.epochs=10",)}
# The same split for all recipes. Nothing is fitted for the test series.
SPLIT = (
    "dataset.train_series=[1,2,3,4,5,6]", "dataset.valid_series=[7,8]", "stage=evaluate",
)  # fmt: skip


def measure(overrides: list[str]) -> float:
    """Run the pipeline in a separate process; give the peak memory of its largest process.

    Returns
    -------
    float
        In GiB; nan if the operating system does not say.

    Raises
    ------
    SystemExit
        If the pipeline ends with an error, which it has printed itself.
    """
    child = subprocess.Popen([sys.executable, "-m", "pipeline", *overrides])
    if not hasattr(os, "wait4"):
        status, peak = child.wait(), float("nan")
    else:
        _, code, usage = os.wait4(child.pid, 0)
        status, peak = os.waitstatus_to_exitcode(code), usage.ru_maxrss / 2**20
        child.returncode = status
    if status:
        sys.exit(status)
    return peak


def pooled_auc(config: Config) -> float:
    """Run a recipe to its scores; give the mean over the events of the pooled AUC."""
    auc = run(config).auc
    assert auc is not None
    return float(auc.loc["pooled", "mean"])


def fit_seconds(context: Context) -> float:
    """Add up the seconds of all fits from their records, also of fits by earlier commands."""
    found, seconds = find(context), 0.0
    for level in (context, *context.members):
        planned = jobs(level, found, final=False)
        if level is not context:
            planned += fold_jobs(level, found, context.config.stack.folds)
        for job in planned:
            for name in [job.name, *(name for name, _, _ in parts_of(level, job))]:
                record = (place(level, job).path / f"{name}.json").read_text(encoding="utf-8")
                seconds += json.loads(record)["seconds"]
    return seconds


def rows_a_second(context: Context) -> float:
    """Time the first model on the first held-out series; give raw rows per second."""
    job = jobs(context, find(context), final=False)[0]
    detector = load(context, job)
    subject, series = job.held_out[0]
    features = np.load(job.folder / f"{series_name(subject, series)}_features.npy")
    begun = time.perf_counter()
    detector.predict(features, subject)
    return len(features) * context.every / (time.perf_counter() - begun)


def main(arguments: list[str]) -> None:
    """Run the recipes and print the table; with all twelve subjects, also write it.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for some of them; the rest as on the pipeline's command line.
    """
    recipes, overrides = chosen_recipes(arguments, COMPARED, COMPARED, [*DATA, *SPLIT])
    common = compose(reading([*DATA, *SPLIT], overrides))
    tracker = Tracker(replace(common, recipe="bench"), f"bench-{common.dataset.name}")
    aucs, costs = {}, {}
    for recipe in recipes:
        base = [f"experiment={recipe}", *LONGER.get(recipe, ()), *DATA, *SPLIT]
        wanted = reading(base, overrides)
        peak = measure(wanted)
        config = compose(wanted)
        context = Context(config)
        auc = pd.read_csv(context.results_folder.path / context.file("auc", "csv"), index_col=0)
        minutes = fit_seconds(context) / 60
        aucs[recipe] = auc.loc["pooled"]
        own, speed = float(auc.loc["subject_mean", "mean"]), rows_a_second(context)
        between = " to ".join(f"{auc.loc[f'pooled_{end}', 'mean']:.3f}" for end in ("low", "high"))
        costs[recipe] = between, own, minutes, speed, peak
        row = {f"auc_{event}": float(value) for event, value in aucs[recipe].dropna().items()}
        row |= {"auc_subject_mean": own, "fit_minutes": minutes, "rows_per_second": speed}
        tracker.listen(recipe, {"metrics": row | {"peak_gib": peak}, "step": 0})
    lines = scoring.show(pd.DataFrame(aucs).T).splitlines()
    table = [
        f"{lines[0]} 95 % over trials | subjects' mean | fit, minutes | rows/s | peak GiB | "
        "measured |",
        f"{lines[1]} ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line, (between, own, minutes, rows, peak) in zip(lines[2:], costs.values(), strict=True):
        table.append(
            f"{line} {between} | {own:.4f} | {minutes:.1f} | {rows:,.0f} | {peak:.1f} | "
            f"{date.today():%Y-%m-%d} |"
        )
    subjects = {raw.subject for raw in find(context)}
    below = (
        f"\n{machine(cores())}; {len(subjects)} subjects, seed {config.seed}. Minutes of all "
        "subjects' fits added up, features ready; memory of the largest process, of this command "
        "alone: little where all was fresh already.\n"
    )
    print("\n".join(table), below, sep="\n")
    if is_shown(common, len(subjects)):
        lines = renewed(read_between(DOC, MARK).splitlines(), table[2:], COMPARED)
        write_between(DOC, MARK, "\n".join([*table[:2], *lines, below]))
        points = {
            name: (float(minutes), float(auc))
            for name, (auc, _, minutes) in front_page.figures(DOC.read_text("utf-8")).items()
        }
        write_whole(PICTURE, lambda path: _draw(path, points))
        front_page.write_methods()
        tracker.files([DOC, PICTURE])
    tracker.close()


def is_shown(config: Config, subjects: int) -> bool:
    """Tell whether the documents show it: the simulated recordings at full size only."""
    return config.dataset.name == "simulated" and subjects == MOST_SUBJECTS


def _draw(path: Path, points: dict[str, tuple[float, float]]) -> None:
    cost_picture(path, points, "simulated recordings, series 1-6 to 7-8, pooled")


if __name__ == "__main__":
    run_command(main)
