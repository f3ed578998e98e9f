"""What a detector's features are: the options of the groups ``filter`` and ``stack``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from pipeline.config.demand import demand_of

FilterStart = Enum("FilterStart", ["first", "zero"])


@dataclass
class Filter:
    """The causal filter bank; see `pipeline.features.filter_bank.FilterBank`."""

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

    @property
    def every(self) -> int:
        """Recorded rows to a feature row."""
        return self.subsample * self.decimate

    def check(self, rate: float) -> None:
        """Refuse values that cannot be.

        Parameters
        ----------
        rate : float
            The recordings' samples per second.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("filter", self)
        for key in ("subsample", "decimate"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
        nyquist = rate / self.subsample / 2
        demand(1 <= self.order <= 20, "order", "must be 1 to 20")
        demand(0 <= self.highpass_hz < nyquist, "highpass_hz",
               f"must be 0 (none) or lie between 0 and {nyquist:g} Hz")  # fmt: skip
        bands = [*self.power_bands_hz, *self.covariance_bands_hz]
        demand(len(self.lowpass_hz) + len(bands) > 0, "lowpass_hz",
               "must not be empty while there are no bands either")  # fmt: skip
        demand(all(0 < f < nyquist for f in self.lowpass_hz), "lowpass_hz",
               f"must lie between 0 and {nyquist:g} Hz: half of the filtered rate")  # fmt: skip
        for key in ("power_bands_hz", "covariance_bands_hz"):
            demand(
                all(len(b) == 2 and 0 < b[0] < b[1] < nyquist for b in getattr(self, key)),
                key, f"must be [low, high] pairs within 0 and {nyquist:g} Hz",
            )  # fmt: skip
        for key in ("power_smoothing_hz", "covariance_smoothing_hz"):
            demand(0 < getattr(self, key) < nyquist, key,
                   f"must lie between 0 and {nyquist:g} Hz")  # fmt: skip


@dataclass
class Stack:
    """Recipes whose out-of-fold logits are the features, instead of filtered EEG."""

    members: list[str] | None = None
    overrides: list[str] = MISSING
    folds: int = MISSING
    every: int = MISSING

    @property
    def names(self) -> list[str]:
        """The members; none for a recipe of one level."""
        return list(self.members or [])

    def check(self, train_series: int) -> None:
        """Refuse values that cannot be.

        Parameters
        ----------
        train_series : int
            How many series there are to split into folds.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("stack", self)
        demand(self.every >= 1, "every", "must be 1 or more")
        demand(self.folds >= 2, "folds", "must be 2 or more")
        demand(not self.members or self.folds <= train_series, "folds",
               f"only {train_series} series to split: dataset.train_series")  # fmt: skip
        demand(self.members is None or bool(self.members), "members",
               "a stack needs members; stack=none is for a recipe of one level")  # fmt: skip
        demand(all(member.strip() for member in self.names), "members",
               "each must be a recipe, with overrides after it or none")  # fmt: skip
