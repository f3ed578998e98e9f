"""One dataclass per method: the options that it reads, of the group ``method``, with their check.

A method's files in ``conf/method`` start from its class here, so an option of another method is
refused by name. `pipeline.detectors.registry` says which code learns with them. The LSTM is the
exception: it reads the groups ``window``, ``model`` and ``train`` (`pipeline.config.options`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from omegaconf import MISSING

from pipeline.errors import ConfigError

Demand = Callable[[bool, str, str], None]
"""Called as ``demand(holds, key, what it must be)``; refuses the key where it does not hold."""


def demand_of(group: str, options: object) -> Demand:
    """Give the `Demand` of one group of the configuration, which names the key and its value.

    Parameters
    ----------
    group : str
        E.g. ``filter``.
    options : object
        Whose attributes are checked.

    Raises
    ------
    ConfigError
        From what is returned, where something does not hold.
    """

    def demand(holds: bool, key: str, what: str) -> None:
        if not holds:
            value: Any = getattr(options, key)
            value = getattr(value, "name", value)
            raise ConfigError(f"{group}.{key}={value}: {what}")

    return demand


@dataclass
class Method:
    """What all methods share.

    Parameters
    ----------
    kind : str
        The method's name in `pipeline.detectors.registry`.
    """

    # The groups that the method reads beside ``method``.
    GROUPS: ClassVar[tuple[str, ...]] = ()

    kind: str = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        named = type(self).__dataclass_fields__["kind"].default
        demand(self.kind == named, "kind", f"belongs to method={named}; choose another method=")


@dataclass
class LstmMethod(Method):
    """An LSTM over sequences of features."""

    GROUPS = ("window", "model", "train")

    kind: str = "lstm"


@dataclass
class TapMethod(Method):
    """What all methods share that predict a row from some rows of its past.

    Parameters
    ----------
    tap_count : int
        Feature rows that are read to predict one, itself included.
    tap_every : int
        How far apart these rows lie.
    fit_every : int
        Only every so many-th feature row is fitted.
    """

    tap_count: int = MISSING
    tap_every: int = MISSING
    fit_every: int = MISSING

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        for key in ("tap_count", "tap_every", "fit_every"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")


@dataclass
class LdaMethod(TapMethod):
    """A linear discriminant for each event.

    Parameters
    ----------
    shrinkage : float
        Share of the covariance that is shrunk to its diagonal.
    """

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


@dataclass
class SemiMarkovMethod(Method):
    """A semi-Markov chain over a trial's events.

    Parameters
    ----------
    tap_count : int
        Rows of the past that predict a row; the chain reads what they cannot predict.
    observed : int
        How many features, the last ones, the responses are looked for in; 0 for all.
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
    """

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

    def check(self, demand: Demand) -> None:
        """Refuse values that cannot be."""
        super().check(demand)
        for key in ("tap_count", "rank", "paces"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        for key in ("rows_after", "rows_before"):
            demand(getattr(self, key) >= 3, key, "must be 3 or more")
        for key in ("observed", "response_smooth", "response_shrinkage", "duration_smooth"):
            demand(getattr(self, key) >= 0, key, "must be 0 or more")
        for key in ("response_ridge", "trust"):
            demand(getattr(self, key) > 0, key, "must be above 0")


def methods() -> dict[str, type[Method]]:
    """List the methods' options, by the method's name: every class here that names its kind."""

    def below(parent: type[Method]) -> list[type[Method]]:
        return [parent, *(each for child in parent.__subclasses__() for each in below(child))]

    named = {str(each.__dataclass_fields__["kind"].default): each for each in below(Method)}
    return {kind: each for kind, each in named.items() if kind != str(MISSING)}


def option_names(method: Method) -> set[str]:
    """Name the options of a method, as ``method.<name>``."""
    return {field.name for field in fields(method)}
