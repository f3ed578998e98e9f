"""What the LSTM reads: the options of the groups ``window``, ``model`` and ``train``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from pipeline.config.demand import demand_of

# Functional Enum calls, because `global` cannot be written as a class attribute.
Scope = Enum("Scope", ["subject", "global"])
Cell = Enum("Cell", ["standard", "vanilla", "peephole", "coupled", "fused"])
Optimiser = Enum("Optimiser", ["adamw", "rmsprop"])
Schedule = Enum("Schedule", ["constant", "onecycle", "decay"])
Scaler = Enum("Scaler", ["subject", "shared", "shared_labelled"])
Select = Enum("Select", ["auc", "loss", "last"])


@dataclass
class Window:
    """How feature series become sequences for truncated back-propagation through time."""

    length: int = MISSING
    batch: int = MISSING
    stride: int = MISSING
    streams: int = MISSING
    burn_in: int = MISSING
    join: bool = MISSING

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("window", self)
        for key in ("length", "batch", "stride"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        demand(self.streams >= 0, "streams", "must be 0 (no carried state) or more")
        demand(self.burn_in >= 0, "burn_in", "must be 0 or more")
        demand(self.streams > 0 or self.burn_in < self.length, "burn_in",
               f"must be below window.length={self.length} when no state is carried")  # fmt: skip
        for key in ("stride", "streams"):
            demand(not self.join or getattr(self, key) == 1, key,
                   "must be 1 with window.join=true: a lane is one joined stream")  # fmt: skip
        demand(not self.join or self.burn_in == 0, "burn_in",
               "must be 0 with window.join=true: the state is never empty")  # fmt: skip


@dataclass
class Model:
    """The network."""

    cell: Cell = MISSING
    hidden: int = MISSING
    layers: int = MISSING
    projection: int = MISSING
    kernel: int = MISSING
    dropout: float = MISSING
    input_dropout: float = MISSING
    networks: int = MISSING
    forget_bias: float | None = None
    init_range: float | None = None

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("model", self)
        for key in ("hidden", "layers", "networks"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        demand(self.projection >= 0, "projection", "must be 0 (none) or more")
        demand(self.kernel == 0 or self.kernel >= 2, "kernel", "must be 0 (none), or 2 or more")
        for key in ("dropout", "input_dropout"):
            demand(0 <= getattr(self, key) < 1, key, "must be at least 0 and below 1")
        demand(self.init_range is None or self.init_range > 0, "init_range", "must be above 0")
        demand(self.forget_bias is None or self.cell is not Cell.vanilla, "forget_bias",
               "model.cell=vanilla has no forget gate; leave it null")  # fmt: skip


@dataclass
class Train:
    """The training loop; ``scope`` and ``refit`` hold for every method."""

    scope: Scope = MISSING
    scaler: Scaler = MISSING
    own_projection: bool = MISSING
    whiten: bool = MISSING
    prior_bias: bool = MISSING
    epochs: int = MISSING
    validate_every: int = MISSING
    select: Select = MISSING
    refit: bool = MISSING
    optimiser: Optimiser = MISSING
    smoothing: float = MISSING
    learning_rate: float = MISSING
    projection_rate: float = MISSING
    schedule: Schedule = MISSING
    decay: float = MISSING
    decay_after: float = MISSING
    decays_per_epoch: int = MISSING
    weight_decay: float = MISSING
    clip: float = MISSING
    clip_value: float = MISSING
    checkpoint_seconds: float = MISSING

    def check(self, model: Model) -> None:
        """Refuse values that cannot be.

        Parameters
        ----------
        model : Model
            The network that is trained.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("train", self)
        demand(not self.own_projection or self.scope is not Scope.subject, "own_projection",
               "needs one model for all subjects: train.scope=global, not subject")  # fmt: skip
        demand(not self.own_projection or model.projection > 0, "own_projection",
               "needs model.projection=1 or more")  # fmt: skip
        for key in ("epochs", "decays_per_epoch"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        demand(self.validate_every >= 0, "validate_every", "must be 0 (each epoch) or more")
        demand(0 <= self.smoothing < 1, "smoothing", "must be at least 0 and below 1")
        demand(0 < self.decay <= 1, "decay", "must be above 0 and at most 1")
        for key in ("clip", "clip_value"):
            demand(getattr(self, key) >= 0, key, "must be 0 (no clipping) or more")
        for key in ("learning_rate", "projection_rate"):
            demand(getattr(self, key) > 0, key, "must be above 0")
        for key in ("decay_after", "weight_decay", "checkpoint_seconds"):
            demand(getattr(self, key) >= 0, key, "must be 0 or more")


@dataclass(frozen=True)
class LstmOptions:
    """All that the LSTM reads: how series become sequences, the network, and the loop."""

    window: Window
    model: Model
    train: Train
