"""The plan of a series: when each event of each trial takes place.

The constants are fitted to the "delays", see `pipeline.data.simulator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

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
DELAY_TAIL = 5.0  # degrees of freedom of Student's t of a delay's trial term
RELEASE_LEAST = 0.016  # s
LATE_LOAD_SHARE = 0.0067  # trials whose BothStartLoadPhase is marked after LiftOff: 21 of 3,120
LATE_LOAD = (0.15, 1.2)  # by how much: median in s, log-SD
LOST_LOAD_SHARE = 0.0016  # trials whose BothStartLoadPhase is not marked at all: 5 of 3,120


class Delay(NamedTuple):
    """How long it takes from one event to the next.

    Parameters
    ----------
    median : float
        In s.
    by_subject, by_series, by_trial : float
        SD of the logarithm between subjects, between series, and between the trials of a series.
    slowness : float
        Correlation of the subject's term with how slow the subject is in everything.
    course : float
        Share of the trials' variance that is a course: people speed up and slow down over a series.
    memory : float
        Correlation of the course from one trial to the next.
    """

    median: float
    by_subject: float
    by_series: float
    by_trial: float
    slowness: float
    course: float
    memory: float


# By the event at the delay's end
DELAYS = {
    "FirstDigitTouch": Delay(0.985, 0.22, 0.03, 0.215, 1.0, 0.33, 0.85),
    "BothStartLoadPhase": Delay(0.100, 0.36, 0.24, 0.54, 0.6, 0.65, 0.35),
    "LiftOff": Delay(0.300, 0.36, 0.09, 0.50, 0.75, 0.65, 0.35),
    "Replace": Delay(3.220, 0.056, 0.028, 0.052, 0.75, 0.28, 0.7),
}
# Replace to BothReleased is nearly normal, not log-normal: its mean, and its SDs in s.
RELEASE = Delay(0.228, 0.045, 0.035, 0.120, 0.0, 0.35, 0.45)
# From BothReleased to the next HandStart, by the type of the series
REST = {
    "short": Delay(2.99, 0.06, 0.05, 0.205, 0.7, 0.18, 0.92),
    "long": Delay(10.07, 0.06, 0.05, 0.115, 0.7, 0.18, 0.92),
    "mixed": Delay(10.33, 0.06, 0.05, 0.115, 0.7, 0.18, 0.92),
}


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
    draw = _Draws(of_subject, random, slowness, trials)
    steps = np.empty((trials, len(TRIAL_EVENTS)))  # s from the event before
    for column, delay in enumerate(DELAYS.values(), 1):
        # Student's t: the real trial terms have a kurtosis of 3-14, mostly on the short side
        tail = random.standard_t(DELAY_TAIL, trials) * np.sqrt(1 - 2 / DELAY_TAIL)
        steps[:, column] = delay.median * np.exp(draw.terms(delay, np.clip(tail, -4, 4)))
    release = RELEASE.median + draw.terms(RELEASE, random.standard_normal(trials))
    steps[:, 5] = np.maximum(release, RELEASE_LEAST)
    rest = REST[kind]
    steps[:, 0] = rest.median * np.exp(draw.terms(rest, random.standard_normal(trials)))
    earliest, median, spread = FIRST_START
    steps[0, 0] = earliest + median * np.exp(spread * random.standard_t(3))
    steps[0, 0] = min(steps[0, 0], LATEST_FIRST_START)

    centres = np.cumsum(steps.ravel()).reshape(steps.shape)
    seconds = centres[-1, -1] + TAIL_SECONDS
    _spoil_loads(random, centres, seconds)
    return SimulatedTrials(kind, centres, float(seconds))


@dataclass(frozen=True)
class _Draws:
    """Draws what makes a delay of a series longer or shorter than its median."""

    of_subject: np.random.Generator
    random: np.random.Generator
    slowness: float
    trials: int

    def terms(self, delay: Delay, independent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the sum of the subject's, the series' and the trials' terms, shape (trials,).

        `independent` has unit variance. It is what a trial does not share with the trial before.
        """
        trait = delay.slowness * self.slowness
        trait += np.sqrt(1 - delay.slowness**2) * self.of_subject.standard_normal()
        within = np.sqrt(1 - delay.course) * independent
        within += np.sqrt(delay.course) * self._course(delay.memory)
        shared = delay.by_subject * trait + delay.by_series * self.random.standard_normal()
        return shared + delay.by_trial * within

    def _course(self, memory: float) -> NDArray[np.float64]:
        """Draw an autoregressive process of first order, of unit variance from its start."""
        new = self.random.standard_normal(self.trials)
        new[1:] *= np.sqrt(1 - memory**2)
        return signal.lfilter([1.0], [1.0, -memory], new)


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
