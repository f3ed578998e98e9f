"""Whether any method knows what it cannot know.

``python -m pipeline.bench.leak [presets=a,b] [overrides]`` trains each preset again on the
recordings of `pipeline.bench.methods`, with labels that are not theirs in training and held-out
series alike, and writes the scores into ``docs/benchmark.md``:

shuffled
    Every run of every label is put to a place of its series drawn at random. Any score but .50 is
    a leak.
shifted
    Every label comes 5 s later than it should. A trial has a rhythm, so this can be foretold in
    part; the last line says how well, from the exact time since the last true HandStart alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline import config as configuration
from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import DATA, DOC, SPLIT, chosen_presets
from pipeline.config import ConfigError
from pipeline.recording import label_runs, series_name
from pipeline.scoring import score
from pipeline.stages import Flow, run
from pipeline.training import Job

Labels = NDArray[np.uint8]
SHIFT_SECONDS = 5.0
FAST = ("fbl_lda", "fbl_lr", "fbl_delay_lr", "lstm")


def shuffled(labels: Labels, rate: float, random: np.random.Generator) -> Labels:
    """Put every run of every label, shape (T', E), to a random place."""
    result = np.zeros_like(labels)
    for column in range(labels.shape[1]):
        for first, last in label_runs(labels[:, column]):
            begin = random.integers(0, len(labels) - (last - first) + 1)
            result[begin : begin + last - first, column] = 1
    return result


def shifted(labels: Labels, rate: float, random: np.random.Generator) -> Labels:
    """Let every label, shape (T', E), come later; the first seconds have none."""
    rows = round(SHIFT_SECONDS * rate)
    result = np.zeros_like(labels)
    result[rows:] = labels[:-rows]
    return result


CHANGES: dict[str, Callable[[Labels, float, np.random.Generator], Labels]] = {
    "shuffled": shuffled, "shifted": shifted,
}  # fmt: skip


def changed_job(job: Job, folder: Path, change: str, rate: float) -> Job:
    """Give a job the same features and moments, and changed labels, in a folder of its own."""
    for subject, series in (*job.fit, *job.predict):
        name = series_name(subject, series)
        for kind in ("features.npy", "moments.npz"):
            os.symlink(job.folder / f"{name}_{kind}", folder / f"{name}_{kind}")
        random = np.random.default_rng([subject, series])
        labels = np.load(job.folder / f"{name}_labels.npy")
        np.save(folder / f"{name}_labels.npy", CHANGES[change](labels, rate, random))
    return replace(job, folder=folder)


def _train(flow: Flow, job: Job, change: str) -> tuple[NDArray, Labels]:
    """Train one job on changed labels; give its held-out logits and those labels."""
    rate = flow.about.rate / flow.every
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as folder:
        job = changed_job(job, Path(folder), change, rate)

        def quiet(progress: float, news: dict) -> None:
            pass

        work, arguments = flow.work(job, 1)
        work(Path(scratch), quiet, *arguments)
        names = [series_name(*key) for key in job.held_out]
        logits = [np.load(Path(scratch) / f"{name}_logits.npy") for name in names]
        labels = [np.load(Path(folder) / f"{name}_labels.npy") for name in names]
    return np.concatenate(logits), np.concatenate(labels)


def since_start(labels: Labels, rate: float) -> NDArray[np.int_]:
    """Count tenths of a second since HandStart last began: 0 before the first, at most 300."""
    rows = np.arange(len(labels))
    begun = np.diff(labels[:, 0].astype(int), prepend=0) == 1
    last = np.maximum.accumulate(np.where(begun, rows, -1))
    tenths = np.minimum(((rows - last) * 10 / rate).astype(int) + 1, 300)
    return np.where(last < 0, 0, tenths)


def rhythm(jobs: list[Job], rate: float) -> float:
    """Score the shifted labels by how often each is active so long after the last HandStart."""
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
    """Train the presets on changed labels, print the table and write it.

    Parameters
    ----------
    arguments : list of str
        As of `pipeline.bench.methods`.
    """
    presets, overrides = chosen_presets(arguments, FAST)
    lines = ["| preset | shuffled | shifted by 5 s |", "|---|--:|--:|"]
    for preset in presets:
        wanted = [f"experiment={preset}", *DATA, *SPLIT, *overrides, "stage=filter"]
        flow = Flow(configuration.compose([*wanted, "tracking.enabled=false"]))
        run(flow.config, say=lambda line: None)
        jobs = flow.jobs(flow.found(), final=False)
        aucs = []
        for change in CHANGES:
            work = (delayed(_train)(flow, job, change) for job in jobs)
            made = Parallel(n_jobs=flow.workers, return_as="generator")(work)
            parts = list(tqdm(made, total=len(jobs), desc=f"{preset}, {change}", leave=False))
            logits, labels = (np.concatenate(side) for side in zip(*parts, strict=True))
            aucs.append(score(labels, logits, flow.about.events).mean or np.nan)
        lines.append(f"| {preset} | {aucs[0]:.4f} | {aucs[1]:.4f} |")
    explained = rhythm(jobs, flow.about.rate / flow.every)
    lines.append(f"| the time since the last HandStart, known exactly | - | {explained:.4f} |")
    text = "\n".join(lines) + f"\n\n{machine(flow.cores)}; the same recordings and split.\n"
    print(text)
    write_between(DOC, "leak", text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}")
