"""The options of networks over taps."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from pipeline.config.demand import Demand
from pipeline.config.methods.base import TapMethod


@dataclass
class TapNetworkMethod(TapMethod):
    """What networks over the taps share.

    Parameters
    ----------
    units : int
        Of the GRU, and of each dense layer.
    input_dropout, dropout : float
        Of the taps; after the dense layers.
    batch, updates : int
        Random rows per update; updates of the weights.
    learning_rate, momentum : float
        Of stochastic gradient descent with Nesterov's momentum.
    """

    units: int = MISSING
    input_dropout: float = MISSING
    dropout: float = MISSING
    batch: int = MISSING
    updates: int = MISSING
    learning_rate: float = MISSING
    momentum: float = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        for key in ("units", "batch", "updates"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        for key in ("dropout", "input_dropout"):
            demand(0 <= getattr(self, key) < 1, key, "must be at least 0 and below 1")
        demand(self.learning_rate > 0, "learning_rate", "must be above 0")
        demand(0 < self.momentum < 1, "momentum", "must be above 0 and below 1")


@dataclass
class GruMethod(TapNetworkMethod):
    """A GRU over the taps."""

    kind: str = "gru"


@dataclass
class CnnMethod(TapNetworkMethod):
    """Spatial filters and dense layers over the taps.

    Parameters
    ----------
    filters : int
        Spatial filters.
    """

    kind: str = "cnn"
    filters: int = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        demand(self.filters >= 1, "filters", "must be 1 or more")
