"""Where tasks are done: the options of the group ``parallel``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeline.config.demand import demand_of

Engine = Enum("Engine", ["local", "dask"])


@dataclass
class Parallel:
    """Processes of this machine, or Dask's workers; see `pipeline.work.engines`."""

    engine: Engine = Engine.local
    address: str | None = None

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("parallel", self)
        demand(not self.address or "://" in self.address, "address",
               "must be a scheduler's, e.g. tcp://127.0.0.1:8786")  # fmt: skip
        demand(not self.address or self.engine is Engine.dask, "address",
               "only parallel=dask has a scheduler")  # fmt: skip
