"""The hybrid's options: the semi-Markov chain's, and the LSTM's three groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from pipeline.config.demand import Demand
from pipeline.config.lstm import LstmOptions, Model, Train, Window
from pipeline.config.methods.semi_markov import SemiMarkovMethod


@dataclass
class HybridMethod(SemiMarkovMethod):
    """A semi-Markov chain per subject and an LSTM, whose logits are joined.

    Parameters
    ----------
    share : float
        The weight of the LSTM's logits; the chain's have the rest.
    """

    GROUPS = ("window", "model", "train")

    kind: str = "hybrid"
    share: float = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        demand(0 <= self.share <= 1, "share", "must be 0 to 1")

    def joined(self, **groups: Any) -> HybridOptions:
        """Give what the hybrid reads: these options for its chain, the groups for its LSTM."""
        return HybridOptions(self, **groups)


@dataclass(frozen=True)
class HybridOptions:
    """All that the hybrid reads: its chains' options, and its LSTM's."""

    method: HybridMethod
    window: Window
    model: Model
    train: Train

    @property
    def lstm(self) -> LstmOptions:
        """What its LSTM reads."""
        return LstmOptions(self.window, self.model, self.train)
