"""What the options of all kinds of features share.

The files of ``conf/filter`` start from a kind's class, so an option of another kind is refused by
name. `pipeline.features.registry` says which code computes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from pipeline.config.demand import demand_of

SLOWEST = 10  # seconds to a row of features


@dataclass
class Filter:
    """What all kinds share.

    Parameters
    ----------
    kind : str
        The name in `pipeline.features.registry`.
    decimate : int
        Rows to a feature row, of those that are kept.
    subsample : int
        Of the recorded rows, every so many-th is kept before anything else.
    """

    kind: str = MISSING
    decimate: int = MISSING
    subsample: int = MISSING

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
        named = type(self).__dataclass_fields__["kind"].default
        demand(self.kind == named, "kind", f"belongs to other files than those of kind {named}")
        for key in ("subsample", "decimate"):
            demand(getattr(self, key) >= 1, key, "must be 1 or more")
            demand(getattr(self, key) <= SLOWEST * rate, key,
                   f"leaves less than one row in {SLOWEST} s")  # fmt: skip
