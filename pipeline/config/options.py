"""The typed configuration: one dataclass per group of ``conf/``, and the checks across groups.

Hydra composes the YAML files onto these classes, so a misspelt key or a value of the wrong type
is refused before anything runs. `check` refuses what the types cannot: contradictions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING, OmegaConf

from pipeline.data.simulator.options import refusal
from pipeline.errors import ConfigError

# Functional Enum calls, because `global` cannot be written as a class attribute.
Scope = Enum("Scope", ["subject", "global"])
Stage = Enum(
    "Stage", ["simulate", "ingest", "filter", "window", "train", "evaluate", "submit", "check"]
)
Kind = Enum("Kind", ["lstm", "lda", "lr", "gru", "cnn", "semi_markov"])
Source = Enum("Source", ["kaggle", "simulated"])
Cell = Enum("Cell", ["standard", "vanilla", "peephole", "coupled", "fused"])
FilterStart = Enum("FilterStart", ["first", "zero"])
Optimiser = Enum("Optimiser", ["adamw", "rmsprop"])
Schedule = Enum("Schedule", ["constant", "onecycle", "decay"])
Scaler = Enum("Scaler", ["subject", "shared", "shared_labelled"])
Select = Enum("Select", ["auc", "loss", "last"])


@dataclass
class Simulation:
    """What the simulator draws; read only where ``dataset.source`` is ``simulated``."""

    subjects: int = 2
    series: int = 10
    trials: int = 30
    seed: int = 0
    snr: float = 1.0
    artefacts: float = 1.0


@dataclass
class Dataset:
    """What the recordings are: the only place that knows channels, events, rate and splits."""

    name: str = MISSING
    source: Source = MISSING
    raw: str | None = None
    channels: list[str] = MISSING
    events: list[str] = MISSING
    rate: float = MISSING
    unit_volts: float = MISSING
    montage: str = MISSING
    subjects: list[int] = field(default_factory=list)
    train_series: list[int] = MISSING
    valid_series: list[int] = MISSING
    test_series: list[int] = MISSING
    simulation: Simulation = field(default_factory=Simulation)


@dataclass
class Filter:
    """The causal feature path."""

    highpass_hz: float = MISSING
    lowpass_hz: list[float] = MISSING
    order: int = MISSING
    power_bands_hz: list[list[float]] = MISSING
    power_smoothing_hz: float = MISSING
    covariance_bands_hz: list[list[float]] = MISSING
    covariance_smoothing_hz: float = MISSING
    decimate: int = MISSING
    subsample: int = MISSING
    start: FilterStart = MISSING


@dataclass
class Method:
    """Which detector learns: the LSTM, or one that has no state, and how that is fitted."""

    kind: Kind = MISSING
    tap_count: int = MISSING
    tap_every: int = MISSING
    fit_every: int = MISSING
    shrinkage: float = MISSING
    penalty_c: float = MISSING
    iterations: int = MISSING
    units: int = MISSING
    filters: int = MISSING
    input_dropout: float = MISSING
    dropout: float = MISSING
    batch: int = MISSING
    updates: int = MISSING
    learning_rate: float = MISSING
    momentum: float = MISSING
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


@dataclass
class Window:
    """How feature series become sequences for truncated back-propagation through time."""

    length: int = MISSING
    batch: int = MISSING
    stride: int = MISSING
    streams: int = MISSING
    burn_in: int = MISSING
    join: bool = MISSING


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


@dataclass
class Train:
    """The loop."""

    scope: Scope = MISSING
    scaler: Scaler = MISSING
    own_projection: bool = MISSING
    whiten: bool = MISSING
    prior_bias: bool = MISSING
    epochs: int = MISSING
    validate_every: int = MISSING
    select: Select = MISSING
    patience: int = MISSING
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


@dataclass
class Stack:
    """Recipes whose out-of-fold logits are the features, instead of filtered EEG."""

    members: list[str] = MISSING
    overrides: list[str] = MISSING
    folds: int = MISSING
    every: int = MISSING


@dataclass
class Tracking:
    """What MLflow is told."""

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None
    system_metrics: bool = True
    register: str | None = None


@dataclass
class Config:
    """The whole configuration."""

    recipe: str = MISSING
    stage: Stage = Stage.submit
    submission: str | None = None
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    data_dir: str = "data"
    output_dir: str = "outputs"
    dataset: Dataset = field(default_factory=Dataset)
    filter: Filter = field(default_factory=Filter)
    method: Method = field(default_factory=Method)
    window: Window = field(default_factory=Window)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    stack: Stack = field(default_factory=Stack)
    tracking: Tracking = field(default_factory=Tracking)


def plain(node: Any) -> Any:
    """Turn a part of the configuration into plain lists, dicts, numbers and names."""
    container = OmegaConf.to_container(OmegaConf.structured(node), resolve=True, enum_to_str=True)
    return container


def check(config: Config) -> None:
    """Refuse a configuration that contradicts itself.

    Parameters
    ----------
    config : Config
        A composed configuration, every value of its right type.

    Raises
    ------
    ConfigError
        Naming the key, its value and what it must be.
    """
    missing = sorted(OmegaConf.missing_keys(OmegaConf.structured(config)))
    if missing:
        raise ConfigError(f"{missing[0]} has no value; set it on the command line or in conf/")

    def demand(holds: bool, key: str, what: str) -> None:
        if not holds:
            value = OmegaConf.select(OmegaConf.structured(config), key)
            raise ConfigError(f"{key}={value}: {what}")

    data, bank, window, model, train = (
        config.dataset, config.filter, config.window, config.model, config.train
    )  # fmt: skip
    demand(config.workers >= 0, "workers", "must be 0 (all cores) or more")
    demand(config.seed >= 0, "seed", "must be 0 or more")
    demand(bool(config.recipe) and "/" not in config.recipe, "recipe", "must be a plain name")
    demand(bool(data.name) and "/" not in data.name, "dataset.name", "must be a plain folder name")
    demand(data.rate > 0, "dataset.rate", "must be above 0 Hz")
    demand(data.unit_volts > 0, "dataset.unit_volts", "must be above 0 V")
    for key in ("channels", "events", "train_series", "valid_series", "test_series"):
        values = list(getattr(data, key))
        demand(len(values) > 0, f"dataset.{key}", "must not be empty")
        demand(len(set(values)) == len(values), f"dataset.{key}", "names one thing twice")
    seen = set(data.train_series)
    for key in ("valid_series", "test_series"):
        both = seen & set(getattr(data, key))
        demand(not both, f"dataset.{key}", f"series {sorted(both)} also stand in an earlier split")
        seen |= set(getattr(data, key))
    if data.source is Source.simulated:
        sim = data.simulation
        drawn = {"rate": data.rate} | {f"simulation.{k}": v for k, v in vars(sim).items()}
        for option, value in drawn.items():
            wrong = refusal(option, value)
            demand(not wrong, f"dataset.{option}", f"{wrong} for simulated recordings")
        demand(
            sim.series >= max(seen), "dataset.simulation.series",
            f"the splits need series up to {max(seen)}",
        )  # fmt: skip
        for key in ("train_series", "valid_series", "test_series"):
            demand(min(getattr(data, key)) >= 1, f"dataset.{key}", "series count from 1")
        beyond = [s for s in data.subjects if not 1 <= s <= sim.subjects]
        demand(
            not beyond, "dataset.subjects",
            f"must be 1 to dataset.simulation.subjects, {sim.subjects}",
        )  # fmt: skip

    demand(bank.subsample >= 1, "filter.subsample", "must be 1 or more")
    nyquist = data.rate / bank.subsample / 2
    demand(0 <= bank.highpass_hz < nyquist, "filter.highpass_hz",
           f"must be 0 (none) or lie between 0 and {nyquist:g} Hz")  # fmt: skip
    bands = [*bank.power_bands_hz, *bank.covariance_bands_hz]
    demand(len(bank.lowpass_hz) + len(bands) > 0, "filter.lowpass_hz",
           "must not be empty while there are no bands either")  # fmt: skip
    demand(all(0 < f < nyquist for f in bank.lowpass_hz), "filter.lowpass_hz",
           f"must lie between 0 and half of the rate that is filtered, {nyquist:g} Hz")  # fmt: skip
    for key in ("power_bands_hz", "covariance_bands_hz"):
        demand(
            all(len(b) == 2 and 0 < b[0] < b[1] < nyquist for b in getattr(bank, key)),
            f"filter.{key}", f"must be [low, high] pairs within 0 and {nyquist:g} Hz",
        )  # fmt: skip
    for key in ("power_smoothing_hz", "covariance_smoothing_hz"):
        demand(0 < getattr(bank, key) < nyquist, f"filter.{key}",
               f"must lie between 0 and {nyquist:g} Hz")  # fmt: skip
    demand(bank.order >= 1, "filter.order", "must be 1 or more")
    demand(bank.decimate >= 1, "filter.decimate", "must be 1 or more")

    method = config.method
    for key in ("tap_count", "tap_every", "fit_every", "iterations", "units", "filters", "batch",
                "updates", "rank", "paces"):  # fmt: skip
        demand(getattr(method, key) >= 1, f"method.{key}", "must be 1 or more")
    for key in ("rows_after", "rows_before"):
        demand(getattr(method, key) >= 3, f"method.{key}", "must be 3 or more")
    for key in ("observed", "response_smooth", "response_shrinkage", "duration_smooth"):
        demand(getattr(method, key) >= 0, f"method.{key}", "must be 0 or more")
    demand(0 <= method.shrinkage <= 1, "method.shrinkage", "must be 0 to 1")
    for key in ("penalty_c", "learning_rate", "response_ridge", "trust"):
        demand(getattr(method, key) > 0, f"method.{key}", "must be above 0")
    demand(0 < method.momentum < 1, "method.momentum", "must be above 0 and below 1")
    for key in ("dropout", "input_dropout"):
        demand(0 <= getattr(method, key) < 1, f"method.{key}", "must be at least 0 and below 1")
    demand(method.kind is Kind.lstm or train.scaler is Scaler.subject, "train.scaler",
           f"must be subject with method.kind={method.kind.name}")  # fmt: skip

    for key in ("length", "batch", "stride"):
        demand(getattr(window, key) >= 1, f"window.{key}", "must be 1 or more")
    demand(window.streams >= 0, "window.streams", "must be 0 (no carried state) or more")
    demand(window.burn_in >= 0, "window.burn_in", "must be 0 or more")
    demand(window.streams > 0 or window.burn_in < window.length, "window.burn_in",
           f"must be below window.length={window.length} when no state is carried")  # fmt: skip
    for key in ("stride", "streams"):
        demand(not window.join or getattr(window, key) == 1, f"window.{key}",
               "must be 1 with window.join=true: a lane is one joined stream")  # fmt: skip
    demand(not window.join or window.burn_in == 0, "window.burn_in",
           "must be 0 with window.join=true: the state is never empty")  # fmt: skip

    demand(model.hidden >= 1, "model.hidden", "must be 1 or more")
    demand(model.layers >= 1, "model.layers", "must be 1 or more")
    demand(model.projection >= 0, "model.projection", "must be 0 (none) or more")
    demand(model.networks >= 1, "model.networks", "must be 1 or more")
    demand(model.kernel == 0 or model.kernel >= 2, "model.kernel", "must be 0 (none), or 2 or more")
    demand(not train.own_projection or train.scope is not Scope.subject, "train.own_projection",
           "is for one model of all subjects (train.scope=global)")  # fmt: skip
    demand(not train.own_projection or model.projection > 0, "model.projection",
           "must be 1 or more with train.own_projection")  # fmt: skip
    for key in ("dropout", "input_dropout"):
        demand(0 <= getattr(model, key) < 1, f"model.{key}", "must be at least 0 and below 1")
    demand(model.init_range is None or model.init_range > 0, "model.init_range", "must be above 0")
    demand(
        model.forget_bias is None or model.cell is not Cell.vanilla,
        "model.forget_bias", "model.cell=vanilla has no forget gate; leave it null",
    )  # fmt: skip

    demand(train.epochs >= 1, "train.epochs", "must be 1 or more")
    demand(train.validate_every >= 0, "train.validate_every", "must be 0 (each epoch) or more")
    demand(0 <= train.smoothing < 1, "train.smoothing", "must be at least 0 and below 1")
    demand(0 < train.decay <= 1, "train.decay", "must be above 0 and at most 1")
    demand(train.decay_after >= 0, "train.decay_after", "must be 0 or more")
    demand(train.decays_per_epoch >= 1, "train.decays_per_epoch", "must be 1 or more")
    demand(train.clip_value >= 0, "train.clip_value", "must be 0 (no clipping) or more")
    demand(train.patience >= 1, "train.patience", "must be 1 or more")
    demand(train.learning_rate > 0, "train.learning_rate", "must be above 0")
    demand(train.projection_rate > 0, "train.projection_rate", "must be above 0")
    demand(train.weight_decay >= 0, "train.weight_decay", "must be 0 or more")
    demand(train.clip >= 0, "train.clip", "must be 0 (no clipping) or more")
    demand(train.checkpoint_seconds >= 0, "train.checkpoint_seconds", "must be 0 or more")
    stack = config.stack
    demand(stack.every >= 1, "stack.every", "must be 1 or more")
    demand(stack.folds >= 2, "stack.folds", "must be 2 or more")
    demand(not stack.members or stack.folds <= len(data.train_series), "stack.folds",
           f"only {len(data.train_series)} series to split: dataset.train_series")  # fmt: skip
    demand(all(member.strip() for member in stack.members), "stack.members",
           "each must be a recipe, with overrides after it or none")  # fmt: skip
    demand(config.stage is not Stage.check or bool(config.submission), "submission",
           "stage=check needs the file to check: submission=FILE")  # fmt: skip
    demand(config.stage is not Stage.simulate or data.source is Source.simulated, "stage",
           "stage=simulate needs dataset=simulated")  # fmt: skip
