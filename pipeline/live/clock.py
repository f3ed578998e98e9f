"""Which time stamp a stream's next samples should have, learned from those that came before."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

BLOCK_SECONDS = 0.5  # one point of the regression
WINDOW_BLOCKS = 40  # of the last 20 s
LEARNED_BLOCKS = 3  # from 1.5 s on the stream's own rate and jitter are known
FIRST_TOLERANCE = 0.1  # s, before that
RATE_BLOCKS = 10  # from 5 s on a rate is told
SAMPLE_SHARE = 0.75  # of a sample's duration: less is never a missing sample
JITTER_FACTOR = 2.0
LEAST_STEP = 1e-9  # s between two samples; a line through equal time stamps has no rate


class Block(NamedTuple):
    """The samples of half a second.

    Parameters
    ----------
    sample : float
        The middle one.
    time : float
        Their median time stamp, as if all had the middle sample's place; in s from the first stamp.
    spread : float
        Half of the range of their time stamps around a steady rate, in s.
    """

    sample: float
    time: float
    spread: float


class Rate(NamedTuple):
    """A true rate and its 95 % interval, in Hz."""

    hz: float
    low: float
    high: float


class SampleClock:
    """A line through the time stamps of the last 20 s: ``time = start + sample / rate``.

    The line is a Theil-Sen regression (Sen 1968) through one point per half second, so that
    late packets do not tilt it.

    Parameters
    ----------
    rate : float
        Samples per second that the stream announces; taken as true for the first 1.5 s.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._origin: float | None = None
        self._next = 0.0  # the next sample's number, missing ones counted
        self._start, self._step = 0.0, 1 / rate
        self._jitter = 0.0
        self._rate: Rate | None = None
        self._blocks: deque[Block] = deque(maxlen=WINDOW_BLOCKS)
        self._open: list[NDArray[np.float64]] = []  # of the block that is not full: (2, n) each
        self._block_rows = max(1, round(BLOCK_SECONDS * rate))

    @property
    def block_rows(self) -> int:
        """How many samples further the line may be used before it is drawn anew."""
        return self._block_rows

    @property
    def tolerance(self) -> float:
        """How far from the line a time stamp may lie by jitter, in s."""
        if len(self._blocks) < LEARNED_BLOCKS:
            return max(FIRST_TOLERANCE, SAMPLE_SHARE * self._step)
        return SAMPLE_SHARE * self._step + JITTER_FACTOR * self._jitter

    def lateness(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Say how much later than expected the next samples' time stamps are.

        Parameters
        ----------
        times : ndarray, shape (n,)
            Time stamps in s.

        Returns
        -------
        ndarray, shape (n,)
            In s; negative where they are early.
        """
        numbers = self._next + np.arange(len(times))
        return self._since_first(times) - (self._start + self._step * numbers)

    def add(self, times: NDArray[np.float64]) -> None:
        """Learn from the next samples' time stamps."""
        begun = 0
        while begun < len(times):
            room = self._block_rows - sum(part.shape[1] for part in self._open)
            part = times[begun : begun + room]
            numbers = self._next + np.arange(len(part))
            self._open.append(np.stack([numbers, self._since_first(part)]))
            self._next += len(part)
            begun += len(part)
            if len(part) == room:
                self._close_block()

    def skip(self, samples: float) -> None:
        """Leave out samples that are missing; a negative number moves the clock back."""
        self._next += samples

    @property
    def true_rate(self) -> Rate | None:
        """The rate by the time stamps; None in the first 5 s."""
        return self._rate if len(self._blocks) >= RATE_BLOCKS else None

    def _since_first(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Count from the first time stamp: there the numbers are small and exact."""
        if self._origin is None:
            self._origin = float(times[0])
        return times - self._origin

    def _close_block(self) -> None:
        """Make a point of the open block, and draw the line anew."""
        numbers, times = np.concatenate(self._open, axis=1)
        self._open = []
        middle = float(np.median(numbers))
        flat = times - self._step * (numbers - middle)
        spread = float(flat.max() - flat.min()) / 2
        self._blocks.append(Block(middle, float(np.median(flat)), spread))
        samples = np.array([block.sample for block in self._blocks])
        points = np.array([block.time for block in self._blocks])
        if len(self._blocks) >= LEARNED_BLOCKS:
            line = theilslopes(points, samples)
            self._step = max(float(line.slope), LEAST_STEP)
            low, high = (max(float(each), LEAST_STEP) for each in (line.low_slope, line.high_slope))
            self._rate = Rate(1 / self._step, 1 / high, 1 / low)
        rest = points - self._step * samples
        self._start = float(np.median(rest))
        wander = float(np.abs(rest - self._start).max())
        self._jitter = wander + max(block.spread for block in self._blocks)
