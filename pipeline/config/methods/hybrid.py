"""The hybrid's options: the semi-Markov chain's, and the LSTM's three groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

from pipeline.config.demand import Demand
from pipeline.config.lstm import Cell, LstmOptions, Model, Train, Window
from pipeline.config.methods.semi_markov import SemiMarkovMethod
from pipeline.data.names import Id, in_file_name

# The network that corrects: as that of the recipe ``stack``, but for its step, which is the LSTM's.
LENGTH, BURN_IN, BATCH = 80, 25, 64
CORRECTION = Model(
    cell=Cell.fused, hidden=128, layers=1, projection=0, kernel=0, dropout=0.5, input_dropout=0.0,
    networks=4,
)  # fmt: skip
RATE, EPOCHS = 5e-3, 3

# The names of a fit's parts, and what one subject's chains take of an LSTM for twelve.
LSTM, WITHOUT, CHAIN, CHAIN_COST = "lstm", "without", "chain_", 0.05


@dataclass
class HybridMethod(SemiMarkovMethod):
    """A semi-Markov chain per subject, an LSTM, and another one that reads both and corrects.

    Parameters
    ----------
    folds : int
        What corrects learns from what chains and LSTMs say of series that they were not fitted to;
        so many folds, at most one per series.
    """

    GROUPS = ("window", "model", "train")
    FEWEST_SERIES = 2

    kind: str = "hybrid"
    folds: int = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        demand(self.folds >= 2, "folds", "must be 2 or more")

    def parts(self, subjects: Sequence[Id], series: int) -> dict[str, float]:
        """Name them: the LSTM, the LSTMs without each fold, and each subject's chains."""
        named = {LSTM: 1.0}
        named |= {f"{WITHOUT}{fold}": 1.0 for fold in range(1, min(self.folds, series) + 1)}
        return named | {f"{CHAIN}{in_file_name(subject)}": CHAIN_COST for subject in subjects}

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

    @property
    def correction(self) -> LstmOptions:
        """What the network reads that corrects."""
        window = Window(LENGTH, BATCH, self.window.stride, 0, BURN_IN, join=False)
        train = replace(
            self.train, own_projection=False, whiten=False, learning_rate=RATE, epochs=EPOCHS,
        )  # fmt: skip
        return LstmOptions(window, CORRECTION, train)
