"""What each correction of the 2015 recipe is worth, on simulated recordings.

``python -m pipeline.bench.recipe [overrides]`` trains ``paszke2015``, and then the same recipe with
each of several corrections, always with two seeds. It scores them as Kaggle does and writes the
table into ``docs/recipe-2015.md``. The network has 100 units instead of 280, which takes a third of
the time.
"""

from __future__ import annotations

import statistics

import numpy as np
import torch

from pipeline.bench.arguments import run_command
from pipeline.bench.document import SEEDS_HEAD, SEEDS_RULE, machine, seeds_row, write_between
from pipeline.bench.methods import pooled_auc
from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.data.recording import series_name
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import predict
from pipeline.features.feature_series import FeatureSeries
from pipeline.results.rows import hold
from pipeline.results.scoring import score
from pipeline.stages.context import Context
from pipeline.stages.flow import find
from pipeline.stages.jobs import jobs
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "recipe-2015.md"
RECIPE = ("dataset=simulated", "experiment=paszke2015", "model.hidden=100", "stage=evaluate")
SEEDS = (0, 1)
RESET = (
    "window.join=false", "window.streams=1", "window.batch=5", "window.length=800",
)  # fmt: skip
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "`paszke2015`": (),
    "scaler of all subjects' training series alone": ("train.scaler=shared",),
    "scaler of each subject's training series": ("train.scaler=subject",),
    "filter before decimating": ("filter.subsample=1", "filter.decimate=3"),
    "filter started from the first sample": ("filter.start=first",),
    "state reset at each series' start, series shuffled, tail kept": RESET,
    "the epoch chosen by AUC": ("train.select=auc",),
    "subject's scaler, filter from the first sample, and reset": (
        "train.scaler=subject", "filter.start=first", *RESET,
    ),
}  # fmt: skip
KEPT_STATE = "`paszke2015`, the state not reset between predicted files (theirs)"
PER_FILE = "`paszke2015`, mean over files of each file's AUC (theirs)"


def _ways(context: Context) -> dict[str, float]:
    """Score the recipe's models in the two ways in which the original code differs from Kaggle."""
    found = find(context)
    truth, kept, files = [], [], []
    for job in jobs(context, found, final=False):
        detector = LstmDetector.load(context.train_folder.path / f"{job.name}_model.pt")
        series = [FeatureSeries.load(job.folder, *key) for key in job.held_out]
        joined = torch.cat([detector.standardise(s.features, s.subject) for s in series])
        logits = predict(detector.network, joined, detector.stride)
        cuts = np.cumsum([len(s.features) for s in series])[:-1]
        for one, its_logits in zip(series, np.split(logits, cuts), strict=True):
            name = series_name(one.subject, one.series)
            labels = np.load(context.ingest_folder.path / f"{name}_events.npy")
            alone = np.load(context.train_folder.path / f"{name}_logits.npy")
            truth.append(labels)
            kept.append(hold(its_logits, context.every, len(labels)))
            files.append(
                score(labels, hold(alone, context.every, len(labels)), context.about.events)
            )
    pooled = score(np.concatenate(truth), np.concatenate(kept), context.about.events)
    per_file = [file.row()["mean"] for file in files]
    return {
        KEPT_STATE: float(pooled.row()["mean"] or np.nan),
        PER_FILE: statistics.fmean(value for value in per_file if value is not None),
    }


def main(overrides: list[str]) -> None:
    """Train and score everything, print the table and write it.

    Parameters
    ----------
    overrides : list of str
        As on the pipeline's command line.
    """
    values: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, correction in CORRECTIONS.items():
            chosen = [*RECIPE, f"seed={seed}", *correction, *overrides]
            config = compose(chosen)
            values.setdefault(name, []).append(pooled_auc(config))
            if not correction:
                context = Context(config)
                for way, value in _ways(context).items():
                    values.setdefault(way, []).append(value)
    base = statistics.fmean(values["`paszke2015`"])
    lines = [SEEDS_HEAD, SEEDS_RULE]
    lines += [seeds_row(name, aucs, base) for name, aucs in values.items()]
    text = "\n".join(lines) + f"\n\n{machine(cores())}; seeds {', '.join(map(str, SEEDS))}.\n"
    print(text)
    write_between(DOC, "corrections", text)


if __name__ == "__main__":
    run_command(main)
