"""How probabilities become onsets: the options of the group ``decisions``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from pipeline.config.demand import demand_of


@dataclass
class Decisions:
    """What is tried, and on what it is chosen; see `pipeline.results.decision_scores.Grid`."""

    enabled: bool | None = None
    folds: int = MISSING
    thresholds: int = MISSING
    dwell_seconds: list[float] = MISSING
    refractory_seconds: list[float] = MISSING
    tolerance_seconds: float = MISSING
    most_false_alarms_per_minute: float | None = None

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("decisions", self)
        demand(self.folds >= 2, "folds", "must be 2 or more")
        demand(self.thresholds >= 1, "thresholds", "must be 1 or more")
        for key in ("dwell_seconds", "refractory_seconds"):
            values = getattr(self, key)
            demand(bool(values), key, "must not be empty")
            demand(all(value >= 0 for value in values), key, "must be 0 or more, each of them")
        demand(self.tolerance_seconds > 0, "tolerance_seconds", "must be more than 0")
        most = self.most_false_alarms_per_minute
        demand(most is None or most >= 0, "most_false_alarms_per_minute",
               "must be 0 or more, or null for no bound")  # fmt: skip
