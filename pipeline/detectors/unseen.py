"""A detector for a person of whom nothing was recorded: the scaler is estimated as signal comes.

All detectors read standardised features. The mean and the standard deviation that this takes are
known of a person once there are recordings. Of an unseen one there are none, so both are estimated
within each series, from the rows so far: what the detector was fitted on says what they are at
first, and each row of the series adds to it. No estimate sees a later row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.detectors.base import Detector, State
from pipeline.detectors.registry import METHODS
from pipeline.detectors.scaling import Scaler
from pipeline.detectors.stored import write_tensors

# Rows that follow one another are alike: so many tell as much of a mean as one alone.
ALIKE_ROWS = 50.0
# So many rows count as much as what others tell of the standard deviation.
DEVIATION_ROWS = 1500.0


@dataclass(frozen=True)
class RunningScaler:
    """Standardises each row by itself and those before it.

    Parameters
    ----------
    mean, variance : ndarray of float64, shape (F,)
        Before the first row.
    weight : ndarray of float64, shape (F,)
        How many rows that mean counts for. The more the means of people differ, the less it tells
        of one more (the mean of a normal distribution with a normal prior).
    """

    mean: np.ndarray
    variance: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, scalers: list[Scaler]) -> RunningScaler:
        """Start from the mean and the variance of other people's features, on average."""
        means = np.array([np.asarray(mean, dtype=float) for mean, _ in scalers])
        squares = [np.square(np.asarray(deviation, dtype=float)) for _, deviation in scalers]
        mean, variance = means.mean(axis=0), np.mean(squares, axis=0)
        between = np.square(means - mean).sum(axis=0) / max(1, len(means) - 1)
        # Two or three people say little of how far people differ: at least by their own scatter.
        between = np.maximum(between, variance)
        return cls(mean, variance, ALIKE_ROWS * variance / between)

    def start(self) -> State:
        """Give the state before a series' first row: how many rows there were, and their sums."""
        nothing = np.zeros_like(self.mean)
        return {"rows": 0, "sums": nothing, "squares": nothing.copy()}

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Standardise the next rows of a series, shape (n', F).

        The sums are added up row by row, so they are the same, to the last bit, however a series is
        cut.

        Returns
        -------
        ndarray of float32, shape (n', F)
        state : dict
            For the next call.
        """
        if not len(features):
            return np.zeros(features.shape, dtype=np.float32), state
        # Less the first mean: sums of large numbers would lose the small differences.
        apart = features.astype(np.float64) - self.mean
        sums = np.cumsum(np.concatenate([state["sums"][None], apart]), axis=0)[1:]
        both = np.concatenate([state["squares"][None], np.square(apart)])
        squares = np.cumsum(both, axis=0)[1:]
        rows = state["rows"] + np.arange(1.0, len(features) + 1)[:, None]
        scatter = np.maximum(squares - np.square(sums) / rows, 0)
        variance = (DEVIATION_ROWS * self.variance + scatter) / (DEVIATION_ROWS + rows)
        ready = (apart - sums / (self.weight + rows)) / np.sqrt(variance)
        after = {
            "rows": state["rows"] + len(features), "sums": sums[-1].copy(),
            "squares": squares[-1].copy(),
        }  # fmt: skip
        return ready.astype(np.float32), after


@dataclass(frozen=True)
class UnseenDetector:
    """A detector that reads features which a running scaler has standardised.

    Parameters
    ----------
    kind : str
        The detector's method, a key of `pipeline.detectors.registry.METHODS`.
    detector : Detector
        It standardises nothing itself.
    scaler : RunningScaler
        Comes before it.
    """

    kind: str
    detector: Any
    scaler: RunningScaler

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        ready, _ = self.scaler.push(np.asarray(features), self.scaler.start())
        return self.detector.predict(ready, subject)

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: the scaler's and the detector's."""
        return {"scaler": self.scaler.start(), "detector": self.detector.start(subject)}

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        ready, scaler = self.scaler.push(features, state["scaler"])
        logits, detector = self.detector.push(ready, state["detector"])
        return logits, {"scaler": scaler, "detector": detector}

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "kind": self.kind,
            "detector": self.detector.packed(),
            "mean": torch.from_numpy(self.scaler.mean),
            "variance": torch.from_numpy(self.scaler.variance),
            "weight": torch.from_numpy(self.scaler.weight),
        }
        write_tensors(path, stored)

    @classmethod
    def load(cls, path: Path) -> UnseenDetector:
        """Read what `save` wrote, onto the CPU."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        learner: Any = METHODS[stored["kind"]].load()
        scaler = RunningScaler(*(stored[k].numpy() for k in ("mean", "variance", "weight")))
        return cls(stored["kind"], learner.unpacked(stored["detector"]), scaler)


def unseen(kind: str, detector: Detector, scalers: list[Scaler]) -> UnseenDetector:
    """Put a running scaler before a detector.

    Parameters
    ----------
    kind : str
        The method.
    detector : Detector
        Of features that are standardised already.
    scalers : list of (ndarray, ndarray)
        Of the people whom it was fitted on: mean and standard deviation, each of shape (F,).
    """
    return UnseenDetector(kind, detector, RunningScaler.of(scalers))
