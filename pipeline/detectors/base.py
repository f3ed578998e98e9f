"""The one interface of everything that learns: features in, one logit per event out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from pipeline.data.names import Id
from pipeline.features.feature_series import FeatureSeries, Moments

Report = Callable[[float, dict[str, Any]], None]
"""How a fit tells its progress: the share of its work since last time, and any news."""

Line = dict[str, Any]
"""A line of a fit's history: ``epoch``, ``step``, ``loss``, ``learning_rate``, ..."""

State = dict[str, Any]
"""What a detector remembers of one series: arrays, and plain values. The arrays keep their shapes
and types from the start to the end of a series."""


@dataclass(frozen=True)
class FitData:
    """What a detector is fitted on, and under which circumstances.

    Parameters
    ----------
    name : str
        Of the fit, e.g. ``subj3_validate``. It seeds the random numbers together with `seed`.
    fitted : list of FeatureSeries
        Learned from; all have labels.
    held_out : list of FeatureSeries
        Series whose labels may choose among the states of one fit (an epoch), and give the score;
        empty for a final fit.
    shared : list of Moments
        Of the series that one scaler for all subjects is fitted on; empty for a scaler per subject,
        fitted on its own series.
    events : tuple of str
        The labels' columns.
    seed : int
        Of the recipe.
    device : str
        ``auto``, ``cpu``, ``cuda``, ...; for detectors that use a GPU.
    epochs : float or None
        How long to train, where an earlier fit has chosen it.
    scratch : Path
        A folder for checkpoints. A fit that is killed and started again finds it as it was.
    report : callable
        Told the progress.
    channels : int
        Of the recordings.
    parts : dict of str to Path
        By name: what `Detector.fit` begins with, where other processes have made it already.
    """

    name: str
    fitted: list[FeatureSeries]
    held_out: list[FeatureSeries]
    shared: list[Moments]
    events: tuple[str, ...]
    seed: int
    device: str
    epochs: float | None
    scratch: Path
    report: Report
    channels: int
    parts: dict[str, Path] = field(default_factory=dict)

    def part_file(self, name: str) -> Path:
        """Say where a part of the fit is kept: it is made where it is not there."""
        return self.parts.get(name, self.scratch / f"{self.name}_{name}.pt")


class Detector(Protocol):
    """A fitted detector. It predicts each row from that row and earlier ones of its series.

    For the report (`pipeline.stages.explain_subject`) it may also have ``event_scores(features,
    subject)``: scores, shape (T', E), that are linear in the features; ``predict_ends(windows,
    subject)``: the logits of the last row of many windows, shape (K, L, F), at once; and
    ``beside(features, subject)``: what it reads beside the features, shape (T', n).

    A fit may have parts that do not need one another, see `pipeline.config.methods.base.Method`.
    Then there is ``fit_part(name, data, options)``, which makes one and keeps it in
    ``data.part_file(name)``, and `fit` makes those that are not there.
    """

    @classmethod
    def fit(cls, data: FitData, options: Any) -> tuple[Self, list[Line]]:
        """Learn from series.

        Parameters
        ----------
        data : FitData
            On what.
        options : dataclass
            The method's own, from `pipeline.config`.

        Returns
        -------
        detector
        list of dict
            The history; one line is marked ``best``: that of the state that was kept.

        Raises
        ------
        PipelineError
            Where nothing can be learned, saying which option or series to change.
        """

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, float32, shape (T', E)."""

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row.

        Parameters
        ----------
        subject : int or Name
            Whose series it is; one that was learned from.
        """

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows of a series.

        Each row is computed by itself, so the result is the same, to the last bit, however a series
        is cut. `predict` computes many rows with one matrix product. A product's last bits depend
        on its size, so the two differ by rounding errors.

        Parameters
        ----------
        features : ndarray, shape (n', F)
            The rows that follow those of the call before; there may be none.
        state : dict
            From `start` or the call before. It is not changed.

        Returns
        -------
        logits : ndarray of float32, shape (n', E)
        state : dict
            For the next call.
        """

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote, onto the CPU."""
