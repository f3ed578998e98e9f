"""Where chunks come from, and the loop that takes them until the signal ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.live.session import Session
from pipeline.live.view import Step, View

RESUME_SECONDS = 0.1  # of signal that is kept when the rest is lost


@dataclass(frozen=True)
class Chunk:
    """Samples that have arrived since the chunk before.

    Parameters
    ----------
    samples : ndarray, shape (n, C)
        In the recipe's units and its order of channels; n may be 0.
    times : ndarray of float64, shape (n,)
        Their time stamps in s.
    notes : tuple of str
        What is to be told.
    new_stream : str
        Why the recipe starts anew: these samples come from a stream that has just been found again.
    """

    samples: NDArray
    times: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    new_stream: str = ""


class Feed(Protocol):
    """A signal."""

    def read(self) -> Chunk | None:
        """Wait for the next chunk, but never long; None when the signal has ended."""

    def now(self) -> float:
        """Seconds on the clock of the time stamps."""

    def labels(self, times: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Give the true labels at these times, shape (n, E); None where they are not known."""


Send = Callable[[Step, int], None]
"""Takes a step and the number of its first sample."""


def play(
    feed: Feed, session: Session, view: View, send: Sequence[Send], buffer_seconds: float
) -> None:
    """Take chunks until the signal ends.

    Parameters
    ----------
    feed : Feed
        Where they come from.
    session : Session
        What makes steps of them.
    view : View
        Shows the steps; the caller has begun it and ends it.
    send : sequence of callable
        Take the steps, too.
    buffer_seconds : float
        If more signal is waiting, all but the newest is lost.
    """
    while (chunk := feed.read()) is not None:
        for note in chunk.notes:
            session.tell(note)
        if chunk.new_stream:
            session.policy.break_off(chunk.new_stream, new_clock=True)
        samples, times = chunk.samples, chunk.times
        if len(samples) > buffer_seconds * session.rate:
            kept = max(1, round(RESUME_SECONDS * session.rate))
            session.lose(len(samples) - kept)
            samples, times = samples[-kept:], times[-kept:]
        steps = session.take(samples, times)
        if not steps and (notes := session.untold()):
            steps = [empty_step(session, samples, notes)]
        first = session.samples - sum(len(step.samples) for step in steps)
        for step in steps:
            labelled = dataclasses.replace(step, labels=feed.labels(step.times))
            view.show(labelled)
            for each in send:
                each(labelled, first)
            first += len(step.samples)


def empty_step(session: Session, samples: NDArray, notes: tuple[str, ...]) -> Step:
    """Make a step that only tells something."""
    events = len(session.decider.settings.events)
    return Step(
        samples[:0], np.empty(0), np.empty((0, events), dtype=np.float32), (), None, 0.0, 0.0, notes
    )
