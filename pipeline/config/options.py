"""The whole configuration: one dataclass per group of ``conf/``, and the checks across groups.

Hydra composes the YAML files onto these classes (`pipeline.config.compose`), so a misspelt key or a
value of the wrong type is refused before anything runs. `check` refuses what the types cannot:
values that are out of range, and contradictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from omegaconf import MISSING

from pipeline.config.adapt import Adapt
from pipeline.config.dataset import Dataset
from pipeline.config.decisions import Decisions
from pipeline.config.demand import PLAIN_NAME, demand_of, is_plain_name
from pipeline.config.filters.base import Filter
from pipeline.config.kinds import option_names
from pipeline.config.live import Live
from pipeline.config.lstm import Model, Scaler, Train, Window
from pipeline.config.methods.base import Method
from pipeline.config.methods.lstm import LstmMethod
from pipeline.config.methods.lstm_correction import LstmCorrectionMethod
from pipeline.config.parallel import Parallel
from pipeline.config.protocol import Protocol
from pipeline.config.stack import Stack
from pipeline.errors import ConfigError

Stage = Enum(
    "Stage",
    [
        "simulate", "ingest", "bids", "filter", "train", "evaluate", "submit", "check", "adapt",
        "live", "replay",
    ],
)  # fmt: skip

# Of the group ``train``: what every method reads.
EVERY_METHOD_READS = ("scope", "refit")
MOST_THREADS = 1024  # where a system cannot start so many, the whole process ends
MOST_WORKERS = 1024  # processes of one machine
LARGEST_SEED = 2**63 - 1  # a member of a stack has the sum of two; PyTorch takes 64 bits


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
    explain: bool = False
    seed: int = 0
    threads: int = 1
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
    protocol: Protocol = field(default_factory=Protocol)
    stack: Stack = field(default_factory=Stack)
    decisions: Decisions = field(default_factory=Decisions)
    live: Live = field(default_factory=Live)
    adapt: Adapt = field(default_factory=Adapt)
    tracking: Tracking = field(default_factory=Tracking)
    parallel: Parallel = field(default_factory=Parallel)

    @property
    def detector_options(self) -> Any:
        """What the detector reads: the group ``method``, and the other groups that it names."""
        return self.method.joined(**{name: getattr(self, name) for name in self.method.GROUPS})


def plain(node: Any) -> Any:
    """Turn a part of the configuration into plain lists, dicts, numbers and names."""
    if is_dataclass(node):
        return {each.name: plain(getattr(node, each.name)) for each in fields(node)}
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node.name if isinstance(node, Enum) else node


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
    for key, value in _values(plain(config)):
        if value == MISSING:
            raise ConfigError(f"{key} has no value; set it on the command line or in conf/")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value}: must be a finite number")

    def demand(holds: bool, key: str, what: str) -> None:
        if not holds:
            value = getattr(config, key)
            raise ConfigError(f"{key}={getattr(value, 'name', value)}: {what}")

    demand(0 <= config.workers <= MOST_WORKERS, "workers",
           f"must be 0 (all cores) or more, and at most {MOST_WORKERS}")  # fmt: skip
    demand(1 <= config.threads <= MOST_THREADS, "threads", f"must be 1 to {MOST_THREADS}")
    demand(0 <= config.seed <= LARGEST_SEED, "seed", "must be 0 or more, and below 2**63")
    demand(is_plain_name(config.recipe), "recipe", PLAIN_NAME)
    for key in ("data_dir", "output_dir"):
        demand(bool(getattr(config, key).strip()), key, "must name a folder")
    register = config.tracking.register
    demand_of("tracking", config.tracking)(
        register is None or (bool(register.strip()) and not set(register) & set("/:")),
        "register", "must be a model's name, without / and :",
    )  # fmt: skip
    config.dataset.check()
    if config.dataset.rate:  # else the files say it, and it is checked then
        config.filter.check(config.dataset.rate)
    config.method.check(demand_of("method", config.method))
    config.window.check()
    config.model.check()
    config.train.check(config.model)
    config.stack.check()
    config.decisions.check()
    demand_of("method", config.method)(
        bool(config.stack.members) or not isinstance(config.method, LstmCorrectionMethod),
        "kind", "is for a stack, whose first member it corrects; set stack.members",
    )  # fmt: skip
    if "train_series" not in config.dataset.MAY_BE_EMPTY:  # else the files say how many there are
        check_folds(config)
    _check_new_subjects(config)
    config.live.check(config.stage.name)
    config.adapt.check(config.stage.name)
    config.parallel.check()
    demand_of("train", config.train)(
        "train" in config.method.GROUPS or config.train.scaler is Scaler.subject,
        "scaler", f"must be subject with method.kind={config.method.kind}",
    )  # fmt: skip
    demand(config.stage is not Stage.check or bool(config.submission), "submission",
           "stage=check needs the file to check: submission=FILE")  # fmt: skip
    demand(config.stage is not Stage.check or config.dataset.SUBMISSION, "stage",
           "stage=check is for a submission, and these data have none")  # fmt: skip
    demand(config.stage is not Stage.simulate or config.dataset.source == "simulated",
           "stage", "stage=simulate needs dataset=simulated")  # fmt: skip


def _check_new_subjects(config: Config) -> None:
    """Refuse a protocol that the recipe cannot follow."""
    protocol = config.protocol
    protocol.check(config.method, config.train, bool(config.stack.members))
    demand_of("decisions", config.decisions)(
        not (protocol.leaves_out and config.decisions.enabled), "enabled",
        f"needs protocol=within_subject, not {protocol.kind.name}: thresholds are chosen on a "
        "subject's own training series",
    )  # fmt: skip
    if protocol.leaves_out and config.explain:
        raise ConfigError(
            f"explain={config.explain}: needs protocol=within_subject, not {protocol.kind.name}: "
            "it shows models that the subject's own series teach"
        )


def check_folds(config: Config) -> None:
    """Refuse more folds than there are series to train on, and too few series for the method.

    Parameters
    ----------
    config : Config
        Its splits are names of series, without patterns.

    Raises
    ------
    ConfigError
        Naming the key, its value and what it must be.
    """
    there = len(config.dataset.train_series)
    demand_of("dataset", config.dataset)(
        not there or there >= config.method.FEWEST_SERIES, "train_series",
        f"method.kind={config.method.kind} needs {config.method.FEWEST_SERIES} or more",
    )  # fmt: skip
    groups = {"stack": bool(config.stack.members), "decisions": bool(config.decisions.enabled)}
    for name, wanted in groups.items():
        group = getattr(config, name)
        demand_of(name, group)(not wanted or group.folds <= there, "folds",
                               f"only {there} series to split: dataset.train_series")  # fmt: skip
    left = left_by_a_fold(there, config.decisions.folds)
    demand_of("decisions", config.decisions)(
        not config.decisions.enabled or left >= config.method.FEWEST_SERIES, "folds",
        f"a fit without a fold has {left} training series, and method.kind={config.method.kind} "
        f"needs {config.method.FEWEST_SERIES}; name more in dataset.train_series, or set "
        "decisions.enabled=false",
    )  # fmt: skip


def left_by_a_fold(series: int, folds: int) -> int:
    """Count the series that are left when the largest of so many folds is left out."""
    return series - math.ceil(series / min(folds, series)) if series else 0


def _values(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Give every single value with its dotted key; those of a list have the list's."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _values(value, key)
    else:
        yield key, tree


def is_read(config: Config, key: str) -> bool:
    """Tell whether a recipe's method reads a key, e.g. ``model.hidden``.

    Parameters
    ----------
    config : Config
        Of the recipe.
    key : str
        Dotted, or the name of a group.
    """
    group, _, name = key.partition(".")
    if group == "stack":
        return name in ("", "members") or bool(config.stack.members)
    if group == "method":
        return not name or name in option_names(config.method)
    if group not in LstmMethod.GROUPS or group in config.method.GROUPS or not name:
        return True
    return group == "train" and name in EVERY_METHOD_READS


def refuse_unread(config: Config, keys: list[str]) -> None:
    """Refuse keys that somebody set and the recipe's method does not read.

    Parameters
    ----------
    config : Config
        Of the recipe.
    keys : list of str
        Dotted.

    Raises
    ------
    ConfigError
        Naming the key.
    """
    config.live.refuse_unread(config.stage.name, keys)
    config.adapt.refuse_unread(config.stage.name, keys)
    for key in keys:
        if not is_read(config, key):
            group = key.partition(".")[0]
            if group == "stack":
                raise ConfigError(f"{key}: is read by a stack only; set stack.members, too")
            raise ConfigError(
                f"{key}: is not read by method.kind={config.method.kind}; the group {group} is "
                "for the LSTM (of group train, others read scope and refit)"
            )
