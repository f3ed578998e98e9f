"""A fitted recipe and the new subject it is adapted to: the options of the group ``adapt``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.config.demand import demand_of
from pipeline.config.live import in_group
from pipeline.errors import ConfigError

STAGE = "adapt"
# What else the stage reads of the configuration: whole groups, or single keys.
READ = (
    "adapt", "dataset", "tracking", "parallel", "data_dir", "output_dir", "device", "workers",
    "seed", "stage", "hydra",
)  # fmt: skip


@dataclass
class Adapt:
    """Which recipe, which subject, and which of his recordings.

    Parameters
    ----------
    model : str or None
        An address in MLflow, or a folder with ``recipe.json``.
    subject : int or str
        The new subject.
    series : list
        His labelled recordings that teach his model.
    """

    model: str | None = None
    subject: Any = None
    series: list[Any] = field(default_factory=list)

    def check(self, stage: str) -> None:
        """Refuse values that cannot be.

        Parameters
        ----------
        stage : str
            The command's; others read nothing here.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        if stage != STAGE:
            return
        demand = demand_of("adapt", self)
        demand(
            self.model not in (None, ""), "model",
            "stage=adapt: name a fitted recipe, e.g. adapt.model=models:/NAME@champion",
        )  # fmt: skip
        demand(self.subject not in (None, ""), "subject",
               "stage=adapt: say who the new subject is, e.g. adapt.subject=13")  # fmt: skip
        demand(type(self.subject) in (int, str), "subject", "must be a number or a name")
        demand(bool(self.series), "series",
               "stage=adapt: name his recordings, e.g. adapt.series=[1,2]")  # fmt: skip
        demand(all(type(each) in (int, str) for each in self.series), "series",
               "must be numbers or names")  # fmt: skip
        demand(len(set(self.series)) == len(self.series), "series", "names one thing twice")

    def refuse_unread(self, stage: str, keys: list[str]) -> None:
        """Refuse keys that somebody set and that are not read.

        Parameters
        ----------
        stage : str
            The command's.
        keys : list of str
            Dotted, or the name of a group.

        Raises
        ------
        ConfigError
            Naming the key.
        """
        for key in keys:
            group = key.partition(".")[0]
            if stage != STAGE:
                if group == "adapt" and group != key:
                    raise ConfigError(f"{key}: is read by stage=adapt only")
            elif group not in READ:
                raise ConfigError(
                    f"{key}: is not read by stage=adapt; the fitted recipe that adapt.model names "
                    "says all of that"
                )


def full_keys(arguments: list[str]) -> list[str]:
    """Write ``adapt.`` before the keys that may leave it out with ``stage=adapt``."""
    if f"stage={STAGE}" not in arguments:
        return arguments
    return in_group(arguments, "adapt", Adapt)
