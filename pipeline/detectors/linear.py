"""Linear detectors: one discriminant or one logistic regression per event.

They are the first level of the competition's winners
(github.com/alexandrebarachant/Grasp-and-lift-EEG-challenge): on the filter bank (``fbl_lda``,
``fbl_lr``), or on the filter bank now and at some earlier times (``fbl_delay_lr``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.detectors import taps
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.discriminant import Sums, add_up, fit_discriminant, fit_each
from pipeline.detectors.scaling import Scaler, Scalers, fit_scalers, pack, standardise, unpack
from pipeline.detectors.stored import write_tensors

if TYPE_CHECKING:  # a fitted detector is loaded without them
    from pipeline.config.methods.linear import LdaMethod, LrMethod
    from pipeline.features.feature_series import FeatureSeries

CHUNK = 4096  # rows whose taps are laid side by side at a time


@dataclass(frozen=True)
class LinearDetector:
    """One weight per tap, feature and event.

    Parameters
    ----------
    weights : ndarray of float32, shape (count * F, E)
        For standardised features; those of the earliest tap come first.
    bias : ndarray of float32, shape (E,)
        Added.
    count, every : int
        The taps, see `pipeline.detectors.taps.back`.
    scalers : dict of int to (ndarray, ndarray)
        By subject, see `pipeline.detectors.scaling`.
    sums : Sums or None
        Of the fitted rows, where they make up the discriminants: with these it can be fitted to a
        new person (`pipeline.detectors.adaptation.linear`).
    """

    weights: np.ndarray
    bias: np.ndarray
    count: int
    every: int
    scalers: Scalers
    sums: Sums | None = None

    @classmethod
    def fit(cls, data: FitData, options: LdaMethod | LrMethod) -> tuple[LinearDetector, list[Line]]:
        """Fit a linear classifier for each event; each subject is standardised for itself.

        Parameters
        ----------
        data : FitData
            On what; it is told of each event that is done.
        options : LdaMethod or LrMethod
            Which classifier. L-BFGS ends after ``iterations``, if its score still moves.

        Returns
        -------
        LinearDetector
        list of dict
            One line: there are no epochs, and no loss is measured.
        """
        scalers, x, y = fit_scalers(data.fitted), [], []
        for series in data.fitted:
            wide, labels = fitted_rows(series, scalers[series.subject], options)
            x.append(wide)
            y.append(labels)
        features, labels = np.concatenate(x), np.concatenate(y)
        del x
        weights, bias = fit_each(
            features, labels, partial(_fit_event, options),
            lambda: data.report(1 / labels.shape[1], {}),
        )  # fmt: skip
        sums = Sums.of(features, labels, len(data.fitted)) if _is_lda(options) else None
        line = {"best": True}  # nothing is learned step by step
        return cls(weights, bias, options.tap_count, options.tap_every, scalers, sums), [line]

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        ready, parts = standardise(features, self.scalers[subject]), []
        for begin in range(0, len(ready), CHUNK):
            rows = np.arange(begin, min(begin + CHUNK, len(ready)))
            wide = ready[taps.back(rows, self.count, self.every)].reshape(len(rows), -1)
            parts.append(self._logits(wide))
        return np.concatenate(parts)

    def event_scores(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give what `pipeline.results.patterns` shows: the logits, shape (T', E)."""
        return self.predict(features, subject)

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: no taps yet."""
        return taps.start(self.count, self.every, len(self.scalers[subject][0]), subject)

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F), and the taps before them."""
        ready = standardise(features, self.scalers[state["subject"]])
        wide, after = taps.follow(ready, state, self.count, self.every)
        logits = np.empty((len(wide), len(self.bias)), dtype=np.float32)
        for number, row in enumerate(wide.reshape(len(wide), -1)):  # never many at once: `push`
            logits[number] = self._logits(row[None])
        return logits, after

    def _logits(self, wide: np.ndarray) -> np.ndarray:
        """Give the logits, shape (n, E), of rows of taps, shape (n, count * F)."""
        return add_up(wide, self._precise, self.bias)

    @cached_property
    def _precise(self) -> np.ndarray:
        """The weights in double precision."""
        return self.weights.astype(np.float64)

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        write_tensors(path, self.packed())

    @classmethod
    def load(cls, path: Path) -> LinearDetector:
        """Read what `save` wrote."""
        return cls.unpacked(torch.load(path, map_location="cpu", weights_only=True))

    def packed(self) -> dict[str, Any]:
        """Give what `save` writes."""
        stored: dict[str, Any] = {
            "weights": torch.from_numpy(self.weights),
            "bias": torch.from_numpy(self.bias),
            "taps": [self.count, self.every],
            "scalers": pack(self.scalers),
        }
        if self.sums is not None:
            stored["sums"] = {k: torch.from_numpy(v) for k, v in vars(self.sums).items()}
        return stored

    @classmethod
    def unpacked(cls, stored: dict[str, Any]) -> LinearDetector:
        """Turn what `packed` gave back into a detector."""
        weights, bias = stored["weights"].numpy(), stored["bias"].numpy()
        count, every = stored["taps"]
        sums = None
        if "sums" in stored:  # not in older files
            sums = Sums(**{name: part.numpy() for name, part in stored["sums"].items()})
        return cls(weights, bias, count, every, unpack(stored["scalers"]), sums)


def fitted_rows(
    series: FeatureSeries, scaler: Scaler, options: LdaMethod | LrMethod
) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows of a series that are fitted: their taps, (n, count * F), and labels, (n, E)."""
    ready = standardise(np.asarray(series.features), scaler)
    rows = np.arange(0, len(ready), options.fit_every)
    read = taps.back(rows, options.tap_count, options.tap_every)
    return ready[read].reshape(len(rows), -1), np.asarray(series.labels)[rows]


def _is_lda(options: LdaMethod | LrMethod) -> bool:
    """Tell whether discriminants are fitted."""
    from pipeline.config.methods.linear import LdaMethod  # not needed by a fitted detector

    return isinstance(options, LdaMethod)


def _fit_event(
    options: LdaMethod | LrMethod, features: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, float]:
    """Fit one event's weights, shape (count * F,), and its bias."""
    # Here, because to load and apply a fitted detector does not need scikit-learn.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    from pipeline.config.methods.linear import LdaMethod

    if isinstance(options, LdaMethod):
        return fit_discriminant(features, column, options.shrinkage)
    model = LogisticRegression(C=options.penalty_c, max_iter=options.iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # options.iterations is a limit
        model.fit(features, column)
    return model.coef_[0], model.intercept_[0]
