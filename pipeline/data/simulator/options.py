"""The options of the simulation and their limits.

The check of the configuration reads the limits here too. This file imports nothing heavy, because
the configuration is checked before anything else is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import ConfigError

MOST_SUBJECTS = 12
MOST_SERIES = 10
# Lowest and highest value of each option of `conf/dataset`; None for no highest.
LIMITS: dict[str, tuple[float, float | None]] = {
    "rate": (50, 5000),
    "simulation.subjects": (1, MOST_SUBJECTS),
    "simulation.series": (1, MOST_SERIES),
    "simulation.trials": (0, 1000),
    "simulation.seed": (0, None),
    "simulation.snr": (0, 100),
    "simulation.artefacts": (0, 100),
}


def refusal(option: str, value: float) -> str:
    """Say what is wrong with the value of an option, if anything is.

    Parameters
    ----------
    option : str
        A key of `LIMITS`.
    value : float
        Its value.

    Returns
    -------
    str
        E.g. ``must be 1 to 12``; empty if the value is allowed.
    """
    low, high = LIMITS[option]
    if low <= value and (high is None or value <= high):
        return ""
    return f"must be {low} to {high}" if high is not None else f"must be {low} or more"


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate.

    Parameters
    ----------
    seed : int
        The same seed gives the same recordings.
    subjects, series : int
        How many subjects, and how many series of each. `simulate_series` does not read them: a
        recording does not depend on how many others there are.
    trials : int
        Trials in a series; 0 for as many as in the real series: 34, or 28 in a mixed series.
    snr : float
        Factor on everything in the signal that depends on the hand. A higher value makes
        detection easier.
    artefacts : float
        Factor on blinks, jumps and movements of cables. A higher value makes detection harder;
        0 leaves them out.

    Raises
    ------
    ConfigError
        If an option lies outside of `LIMITS`.
    """

    seed: int = 0
    subjects: int = MOST_SUBJECTS
    series: int = MOST_SERIES
    trials: int = 0
    snr: float = 1.0
    artefacts: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside of the limits."""
        for name, value in vars(self).items():
            if wrong := refusal(f"simulation.{name}", value):
                raise ConfigError(f"dataset.simulation.{name}={value}: {wrong}")


def check_numbers(subject: int, series: int) -> None:
    """Refuse a subject or a series that does not exist.

    Raises
    ------
    ConfigError
        Names the number and the keys that can hold it.
    """
    for name, value, most, keys in (
        ("subject", subject, MOST_SUBJECTS, "dataset.subjects"),
        ("series", series, MOST_SERIES, "dataset.train_series, valid_series or test_series"),
    ):
        if not 1 <= value <= most:
            raise ConfigError(f"{keys}: {name} {value} cannot be simulated, only 1 to {most}")
