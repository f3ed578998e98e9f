"""The plan of a series: when each event of each trial takes place.

The constants are fitted to the "delays", see `pipeline.data.simulator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.simulator.draws import Part, Trait, generator, rank
from pipeline.data.simulator.options import SimulationConfig, check_numbers
from pipeline.errors import ConfigError

# The events of a trial in their order. The delays below and the responses refer to these names.
TRIAL_EVENTS = (
    "HandStart", "FirstDigitTouch", "BothStartLoadPhase", "LiftOff", "Replace", "BothReleased",
)  # fmt: skip

TRIALS = {"short": 34, "long": 34, "mixed": 28}
# Types of series 1-6, by subject; series 7-10 are short. Subjects take these five orders in turn,
# as in the real data set.
SERIES_TYPES = (
    "short long mixed short mixed long",
    "mixed long short long short mixed",
    "short mixed long mixed long short",
    "long mixed short mixed short long",
    "mixed short long short long mixed",
)
FIRST_START = (2.28, 0.25, 0.45)  # s: earliest, median and log-SD of what is added to it
LATEST_FIRST_START = 6.0  # s
TAIL_SECONDS = 2.5  # from the last event to the end of the recording
# Rest from BothReleased to the next HandStart: median in s and log-SD within a series
REST = {"short": (2.99, 0.20), "long": (10.07, 0.115), "mixed": (10.33, 0.115)}
REST_SUBJECT_LOG_SD = 0.06
# Delay from the event before: median in s, log-SD between subjects, between series, between trials
DELAYS = {
    "FirstDigitTouch": (0.985, 0.22, 0.08, 0.165),
    "BothStartLoadPhase": (0.100, 0.36, 0.27, 0.56),
    "LiftOff": (0.300, 0.36, 0.12, 0.50),
    "Replace": (3.220, 0.056, 0.033, 0.050),
}
# A slow subject is slow in everything: correlation of a delay's subject term with slowness.
SLOWNESS = {"FirstDigitTouch": 1.0, "BothStartLoadPhase": 0.6, "LiftOff": 0.75, "Replace": 0.75}
DELAY_TAIL = 5.0  # degrees of freedom of Student's t of the trial term
# Replace to BothReleased is nearly normal, not log-normal, with a smallest value:
# mean, SD between subjects, between series, between trials, in s
RELEASE = (0.228, 0.045, 0.035, 0.120)
RELEASE_LEAST = 0.016  # s
LATE_LOAD_SHARE = 0.0067  # trials whose BothStartLoadPhase is marked after LiftOff: 21 of 3,120
LATE_LOAD = (0.15, 1.2)  # by how much: median in s, log-SD
LOST_LOAD_SHARE = 0.0016  # trials whose BothStartLoadPhase is not marked at all: 5 of 3,120


@dataclass(frozen=True)
class SimulatedTrials:
    """The plan of a series.

    Parameters
    ----------
    kind : str
        Type of the series: short, long or mixed.
    centres : ndarray, shape (trials, 6)
        Times of the events' centres in s, columns as in `TRIAL_EVENTS`; nan where an event is not
        marked.
    seconds : float
        Length of the recording.
    """

    kind: str
    centres: NDArray[np.float64]
    seconds: float


def series_type(subject: int, series: int) -> str:
    """Type of a series: ``short``, ``long`` (longer rests) or ``mixed`` (fewer trials as well)."""
    types = SERIES_TYPES[(subject - 1) % len(SERIES_TYPES)].split()
    return types[series - 1] if series <= len(types) else "short"


def event_columns(events: Sequence[str]) -> list[int]:
    """Find a data set's events among the events of a trial.

    Parameters
    ----------
    events : sequence of str
        Names of the data set's events, in any order. Events of a trial may be missing.

    Returns
    -------
    list of int
        The index of each in `TRIAL_EVENTS`.

    Raises
    ------
    ConfigError
        For events that the simulator has no timing for.
    """
    if unknown := [event for event in events if event not in TRIAL_EVENTS]:
        raise ConfigError(
            f"dataset.events: the simulator has no timing for {', '.join(unknown)}; it knows "
            f"{', '.join(TRIAL_EVENTS)}"
        )
    return [TRIAL_EVENTS.index(event) for event in events]


def simulate_trials(config: SimulationConfig, subject: int, series: int) -> SimulatedTrials:
    """Plan the trials of a series.

    Parameters
    ----------
    config : SimulationConfig
        What to simulate.
    subject, series : int
        Numbers from 1.

    Returns
    -------
    SimulatedTrials
        The events' times.

    Raises
    ------
    ConfigError
        If there is no such subject or series.
    """
    check_numbers(subject, series)
    kind = series_type(subject, series)
    trials = config.trials or TRIALS[kind]
    of_subject = generator(config.seed, Part.PLAN, subject)
    random = generator(config.seed, Part.PLAN, subject, series)

    slowness = rank(config.seed, Trait.SLOWNESS, subject)
    steps = np.empty((trials, len(TRIAL_EVENTS)))  # s from the event before
    for column, (name, (median, by_subject, by_series, by_trial)) in enumerate(DELAYS.items(), 1):
        shared = SLOWNESS[name]
        trait = shared * slowness + np.sqrt(1 - shared**2) * of_subject.standard_normal()
        log = np.log(median) + by_subject * trait + by_series * random.standard_normal()
        # Student's t: the real trial terms have a kurtosis of 3-14, mostly on the short side
        tail = random.standard_t(DELAY_TAIL, trials) * np.sqrt(1 - 2 / DELAY_TAIL)
        steps[:, column] = np.exp(log + by_trial * np.clip(tail, -4, 4))
    mean, by_subject, by_series, by_trial = RELEASE
    mean += by_subject * of_subject.standard_normal() + by_series * random.standard_normal()
    steps[:, 5] = np.maximum(mean + by_trial * random.standard_normal(trials), RELEASE_LEAST)

    median, by_trial = REST[kind]
    rest = np.log(median) + REST_SUBJECT_LOG_SD * (
        0.7 * slowness + 0.7 * of_subject.standard_normal()
    )
    steps[:, 0] = np.exp(rest + by_trial * random.standard_normal(trials))
    earliest, median, spread = FIRST_START
    steps[0, 0] = earliest + median * np.exp(spread * random.standard_t(3))
    steps[0, 0] = min(steps[0, 0], LATEST_FIRST_START)

    centres = np.cumsum(steps.ravel()).reshape(steps.shape)
    seconds = centres[-1, -1] + TAIL_SECONDS
    _spoil_loads(random, centres, seconds)
    return SimulatedTrials(kind, centres, float(seconds))


def _spoil_loads(random: np.random.Generator, centres: NDArray[np.float64], seconds: float) -> None:
    """Move some BothStartLoadPhase after LiftOff, and lose some, as in the real label files."""
    trials = len(centres)
    load, lift = TRIAL_EVENTS.index("BothStartLoadPhase"), TRIAL_EVENTS.index("LiftOff")
    odd = random.random(trials)
    median, spread = LATE_LOAD
    late = centres[:, lift] + median * np.exp(spread * random.standard_normal(trials))
    is_late = (odd < LATE_LOAD_SHARE) & (late < seconds - TAIL_SECONDS)
    centres[is_late, load] = late[is_late]
    centres[odd > 1 - LOST_LOAD_SHARE, load] = np.nan
