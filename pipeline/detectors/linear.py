"""Linear detectors: a discriminant or a logistic regression an event, on features and their past.

They are the first level of the competition's winners
(github.com/alexandrebarachant/Grasp-and-lift-EEG-challenge): on the filter bank (``fbl_lda``,
``fbl_lr``), or on the filter bank now and some times ago (``fbl_delay_lr``). A detector of this
kind predicts each row from that row and earlier ones of its series alone.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pipeline.detectors.taps import Scalers, back, fit_scalers, pack, standardise, unpack
from pipeline.features.filter_bank import FeatureSeries
from pipeline.work.tasks import Report

CHUNK = 4096  # rows that are widened by their past at a time
# Beside `pipeline.detectors.taps.READS`, of the group ``method``.
READS = ("tap_count", "tap_every", "shrinkage", "penalty_c", "iterations")


@dataclass(frozen=True)
class LinearDetector:
    """A weight for every feature, tap and event.

    Parameters
    ----------
    weights : ndarray, shape (count * F, E)
        For standardised features, those of the earliest tap first.
    bias : ndarray, shape (E,)
        Added.
    count, every : int
        The taps, see `pipeline.detectors.taps.back`.
    scalers : dict of int to (ndarray, ndarray)
        By subject: the features' mean and standard deviation, each (F,).
    """

    weights: np.ndarray
    bias: np.ndarray
    count: int
    every: int
    scalers: Scalers

    def predict(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        ready, parts = standardise(features, self.scalers[subject]), []
        for begin in range(0, len(ready), CHUNK):
            rows = np.arange(begin, min(begin + CHUNK, len(ready)))
            wide = ready[back(rows, self.count, self.every)].reshape(len(rows), -1)
            parts.append(wide @ self.weights + self.bias)
        return np.concatenate(parts).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "weights": torch.from_numpy(self.weights),
            "bias": torch.from_numpy(self.bias),
            "taps": [self.count, self.every],
            "scalers": pack(self.scalers),
        }
        torch.save(stored, path)

    @classmethod
    def load(cls, path: Path) -> LinearDetector:
        """Read what `save` wrote."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        weights, bias = stored["weights"].numpy(), stored["bias"].numpy()
        count, every = stored["taps"]
        return cls(weights, bias, count, every, unpack(stored["scalers"]))


def fit(
    fitted: list[FeatureSeries], method: dict[str, Any], report: Report
) -> tuple[LinearDetector, list[dict[str, float]]]:
    """Fit one detector.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Each subject is standardised for itself.
    method : dict
        The group ``method``; its ``kind`` is ``lda`` or ``lr``.
    report : callable
        Told each event as it is done.

    Returns
    -------
    LinearDetector
    list of dict
        The history, of one line with nothing in it. A logistic regression ends after
        ``method.iterations`` at the latest, when its score stands still.
    """
    scalers, count, every = fit_scalers(fitted), method["tap_count"], method["tap_every"]
    x, y = [], []
    for series in fitted:
        ready = standardise(np.asarray(series.features), scalers[series.subject])
        rows = np.arange(0, len(ready), method["fit_every"])
        x.append(ready[back(rows, count, every)].reshape(len(rows), -1))
        y.append(np.asarray(series.labels)[rows])
    features, labels = np.concatenate(x), np.concatenate(y)
    del x
    weights = np.zeros((features.shape[1], labels.shape[1]))
    bias = np.full(labels.shape[1], -20.0)  # of an event that never happens
    for event, column in enumerate(labels.T):
        if column.any():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # its end is method.iterations
                model = _model(method).fit(features, column)
            weights[:, event], bias[event] = model.coef_[0], model.intercept_[0]
        report(1 / labels.shape[1], {})
    single = weights.astype(np.float32), bias.astype(np.float32)
    return LinearDetector(*single, count, every, scalers), [{}]


def _model(method: dict[str, Any]) -> LinearDiscriminantAnalysis | LogisticRegression:
    if method["kind"] == "lda":
        # lsqr solves with the classes' covariance, and so needs no SVD of all rows
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=method["shrinkage"])
    return LogisticRegression(C=method["penalty_c"], max_iter=method["iterations"])
