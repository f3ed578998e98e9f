"""The semi-Markov chain's options."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from pipeline.config.demand import Demand
from pipeline.config.methods.base import Method


@dataclass
class SemiMarkovMethod(Method):
    """A semi-Markov chain over a trial's events.

    Parameters
    ----------
    tap_count : int
        Rows of the past that predict a row; the chain reads what they cannot predict.
    observed : int
        How many outputs of the filter bank, of each channel the last ones, the responses are
        looked for in; all if there are not so many, or with 0.
    rows_after, rows_before : int
        A response's feature rows after and before an event.
    response_ridge, response_smooth : float
        Penalties of the responses' size and of their second differences.
    response_shrinkage : float
        Subtracted from the responses' singular values.
    rank : int
        Singular values that are kept.
    trust : float
        Factor on the evidence that white noise would give.
    paces : int
        Groups of series, by how long the pauses between trials are.
    duration_smooth : float
        Width of the durations' kernel, relative to their spread and number.
    duration_tail : float
        Share of the kernel that is wide, for series of another tempo.
    duration_pooling : float
        What durations within a trial count in series of other paces, compared with the pace's own.
    """

    ADAPTS = True

    kind: str = "semi_markov"
    tap_count: int = MISSING
    observed: int = MISSING
    rows_after: int = MISSING
    rows_before: int = MISSING
    response_ridge: float = MISSING
    response_smooth: float = MISSING
    response_shrinkage: float = MISSING
    rank: int = MISSING
    trust: float = MISSING
    paces: int = MISSING
    duration_smooth: float = MISSING
    duration_tail: float = MISSING
    duration_pooling: float = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        for key in ("tap_count", "rank", "paces"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        for key in ("rows_after", "rows_before"):
            demand(getattr(self, key) >= 3, key, "must be 3 or more")
        for key in ("observed", "response_smooth", "response_shrinkage", "duration_smooth"):
            demand(getattr(self, key) >= 0, key, "must be 0 or more")
        demand(0 <= self.duration_tail < 1, "duration_tail", "must be at least 0 and below 1")
        demand(0 <= self.duration_pooling <= 1, "duration_pooling", "must be 0 to 1")
        for key in ("response_ridge", "trust"):
            demand(getattr(self, key) > 0, key, "must be above 0")
