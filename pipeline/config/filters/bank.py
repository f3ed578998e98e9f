"""The causal filter bank's options; see `pipeline.features.filter_bank.FilterBank`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from pipeline.config.demand import demand_of
from pipeline.config.filters.base import Filter

FilterStart = Enum("FilterStart", ["first", "zero"])


@dataclass
class BankFilter(Filter):
    """The causal filter bank; see `pipeline.features.filter_bank.FilterBank`."""

    kind: str = "bank"
    highpass_hz: float = MISSING
    lowpass_hz: list[float] = MISSING
    order: int = MISSING
    power_bands_hz: list[list[float | None]] = MISSING
    power_smoothing_hz: float = MISSING
    covariance_bands_hz: list[list[float]] = MISSING
    covariance_smoothing_hz: float = MISSING
    start: FilterStart = MISSING

    def check(self, rate: float) -> None:
        """Refuse values that cannot be."""
        super().check(rate)
        demand = demand_of("filter", self)
        nyquist = rate / self.subsample / 2
        demand(1 <= self.order <= 20, "order", "must be 1 to 20")
        demand(0 <= self.highpass_hz < nyquist, "highpass_hz",
               f"must be 0 (none) or lie between 0 and {nyquist:g} Hz")  # fmt: skip
        bands = [*self.power_bands_hz, *self.covariance_bands_hz]
        demand(len(self.lowpass_hz) + len(bands) > 0, "lowpass_hz",
               "must not be empty while there are no bands either")  # fmt: skip
        demand(all(0 < f < nyquist for f in self.lowpass_hz), "lowpass_hz",
               f"must lie between 0 and {nyquist:g} Hz: half of the filtered rate")  # fmt: skip
        demand(
            all(len(b) == 2 and 0 < b[0] < b[1] < nyquist for b in self.covariance_bands_hz),
            "covariance_bands_hz", f"must be [low, high] pairs within 0 and {nyquist:g} Hz",
        )  # fmt: skip
        demand(
            all(_is_band(band, nyquist) for band in self.power_bands_hz), "power_bands_hz",
            f"must be [low, high] pairs within 0 and {nyquist:g} Hz; high may be null, for all "
            "that lies above low",
        )  # fmt: skip
        for key in ("power_smoothing_hz", "covariance_smoothing_hz"):
            demand(0 < getattr(self, key) < nyquist, key,
                   f"must lie between 0 and {nyquist:g} Hz")  # fmt: skip


def _is_band(edges: list[float | None], nyquist: float) -> bool:
    """Tell whether these are the edges of a band; the upper one may be open."""
    low, high = edges if len(edges) == 2 else (None, None)
    if low is None:
        return False
    return 0 < low < nyquist if high is None else 0 < low < high < nyquist
