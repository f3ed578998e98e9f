"""The linear methods' options."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from pipeline.config.demand import Demand
from pipeline.config.methods.base import TapMethod


@dataclass
class LdaMethod(TapMethod):
    """A linear discriminant for each event.

    Parameters
    ----------
    shrinkage : float
        Share of the covariance that is shrunk to its diagonal.
    """

    ADAPTS = True

    kind: str = "lda"
    shrinkage: float = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        demand(0 <= self.shrinkage <= 1, "shrinkage", "must be 0 to 1")


@dataclass
class LrMethod(TapMethod):
    """A logistic regression for each event.

    Parameters
    ----------
    penalty_c : float
        Inverse of the L2 penalty, as in scikit-learn.
    iterations : int
        Of L-BFGS, at most.
    """

    kind: str = "lr"
    penalty_c: float = MISSING
    iterations: int = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        demand(self.penalty_c > 0, "penalty_c", "must be above 0")
        demand(self.iterations >= 1, "iterations", "must be 1 or more")
