"""A fitted recipe while the signal arrives: the options of the group ``live``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from omegaconf import MISSING

from pipeline.config.demand import demand_of
from pipeline.errors import ConfigError

Speed = Enum("Speed", ["real", "max"])
Out = Enum("Out", ["view", "lsl"])
Shown = Enum("Shown", ["terminal", "web", "none"])

LONGEST = 3600.0  # s of signal that are held at once, which takes memory
AT_MOST = f"at most {LONGEST:g} s"

STAGES = ("live", "replay")
# What else these stages read of the configuration: whole groups, or single keys.
READ = {"live": ("tracking.uri",), "replay": ("tracking.uri", "dataset", "data_dir")}
DECIDED = ("threshold", "dwell_seconds", "refractory_seconds")
# The options that a stage reads; what is sent to other programs needs no model and shows nothing.
LIVE = (
    "model", "subject", "stream", "view", "port", "unit_volts", *DECIDED, "bridge_seconds",
    "chunk_seconds", "buffer_seconds", "wait_seconds",
)  # fmt: skip
REPLAY = ("model", "subject", "series", "speed", "out", "view", "port", *DECIDED, "chunk_seconds")
SENT = ("subject", "series", "stream", "out", "chunk_seconds")


@dataclass
class Live:
    """What is applied to which signal, and how gaps are treated."""

    model: str | None = None
    subject: Any = None
    stream: str | None = None
    series: Any = None
    speed: Speed = Speed.real
    out: Out = Out.view
    view: Shown = Shown.terminal
    port: int = MISSING
    unit_volts: float | None = None
    threshold: float | None = None
    dwell_seconds: float = MISSING
    refractory_seconds: float = MISSING
    bridge_seconds: float = MISSING
    chunk_seconds: float = MISSING
    buffer_seconds: float = MISSING
    wait_seconds: float = MISSING

    def check(self, stage: str) -> None:
        """Refuse values that cannot be.

        Parameters
        ----------
        stage : str
            The command's; others than live and replay read nothing here.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        if stage not in STAGES:
            return
        demand = demand_of("live", self)
        read = self.read(stage)
        needed = {
            "model": "name a fitted recipe, e.g. live.model=models:/NAME@champion",
            "subject": "say whose EEG it is, e.g. live.subject=3",
            "stream": "name the stream, e.g. live.stream=NAME",
            "series": "say which recording, e.g. live.series=9",
        }
        for key, what in needed.items():
            value = getattr(self, key)
            chosen = stage == "live" or key != "stream"  # the recording's name does as well
            demand(
                key not in read or not chosen or value not in (None, ""),
                key,
                f"stage={stage}: {what}",
            )
        for key in ("subject", "series"):
            value = getattr(self, key)
            demand(value is None or type(value) in (int, str), key, "must be a number or a name")
        demand(self.wait_seconds > 0, "wait_seconds", "must be above 0 s")
        for key in ("chunk_seconds", "buffer_seconds"):
            demand(0 < getattr(self, key) <= LONGEST, key, f"must be above 0 s, and {AT_MOST}")
        for key in ("bridge_seconds", "dwell_seconds", "refractory_seconds"):
            demand(0 <= getattr(self, key) <= LONGEST, key, f"must be 0 s or more, and {AT_MOST}")
        demand(0 <= self.port < 65536, "port", "must be a port, 0 to 65535")
        if "buffer_seconds" in read:
            demand(self.buffer_seconds > self.chunk_seconds, "buffer_seconds",
                   "must be above live.chunk_seconds")  # fmt: skip
        demand(self.buffer_seconds > self.chunk_seconds, "chunk_seconds",
               f"must be below {self.buffer_seconds:g} s")  # fmt: skip
        demand(self.threshold is None or 0 < self.threshold < 1, "threshold",
               "must be a probability between 0 and 1")  # fmt: skip
        demand(self.unit_volts is None or 0 < self.unit_volts <= 1, "unit_volts",
               "must be above 0 V, and at most 1 V")  # fmt: skip

    def read(self, stage: str) -> tuple[str, ...]:
        """Name the options that a stage reads."""
        if stage == "live":
            return LIVE
        return SENT if self.out is Out.lsl else REPLAY

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
            group, _, name = key.partition(".")
            if group in ("stage", "hydra"):
                continue
            if stage not in STAGES:
                if group == "live" and name:
                    raise ConfigError(f"{key}: is read by stage=live and stage=replay only")
            elif group == "live":
                if name and name not in self.read(stage):
                    out = f" out={self.out.name}" if stage == "replay" else ""
                    raise ConfigError(f"{key}: is not read by stage={stage}{out}")
            elif not is_read(stage, key):
                raise ConfigError(
                    f"{key}: is not read by stage={stage}; the fitted recipe that live.model "
                    "names says all of that"
                )


def is_read(stage: str, key: str) -> bool:
    """Tell whether a stage reads a key outside of the group ``live``.

    Parameters
    ----------
    stage : str
        One of `STAGES`.
    key : str
        Dotted, or the name of a group.
    """
    return not {key, key.partition(".")[0]}.isdisjoint(READ[stage])


def full_keys(arguments: list[str]) -> list[str]:
    """Write ``live.`` before the keys of a command line that may leave it out.

    With ``stage=live`` and ``stage=replay``, ``model=models:/NAME@champion`` is ``live.model=...``,
    for these stages read no group of models.

    Parameters
    ----------
    arguments : list of str
        As the user wrote them.

    Returns
    -------
    list of str
        The same ones for any other stage.
    """
    if not {f"stage={stage}" for stage in STAGES} & set(arguments):
        return arguments
    return in_group(arguments, "live", Live)


def in_group(arguments: list[str], group: str, options: type) -> list[str]:
    """Write a group before those keys of a command line that name one of its options."""
    names = {each.name for each in fields(options)}
    return [
        f"{group}.{each}" if each.partition("=")[1] and each.partition("=")[0] in names else each
        for each in arguments
    ]
