"""Linear detectors: a discriminant or a logistic regression an event, on features and their past.

They are the first level of the competition's winners
(github.com/alexandrebarachant/Grasp-and-lift-EEG-challenge): on the filter bank (``fbl_lda``,
``fbl_lr``), or on the filter bank now and some times ago (``fbl_delay_lr``). A detector of this
kind predicts each row from that row and earlier ones of its series alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from pipeline.filtering import FeatureSeries, Moments
from pipeline.recording import series_name
from pipeline.scoring import score
from pipeline.stage import Report
from pipeline.training import Job, held_out_line

CHUNK = 4096  # rows that are widened by their past at a time


def with_past(features: np.ndarray, taps: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    """Put earlier rows beside each wanted row.

    Parameters
    ----------
    features : ndarray, shape (T', F)
        One series.
    taps : tuple of int
        How many rows back; 0 is the row itself.
    rows : ndarray of int, shape (n,)
        The wanted rows.

    Returns
    -------
    ndarray, shape (n, len(taps) * F)
        Before the series' start its first row stands in.
    """
    return np.concatenate([features[np.maximum(rows - tap, 0)] for tap in taps], axis=1)


@dataclass(frozen=True)
class LinearDetector:
    """A weight for every feature, tap and event.

    Parameters
    ----------
    weights : ndarray, shape (len(taps) * F, E)
        For standardised features.
    bias : ndarray, shape (E,)
        Added.
    taps : tuple of int
        See `with_past`.
    scalers : dict of int to (ndarray, ndarray)
        By subject: the features' mean and standard deviation, each (F,).
    """

    weights: np.ndarray
    bias: np.ndarray
    taps: tuple[int, ...]
    scalers: dict[int, tuple[np.ndarray, np.ndarray]]

    def standardise(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Standardise features, shape (T', F), as this subject's training series were."""
        mean, deviation = self.scalers[subject]
        return (features - mean) / deviation

    def predict(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        ready, parts = self.standardise(features, subject), []
        for begin in range(0, len(ready), CHUNK):
            rows = np.arange(begin, min(begin + CHUNK, len(ready)))
            parts.append(with_past(ready, self.taps, rows) @ self.weights + self.bias)
        return np.concatenate(parts).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "weights": torch.from_numpy(self.weights),
            "bias": torch.from_numpy(self.bias),
            "taps": list(self.taps),
            "scalers": {
                str(k): [torch.from_numpy(part) for part in v] for k, v in self.scalers.items()
            },
        }
        torch.save(stored, path)

    @classmethod
    def load(cls, path: Path) -> LinearDetector:
        """Read what `save` wrote."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        scalers = {int(k): (v[0].numpy(), v[1].numpy()) for k, v in stored["scalers"].items()}
        return cls(
            stored["weights"].numpy(), stored["bias"].numpy(), tuple(stored["taps"]), scalers
        )


def fit(fitted: list[FeatureSeries], method: dict[str, Any], report: Report) -> LinearDetector:
    """Fit one detector.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Each subject is standardised for itself.
    method : dict
        The group ``method``; its ``kind`` is ``lda`` or ``lr``.
    report : callable
        Told each event as it is done.
    """
    subjects = sorted({series.subject for series in fitted})
    scalers = {}
    for subject in subjects:
        moments = Moments.pooled([s.moments for s in fitted if s.subject == subject])
        mean, matrix = moments.scaler(whiten=False)
        scalers[subject] = (mean, 1 / np.diag(matrix))
    taps = tuple(method["taps"])
    unfit = LinearDetector(np.empty(0), np.empty(0), taps, scalers)
    x, y = [], []
    for series in fitted:
        ready = unfit.standardise(np.asarray(series.features), series.subject)
        rows = np.arange(0, len(ready), method["fit_every"])
        x.append(with_past(ready, taps, rows))
        y.append(np.asarray(series.labels)[rows])
    features, labels = np.concatenate(x), np.concatenate(y)
    del x
    weights = np.zeros((features.shape[1], labels.shape[1]))
    bias = np.full(labels.shape[1], -20.0)  # of an event that never happens
    for event, column in enumerate(labels.T):
        if column.any():
            model = _model(method).fit(features, column)
            weights[:, event], bias[event] = model.coef_[0], model.intercept_[0]
        report(1 / labels.shape[1], {})
    return LinearDetector(weights.astype(np.float32), bias.astype(np.float32), taps, scalers)


def _model(method: dict[str, Any]) -> LinearDiscriminantAnalysis | LogisticRegression:
    if method["kind"] == "lda":
        # lsqr solves with the classes' covariance, and so needs no SVD of all rows
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=method["shrinkage"])
    return LogisticRegression(C=method["penalty_c"], max_iter=method["iterations"])


def fit_job(scratch: Path, report: Report, job: Job, method: dict[str, Any], threads: int) -> None:
    """Fit one linear detector and predict with it (the work of one task).

    Writes the same files as `pipeline.training.train_job`.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Told the progress and the score.
    job : Job
        On what.
    method : dict
        The group ``method``.
    threads : int
        Of this process.
    """
    begun = time.monotonic()
    fitted = [FeatureSeries.load(job.folder, *key) for key in job.fit]
    with threadpool_limits(threads):
        detector = fit(fitted, method, report)
        logits = {}
        for key in job.predict:
            series = FeatureSeries.load(job.folder, *key)
            logits[key] = detector.predict(np.asarray(series.features), series.subject)
    rows = sum(-(-len(series.features) // method["fit_every"]) for series in fitted)
    line: dict[str, Any] = {
        "epoch": 1.0, "step": 1, "loss": np.nan, "learning_rate": np.nan,
        "rows_per_second": rows / (time.monotonic() - begun),
    }  # fmt: skip
    if job.held_out:
        truth = np.concatenate(
            [np.asarray(FeatureSeries.load(job.folder, *key).labels) for key in job.held_out]
        )
        stacked = np.concatenate([logits[key] for key in job.held_out])
        line |= held_out_line(stacked, truth, job.events)
        auc = score(truth, stacked, job.events).mean
        metrics = {k: float(v) for k, v in line.items() if v is not None and np.isfinite(v)}
        report(0.0, {"show": f"AUC {auc or np.nan:.4f}", "step": 1, "metrics": metrics})
    pd.DataFrame([{**line, "best": True}]).to_csv(scratch / f"{job.name}_history.csv", index=False)
    detector.save(scratch / f"{job.name}_model.pt")
    for key, values in logits.items():
        np.save(scratch / f"{series_name(*key)}_logits.npy", values)
