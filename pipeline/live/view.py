"""What a person watches while probabilities are made: the steps, and the view in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.recording import Description
from pipeline.results.decisions import Onset

BAR = 10  # characters of a probability's bar
REDRAW_SECONDS = 0.2


@dataclass(frozen=True)
class Step:
    """What one chunk of samples gave.

    Parameters
    ----------
    samples : ndarray, shape (n, C)
        In the files' units.
    times : ndarray of float64, shape (n,)
        Seconds: on the clock of Lab Streaming Layer, or of the series in a replay.
    probabilities : ndarray of float32, shape (n, E)
        Of each event at each sample.
    onsets : tuple of Onset
        That were decided in this chunk.
    labels : ndarray of bool, shape (n, E), or None
        The true labels; None where they are not known.
    delay : float
        Seconds from the newest sample's time stamp to its probability.
    load : float
        The time spent computing, divided by the time that the chunk lasts.
    notes : tuple of str
        What is to be told of the signal, such as a gap.
    """

    samples: NDArray
    times: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    onsets: tuple[Onset, ...]
    labels: NDArray[np.bool_] | None
    delay: float
    load: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """What came in and what was decided, from the first sample to the last.

    Parameters
    ----------
    samples : int
        That arrived and were predicted.
    seconds : float
        That they last, by their time stamps.
    bridged : int
        Samples that were missing and were replaced by the last one before them.
    gaps : int
        Stretches of missing samples, bridged or not.
    missing : int
        Samples missing in all gaps.
    surplus : int
        Samples that came later than expected after all, and had been counted as missing.
    lost : int
        Samples that arrived, but were left out because computing fell too far behind.
    restarts : int
        How often the recipe's state was reset: after a long gap, a jump backwards, a stream's end.
    jumps_back : int
        How often the time stamps went backwards.
    announced_rate : float
        Samples per second that the stream announced.
    true_rate : float or None
        Samples per second by the time stamps; None while too few have come.
    onsets : dict of str to int
        Decided onsets of each event.
    delay_p50, delay_p99 : float or None
        Seconds from a sample's time stamp to its probability; None where there were no samples.
    load : float
        The time spent computing, divided by the time that the samples last.
    refused : int
        Samples of chunks that were refused, such as those with nan.
    """

    samples: int
    seconds: float
    bridged: int
    gaps: int
    missing: int
    surplus: int
    lost: int
    restarts: int
    jumps_back: int
    announced_rate: float
    true_rate: float | None
    onsets: dict[str, int]
    delay_p50: float | None
    delay_p99: float | None
    load: float
    refused: int = 0

    def lines(self) -> list[str]:
        """Say it in a few lines."""
        true = "" if self.true_rate is None else f", by the time stamps {self.true_rate:.3f}"
        told = [
            f"{self.samples} samples, {self.seconds:.1f} s, at {self.announced_rate:g} Hz{true}",
            f"gaps {self.gaps} (missing {self.missing} samples, bridged {self.bridged}), "
            f"jumps back {self.jumps_back}, restarts {self.restarts}, "
            f"lost {self.lost}, refused {self.refused}",
            "onsets " + ", ".join(f"{event} {count}" for event, count in self.onsets.items()),
        ]
        if self.delay_p50 is not None and self.delay_p99 is not None:
            told.append(
                f"delay from sample to probability: median {1e3 * self.delay_p50:.1f} ms, "
                f"99 % within {1e3 * self.delay_p99:.1f} ms; load {self.load:.0%}"
            )
        return told


class View(Protocol):
    """Shows the steps to a person. Its calls return quickly, since the signal does not wait."""

    def begin(self, about: Description, title: str) -> None:
        """Start, knowing what the steps hold."""

    def show(self, step: Step) -> None:
        """Show what one chunk gave."""

    def end(self, summary: Summary) -> None:
        """Say what it was in all."""


class TerminalView:
    """One line with the probabilities that is redrawn, and a line for each onset and each note.

    Where the output is no terminal, only onsets and notes are printed.

    Parameters
    ----------
    out : TextIO or None
        Where to; None is the standard output.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.redrawn = self.out.isatty()
        self.events: Sequence[str] = ()
        self.drawn_at = -np.inf
        self.width = 0

    def begin(self, about: Description, title: str) -> None:
        """Print the title."""
        self.events = about.events
        self._line(title)

    def show(self, step: Step) -> None:
        """Print the onsets and notes, and redraw the probabilities now and then."""
        for note in step.notes:
            self._line(f"note: {note}")
        for onset in step.onsets:
            self._line(f"{self._time(step, onset)}  {onset.event}")
        if self.redrawn and len(step.probabilities) and self._due():
            bars = "  ".join(
                f"{event} {'#' * round(BAR * float(p)):<{BAR}}"
                for event, p in zip(self.events, step.probabilities[-1], strict=True)
            )
            text = f"{bars}  {1e3 * step.delay:5.1f} ms  load {step.load:.0%}"
            self.out.write(f"\r{text:<{self.width}}")
            self.out.flush()
            self.width = len(text)

    def end(self, summary: Summary) -> None:
        """Print the summary."""
        for line in summary.lines():
            self._line(line)

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self.drawn_at < REDRAW_SECONDS:
            return False
        self.drawn_at = now
        return True

    def _time(self, step: Step, onset: Onset) -> str:
        return f"sample {onset.sample}"

    def _line(self, text: str) -> None:
        """Print a line in place of the one that is redrawn."""
        clear = f"\r{'':<{self.width}}\r" if self.width else ""
        self.width = 0
        self.out.write(f"{clear}{text}\n")
        self.out.flush()


class Views:
    """Shows the steps in several places.

    Parameters
    ----------
    *views : View
        Each is given every step.
    """

    def __init__(self, *views: View) -> None:
        self.views = views

    def begin(self, about: Description, title: str) -> None:
        """Begin all of them."""
        for view in self.views:
            view.begin(about, title)

    def show(self, step: Step) -> None:
        """Show the step in all of them."""
        for view in self.views:
            view.show(step)

    def end(self, summary: Summary) -> None:
        """End all of them."""
        for view in self.views:
            view.end(summary)
