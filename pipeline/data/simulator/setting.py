"""What all parts of one recording use: head, trials, length, random generators."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.data.simulator.courses import Array, span, wander
from pipeline.data.simulator.draws import Part, generator
from pipeline.data.simulator.head import Head, turn_of_series
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import SimulatedTrials

HARDWARE_CORNER = 160.0  # Hz: the amplifier's low-pass


@dataclass(frozen=True)
class Setting:
    """One recording that is being made.

    Parameters
    ----------
    config : SimulationConfig
        What to simulate.
    subject, series : int
        Numbers from 1.
    head : Head
        Electrodes and fields.
    trials : SimulatedTrials
        When the events take place.
    samples : int
        Rows of the recording.
    rate : float
        Samples per second.
    """

    config: SimulationConfig
    subject: int
    series: int
    head: Head
    trials: SimulatedTrials
    samples: int
    rate: float

    def of_subject(self, part: Part) -> np.random.Generator:
        """Give the generator for what a part draws once per subject."""
        return generator(self.config.seed, part, self.subject)

    def of_series(self, part: Part) -> np.random.Generator:
        """Give the generator for what a part draws in this series."""
        return generator(self.config.seed, part, self.subject, self.series)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.samples / self.rate

    @cached_property
    def turn(self) -> Array:
        """Rotation of the head under the cap in this series, `(3, 3)`."""
        return turn_of_series(self.config.seed, self.subject, self.series)

    def span(self, start: float, end: float) -> tuple[slice, Array]:
        """Give the rows between two times in s, and the rows' times in s."""
        return span(self.samples, self.rate, start, end)

    def wander(self, random: np.random.Generator, corner: float, rows: int) -> Array:
        """Draw slow noise of variance 1; ``corner`` is its corner frequency in Hz, `(rows, T)`."""
        return wander(random, corner, rows, self.samples, self.rate)


def hardware(frequency: Array) -> Array:
    """Share of the power that passes the amplifier's low-pass, by the frequency in Hz."""
    return 1 / (1 + (frequency / HARDWARE_CORNER) ** 6)
