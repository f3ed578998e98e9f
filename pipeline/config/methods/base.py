"""What the options of all methods share.

A method's files in ``conf/method`` start from its class, so an option of another method is refused
by name. `pipeline.detectors.registry` says which code learns with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import MISSING

from pipeline.config.demand import Demand
from pipeline.data.names import Id


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
    # Whether it can be fitted to a new subject, beginning with what others taught
    # (`pipeline.detectors.adaptation`).
    ADAPTS: ClassVar[bool] = False
    # Of each subject's training series.
    FEWEST_SERIES: ClassVar[int] = 1

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

    def parts(self, subjects: Sequence[Id], series: int) -> dict[str, float]:
        """Name the parts of a fit that do not need one another, so that workers may share them.

        Parameters
        ----------
        subjects : sequence of int or Name
            Who is fitted.
        series : int
            How many series the one with the fewest has.

        Returns
        -------
        dict of str to float
            For each name what it takes, beside the others; the longest first. None by default.
        """
        return {}

    def joined(self, **groups: Any) -> Any:
        """Give what the detector reads: these options, with those of the groups in `GROUPS`."""
        return self


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
