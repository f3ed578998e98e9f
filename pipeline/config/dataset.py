"""What the recordings are: the options of the group ``dataset``, with their check."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from pipeline.config.demand import PLAIN_NAME, Demand, demand_of, is_plain_name
from pipeline.data.names import LONGEST
from pipeline.data.simulator.options import refusal
from pipeline.data.sources import NUMBERED, SOURCES

COLUMN = "must be names without commas and quotes, and not id or mean, which tables have already"


def _is_column(name: str) -> bool:
    """Tell whether a name may head a column of a CSV file beside those that are there."""
    plain = name.isprintable() and name == name.strip() != "" and not set(name) & set(",\"'")
    return plain and name not in ("id", "mean")


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
    source: str = MISSING
    raw: str | None = None
    channels: list[str] = MISSING
    events: list[str] = MISSING
    rate: float = MISSING
    unit_volts: float = MISSING
    montage: str = MISSING
    subjects: list[Any] = field(default_factory=list)
    train_series: list[Any] = MISSING
    valid_series: list[Any] = MISSING
    test_series: list[Any] = MISSING
    simulation: Simulation = field(default_factory=Simulation)

    # Whether predictions are written as the submission that the competition asks for.
    SUBMISSION: ClassVar[bool] = True
    # Keys that a source's files answer where they are left empty.
    MAY_BE_EMPTY: ClassVar[tuple[str, ...]] = ()

    @property
    def relative(self) -> bool:
        """Whether each channel counts from its first sample."""
        return False

    @property
    def source_options(self) -> dict[str, Any]:
        """What this source's ``find_series`` is told beside folder, subjects and series."""
        return {}

    @property
    def labelled(self) -> list[Any]:
        """The series that need labels: those to train and to validate on."""
        return [*self.train_series, *self.valid_series]

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("dataset", self)
        # It names a folder below data_dir and output_dir, and must not lead out of them.
        demand(is_plain_name(self.name), "name", PLAIN_NAME)
        demand(self.source in SOURCES, "source", f"choose from {', '.join(SOURCES)}")
        self.check_description(demand)
        splits = ("train_series", "valid_series", "test_series")
        for key in ("subjects", *splits):
            self._check_names(demand, key)
        for key in ("channels", "events", "subjects", *splits):
            values = list(getattr(self, key))
            empty = key == "subjects" or key in self.MAY_BE_EMPTY
            demand(len(values) > 0 or empty, key, "must not be empty")
            demand(len(set(values)) == len(values), key, "names one thing twice")
        # They are columns of tables; an event is part of a metric's name, too.
        demand(all(map(_is_column, self.channels)), "channels", COLUMN)
        measured = all(re.fullmatch(r"\w[\w.: /-]*", e) and ".." not in e for e in self.events)
        demand(measured and all(map(_is_column, self.events)), "events",
               f"{COLUMN}, of letters, digits and _ . : / -")  # fmt: skip
        seen = set(self.train_series)
        for key in ("valid_series", "test_series"):
            both = seen & set(getattr(self, key))
            demand(not both, key, f"series {sorted(both)} also stand in an earlier split")
            seen |= set(getattr(self, key))
        if self.source == "simulated":
            self._check_simulation(demand, max(seen))
        elif self.source not in NUMBERED:
            unread = f"is for dataset=simulated; source={self.source} reads nothing of it"
            demand(self.simulation == Simulation(), "simulation", unread)

    def check_complete(self) -> None:
        """Refuse what may be left open where files are only looked at; here nothing may."""

    def check_description(self, demand: Demand) -> None:
        """Refuse a rate or a unit that cannot be."""
        demand(self.rate > 0, "rate", "must be above 0 Hz")
        demand(self.unit_volts > 0, "unit_volts", "must be above 0 V")

    def _check_names(self, demand: Demand, key: str) -> None:
        """Refuse what is no name of a subject or a series, for this source."""
        values = list(getattr(self, key))
        numbers = all(type(value) is int and value >= 0 for value in values)
        if self.source in NUMBERED:
            demand(numbers, key, "must be whole numbers, as in the files' names")
        named = all(
            type(value) in (int, str) and 0 < len(str(value)) <= LONGEST for value in values
        )
        demand(named, key, f"must be names of at most {LONGEST} characters, or numbers")

    def _check_simulation(self, demand: Demand, last_series: int) -> None:
        sim = self.simulation
        within = demand_of("dataset.simulation", sim)
        for key, value in vars(sim).items():
            wrong = refusal(f"simulation.{key}", value)
            within(not wrong, key, f"{wrong} for simulated recordings")
        wrong = refusal("rate", self.rate)
        demand(not wrong, "rate", f"{wrong} for simulated recordings")
        within(sim.series >= last_series, "series", f"the splits need series up to {last_series}")
        for key in ("train_series", "valid_series", "test_series"):
            demand(min(getattr(self, key)) >= 1, key, "series count from 1")
        beyond = [s for s in self.subjects if not 1 <= s <= sim.subjects]
        demand(not beyond, "subjects", f"must be 1 to dataset.simulation.subjects, {sim.subjects}")
