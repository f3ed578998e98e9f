"""A stack: the options of the group ``stack``."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from pipeline.config.demand import demand_of


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

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("stack", self)
        demand(self.every >= 1, "every", "must be 1 or more")
        demand(self.folds >= 2, "folds", "must be 2 or more")
        demand(self.members is None or bool(self.members), "members",
               "a stack needs members; stack=none is for a recipe of one level")  # fmt: skip
        demand(all(member.strip() for member in self.names), "members",
               "each must be a recipe, with overrides after it or none")  # fmt: skip
