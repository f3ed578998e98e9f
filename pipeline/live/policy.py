"""What happens to samples by their time stamps: gaps, jumps backwards, and a rate that is not so.

The rules, in their order:

1. A time stamp may differ from the expected one by the stream's own jitter and three quarters of a
   sample. Such differences mean nothing.
2. A time stamp that is later by more than that is a gap. Up to ``bridge_seconds`` the missing
   samples are replaced by the last one before them. After a longer gap the recipe starts anew.
3. A time stamp that is earlier by more than that is a jump backwards. Samples are taken in the
   order in which they come. After a jump of more than ``bridge_seconds`` the recipe starts anew.
4. Samples that come earlier than expected, while time stamps do not go backwards, are taken as they
   come: a sender that stood still catches up, and some samples were not missing after all.
5. A rate by the time stamps that surely differs from the announced one by more than 0.1 % is told.
   Samples are used as they come, for a filter cannot change its rate.

It knows time stamps only: neither samples, nor clocks, nor where a stream comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.live.clock import SampleClock

RATE_TOLD = 1e-3  # a difference between true and announced rate, as a share
NOTE_SECONDS = 1.0  # of signal between two notes of bridged gaps


class Piece(NamedTuple):
    """Samples of a chunk that follow one another.

    Parameters
    ----------
    start, stop : int
        Rows of the chunk.
    hold : int
        How many samples are missing before them, and are replaced by the last sample before.
    restart : bool
        Whether the recipe starts anew with them.
    notes : tuple of str
        What is to be told.
    """

    start: int
    stop: int
    hold: int = 0
    restart: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class Counts:
    """What has happened so far; `pipeline.live.view.Summary` says what each number is."""

    gaps: int = 0
    missing: int = 0
    bridged: int = 0
    jumps_back: int = 0
    restarts: int = 0
    surplus: int = 0


@dataclass
class Policy:
    """Cuts chunks into pieces by their time stamps.

    Parameters
    ----------
    rate : float
        Samples per second that the stream announces.
    bridge_seconds : float
        The longest gap that is bridged.

    Attributes
    ----------
    counts : Counts
        Of all that was taken.
    """

    rate: float
    bridge_seconds: float
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.clock = SampleClock(self.rate)
        self._reason = ""
        self._last = -np.inf  # time stamp
        self._told_rate = self.rate
        self._since_note = np.inf  # seconds of signal
        self._untold = [0, 0]  # gaps and missing samples that were bridged

    @property
    def true_rate(self) -> float | None:
        """Samples per second by the time stamps of the last 20 s; None in the first 5 s."""
        rate = self.clock.true_rate
        return None if rate is None else rate.hz

    def break_off(self, reason: str, *, new_clock: bool = False) -> None:
        """Let the recipe start anew with the next sample.

        Parameters
        ----------
        reason : str
            Is told then.
        new_clock : bool
            Whether the next time stamps may come from another clock.
        """
        self._reason = reason
        if new_clock:
            self.clock = SampleClock(self.rate)
            self._last = -np.inf
            self._told_rate = self.rate

    def take(self, times: NDArray[np.float64]) -> list[Piece]:
        """Cut the next chunk.

        Parameters
        ----------
        times : ndarray, shape (n,)
            The time stamps of its samples in s, finite numbers; n may be 0.

        Returns
        -------
        list of Piece
            Together they hold every row once, in their order.
        """
        pieces: list[Piece] = []
        begun, row = Piece(0, 0), 0  # the piece that goes on until the next jump
        if len(times) and self._reason:
            begun = self._broken_off(times)
        while row < len(times):
            late = self.clock.lateness(times[row:])
            # Late stamps that the next ones of the chunk make up for are jitter, not a gap.
            least = np.minimum.accumulate(late[::-1])[::-1][: self.clock.block_rows]
            most = np.maximum.accumulate(late[::-1])[::-1][: self.clock.block_rows]
            tolerance = self.clock.tolerance
            jumps = np.flatnonzero((least > tolerance) | (most < -tolerance))
            steady = int(jumps[0]) if len(jumps) else len(least)
            self.clock.add(times[row : row + steady])
            row += steady
            if len(jumps):
                pieces += [begun._replace(stop=row)] if row > begun.start else []
                size = least[steady] if least[steady] > tolerance else most[steady]
                previous = times[row - 1] if row else self._last
                begun = self._jump(row, float(size), bool(times[row] < previous))
        if row > begun.start:
            pieces.append(begun._replace(stop=row))
            self._last = float(times[-1])
        return self._with_notes(pieces, len(times))

    def _broken_off(self, times: NDArray[np.float64]) -> Piece:
        """Begin anew, for a reason that is known."""
        late = float(self.clock.lateness(times[:1])[0])
        self.clock.skip(late * self.rate)
        reason, self._reason = self._reason, ""
        self.counts.restarts += 1
        return Piece(0, 0, restart=True, notes=(f"{reason}: the recipe starts anew",))

    def _jump(self, row: int, late: float, back: bool) -> Piece:
        """Count a gap or a jump backwards, and say what is done."""
        counts, short = self.counts, abs(late) < self.bridge_seconds + 0.5 / self.rate
        if late < 0 and not back:
            counts.surplus += max(1, round(-late * self.rate))
            self.clock.skip(late * self.rate)
            return Piece(row, row)
        if late < 0:
            counts.jumps_back += 1
            self.clock.skip(late * self.rate)
            what = f"time stamps jump back by {_duration(-late)}"
        else:
            missing = max(1, round(late * self.rate))
            counts.gaps += 1
            counts.missing += missing
            what = f"gap of {_duration(late)}: {missing} samples are missing"
            self.clock.skip(missing if short else late * self.rate)
            if short:
                counts.bridged += missing
                self._untold[0] += 1
                self._untold[1] += missing
                return Piece(row, row, hold=missing)
        if short:
            return Piece(row, row, notes=(f"{what}; samples are taken as they come",))
        counts.restarts += 1
        return Piece(row, row, restart=True, notes=(f"{what}; the recipe starts anew",))

    def _with_notes(self, pieces: list[Piece], rows: int) -> list[Piece]:
        """Tell of bridged gaps, once per second, and of the rate."""
        self._since_note += rows / self.rate
        if not pieces:
            return pieces
        notes: tuple[str, ...] = ()
        if self._untold[0] and self._since_note >= NOTE_SECONDS:
            gaps, missing = self._untold
            named = "1 gap" if gaps == 1 else f"{gaps} gaps"
            notes += (f"{named}, missing samples {missing}: the last sample before is held",)
            self._untold, self._since_note = [0, 0], 0.0
        found = self.clock.true_rate
        if found is not None:
            low, high = self._told_rate * (1 - RATE_TOLD), self._told_rate * (1 + RATE_TOLD)
            if found.high < low or found.low > high:
                off = found.hz / self.rate - 1
                notes += (
                    f"true rate {found.hz:.2f} Hz, announced {self.rate:g} Hz ({off:+.2%}): "
                    "the recipe's times are off by as much",
                )
                self._told_rate = found.hz
        return [*pieces[:-1], pieces[-1]._replace(notes=pieces[-1].notes + notes)]


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"
