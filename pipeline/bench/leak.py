"""Check for leaks: no method may score well on labels that it cannot know.

``python -m pipeline.bench.leak [recipes=a,b] [overrides]`` trains each recipe again on the
recordings of `pipeline.bench.methods`, but with wrong labels, both in the training series and in
the held-out ones. It writes the scores into ``docs/benchmark.md``, where the lines of other recipes
stay as they are. With overrides that change more than places it only prints them:

shuffled
    Every label is moved to a random place within its series. Any score but .50 is a leak.
shifted
    Every label comes 5 s later than it should. Trials have a rhythm, so such labels can be
    predicted in part. The last row of the table says how well, from nothing but the exact time
    since the last true HandStart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bench.arguments import chosen_recipes, is_documents_own, run_command
from pipeline.bench.document import machine, read_between, renewed, write_between
from pipeline.bench.methods import COMPARED, DATA, DOC, SPLIT, pooled_auc
from pipeline.config.compose import compose, reading
from pipeline.data.kaggle_files import RawSeries
from pipeline.data.recording import label_runs, series_name
from pipeline.results.scoring import score
from pipeline.stages import simulate
from pipeline.stages.context import Context
from pipeline.stages.flow import run
from pipeline.stages.jobs import Job, jobs
from pipeline.work.files import write_whole
from pipeline.work.machine import cores

Labels = NDArray[np.uint8]
SHIFT_SECONDS = 5.0
MARK = "leak"  # of the table in the document
RHYTHM = "the time since the last HandStart, known exactly"
# These are fitted for a shorter time than the recipe says: a leak would show nevertheless.
BRIEF = {
    "naive_lstm": "train.epochs=3", "gru_taps": "method.updates=400",
    "hochberg_cnn": "method.updates=400", "paszke2015": "train.epochs=1",
}  # fmt: skip


def shuffled(labels: Labels, rate: float, random: np.random.Generator) -> Labels:
    """Move every label to a random place; labels have the shape (T', E)."""
    result = np.zeros_like(labels)
    for column in range(labels.shape[1]):
        for first, last in label_runs(labels[:, column]):
            begin = random.integers(0, len(labels) - (last - first) + 1)
            result[begin : begin + last - first, column] = 1
    return result


def shifted(labels: Labels, rate: float, random: np.random.Generator) -> Labels:
    """Shift every label to a later time; labels have the shape (T', E)."""
    rows = round(SHIFT_SECONDS * rate)
    result = np.zeros_like(labels)
    result[rows:] = labels[:-rows]
    return result


CHANGES: dict[str, Callable[[Labels, float, np.random.Generator], Labels]] = {
    "shuffled": shuffled, "shifted": shifted,
}  # fmt: skip


def changed_raw(found: list[RawSeries], change: str, rate: float, folder: Path) -> None:
    """Write a folder of raw files with the same samples and changed events."""
    for raw in found:
        half = folder / ("train" if raw.events else "test")
        half.mkdir(parents=True, exist_ok=True)
        data = half / raw.data.path.name
        if not data.exists():
            data.symlink_to(raw.data.path.resolve())
        if raw.events and not (half / raw.events.path.name).exists():
            events = pd.read_csv(raw.events.path, index_col=0)
            random = np.random.default_rng([raw.subject, raw.series])
            events[:] = CHANGES[change](events.to_numpy(np.uint8), rate, random)
            write_whole(half / raw.events.path.name, events.to_csv)


def since_start(labels: Labels, rate: float) -> NDArray[np.int_]:
    """Count tenths of a second since HandStart last began: 0 before the first, at most 300."""
    rows = np.arange(len(labels))
    begun = np.diff(labels[:, 0].astype(int), prepend=0) == 1
    last = np.maximum.accumulate(np.where(begun, rows, -1))
    tenths = np.minimum(((rows - last) * 10 / rate).astype(int) + 1, 300)
    return np.where(last < 0, 0, tenths)


def rhythm(jobs: list[Job], rate: float) -> float:
    """Score the shifted labels with the time since the last HandStart as the only feature."""
    scores, truth, events = [], [], jobs[0].events
    for job in jobs:
        active, seen = np.ones((301, len(events))), np.full((301, 1), 1 / 0.03)
        for keys in (job.fit, job.held_out):
            for key in keys:
                labels = np.load(job.folder / f"{series_name(*key)}_labels.npy")
                late = shifted(labels, rate, np.random.default_rng())
                when = since_start(labels, rate)
                if keys is job.fit:
                    np.add.at(active, when, late)
                    np.add.at(seen, when, 1.0)
                else:
                    scores.append((active / seen)[when])
                    truth.append(late)
    return score(np.concatenate(truth), np.concatenate(scores), events).mean or np.nan


def main(arguments: list[str]) -> None:
    """Run the recipes on changed labels, print the table and write it.

    Parameters
    ----------
    arguments : list of str
        As for `pipeline.bench.methods`.
    """
    recipes, changes = chosen_recipes(arguments, COMPARED, COMPARED, [*DATA, *SPLIT])
    overrides = [*DATA, *SPLIT, *changes, "tracking.enabled=false"]
    context = Context(compose(reading(["experiment=fbl_lda"], [*overrides, "stage=filter"])))
    run(context.config)
    found, data = simulate.series(context), context.config.dataset
    kaggle = compose(["dataset=kaggle"]).dataset
    aucs: dict[str, list[float]] = {recipe: [] for recipe in recipes}
    for change in CHANGES:
        folder = context.derived / f"leak-{context.simulate_folder.key}" / change
        changed_raw(found, change, context.about.rate, folder)
        for recipe in recipes:
            brief = [BRIEF[recipe]] if recipe in BRIEF else []
            config = compose(reading([f"experiment={recipe}"], [*brief, *overrides]))
            splits = {
                key: getattr(data, key) for key in ("train_series", "valid_series", "test_series")
            }
            config.dataset = replace(
                kaggle, name=f"{data.name}-{change}", raw=str(folder),
                subjects=sorted({raw.subject for raw in found}), **splits,
            )  # fmt: skip
            print(f"\n{recipe}, {change}")
            aucs[recipe].append(pooled_auc(config))
    day = f"{date.today():%Y-%m-%d}"
    lines = [
        f"| {recipe} | {' | '.join(f'{value:.4f}' for value in values)} | {BRIEF.get(recipe, '')} "
        f"| {day} |"
        for recipe, values in aucs.items()
    ]
    explained = rhythm(jobs(context, found, final=False), context.about.rate / context.every)
    lines.append(f"| {RHYTHM} | - | {explained:.4f} |  | {day} |")
    lines = renewed(read_between(DOC, MARK).splitlines(), lines, (*COMPARED, RHYTHM))
    head = f"| recipe | {' | '.join(CHANGES)} by {SHIFT_SECONDS:g} s | shortened | measured |"
    text = "\n".join([head, "|---" + "|--:" * len(CHANGES) + "|---|---|", *lines])
    text += f"\n\n{machine(cores())}; the same recordings and split.\n"
    print(text)
    if is_documents_own(changes):
        write_between(DOC, MARK, text)


if __name__ == "__main__":
    run_command(main)
