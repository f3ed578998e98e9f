"""Detectors that predict a row from that row and some earlier ones of its series: their fitting.

The linear ones are in `linear`, the networks over a window in `tap_networks`; both look back
through `back`. `semi_markov` goes through a series from its start. All standardise each subject for
itself, and are fitted and applied by `fit_job`, which writes what `train_job` writes for the LSTM.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from pipeline.data.recording import series_name
from pipeline.detectors.lstm.training import Job, held_out_line
from pipeline.features.filter_bank import FeatureSeries, Moments
from pipeline.results.scoring import score
from pipeline.work.tasks import Report

# A subject's mean and standard deviation of each feature, each of shape (F,).
Scalers = dict[int, tuple[np.ndarray, np.ndarray]]


class RowDetector(Protocol):
    """What a fit gives."""

    def predict(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""


# What is read of the group ``method`` whatever its kind; each module's own READS has the rest.
READS = ("kind", "fit_every")
# Series, the group ``method`` with ``seed`` and ``device``, progress -> detector, history's lines
Fit = Callable[
    [list[FeatureSeries], dict[str, Any], Report], tuple[RowDetector, list[dict[str, float]]]
]


def back(rows: np.ndarray, count: int, every: int, first: np.ndarray | int = 0) -> np.ndarray:
    """Name the rows that are read to predict others.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        To be predicted.
    count, every : int
        How many rows are read, the row itself included, and how far apart they lie.
    first : int or ndarray of int, shape (n,)
        Where each row's series begins; what lies before is replaced by it.

    Returns
    -------
    ndarray of int, shape (n, count)
        From the earliest to the row itself.
    """
    steps = np.arange(count - 1, -1, -1) * every
    return np.maximum(rows[:, None] - steps, np.broadcast_to(first, rows.shape)[:, None])


def fit_scalers(fitted: list[FeatureSeries]) -> Scalers:
    """Fit each subject's mean and standard deviation on its fitted series."""
    scalers = {}
    for subject in sorted({series.subject for series in fitted}):
        moments = Moments.pooled([s.moments for s in fitted if s.subject == subject])
        mean, matrix = moments.scaler(whiten=False)
        scalers[subject] = (mean, 1 / np.diag(matrix))
    return scalers


def standardise(features: np.ndarray, scaler: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Standardise features, shape (T', F)."""
    mean, deviation = scaler
    return (features - mean) / deviation


def pack(scalers: Scalers) -> dict[str, list[torch.Tensor]]:
    """Turn scalers into what may be stored."""
    return {str(k): [torch.from_numpy(part) for part in v] for k, v in scalers.items()}


def unpack(stored: dict[str, list[torch.Tensor]]) -> Scalers:
    """Turn what `pack` made into scalers."""
    return {int(k): (v[0].numpy(), v[1].numpy()) for k, v in stored.items()}


def fit_job(
    scratch: Path, report: Report, job: Job, fit: Fit, method: dict[str, Any], threads: int
) -> None:
    """Fit one detector and predict with it (the work of one task).

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Told the progress and the score.
    job : Job
        On what.
    fit : callable
        `fit` of `linear`, of `tap_networks` or of `semi_markov`.
    method : dict
        What `fit` reads of the group ``method``, and ``seed`` and ``device``.
    threads : int
        Of this process.
    """
    begun = time.monotonic()
    torch.set_num_threads(threads)
    fitted = [FeatureSeries.load(job.folder, *key) for key in job.fit]
    with threadpool_limits(threads):
        detector, lines = fit(fitted, method, report)
        logits = {}
        for key in job.predict:
            series = FeatureSeries.load(job.folder, *key)
            logits[key] = detector.predict(np.asarray(series.features), series.subject)
    rows = sum(-(-len(series.features) // method["fit_every"]) for series in fitted)
    last: dict[str, Any] = {
        "epoch": 1.0, "step": 1, "loss": np.nan, "learning_rate": np.nan,
        "rows_per_second": rows / (time.monotonic() - begun), **lines[-1],
    }  # fmt: skip
    if job.held_out:
        truth = np.concatenate(
            [np.asarray(FeatureSeries.load(job.folder, *key).labels) for key in job.held_out]
        )
        stacked = np.concatenate([logits[key] for key in job.held_out])
        last |= held_out_line(stacked, truth, job.events)
        auc = score(truth, stacked, job.events).mean
        metrics = {k: float(v) for k, v in last.items() if v is not None and np.isfinite(v)}
        report(0.0, {"show": f"AUC {auc or np.nan:.4f}", "step": last["step"], "metrics": metrics})
    earlier = [{**line, "best": False} for line in lines[:-1]]
    history = pd.DataFrame([*earlier, {**last, "best": True}])
    history.to_csv(scratch / f"{job.name}_history.csv", index=False)
    detector.save(scratch / f"{job.name}_model.pt")
    for key, values in logits.items():
        np.save(scratch / f"{series_name(*key)}_logits.npy", values)
