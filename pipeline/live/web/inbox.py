"""What waits to be drawn: bounded, so that a page never holds up the detection."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from pipeline.live.view import Step, Summary

NOTES_KEPT = 50


@dataclass(frozen=True)
class Note:
    """Something that was told of the signal.

    Parameters
    ----------
    number : int
        Counted from 1.
    sample : int
        How many samples had come before its chunk.
    text : str
        What was told.
    """

    number: int
    sample: int
    text: str


@dataclass(frozen=True)
class Batch:
    """All that came since the batch before.

    Parameters
    ----------
    steps : list of (int, Step)
        Each with the number of its first sample.
    onsets : dict of str to int
        How many onsets of each event there have been since the beginning.
    notes : list of Note
        The last ones since the beginning, new or not.
    samples, undrawn : int
        How many came since the beginning, and how many of them were left out of all batches.
    summary : Summary or None
        Once there is nothing more to come.
    """

    steps: list[tuple[int, Step]]
    onsets: dict[str, int]
    notes: list[Note]
    samples: int
    undrawn: int
    summary: Summary | None


class Inbox:
    """Takes the steps from the thread that detects, and gives them to the one that draws.

    Parameters
    ----------
    events : tuple of str
        The names.
    limit : int
        The most samples that wait; the oldest are left out.
    """

    def __init__(self, events: tuple[str, ...], limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._steps: deque[tuple[int, Step]] = deque()
        self._waiting = 0
        self._onsets = dict.fromkeys(events, 0)
        self._notes: deque[Note] = deque(maxlen=NOTES_KEPT)
        self._told = 0
        self._samples = 0
        self._undrawn = 0
        self._summary: Summary | None = None

    def put(self, step: Step) -> None:
        """Add a step; its arrays are copied, for the caller may use them again."""
        count = len(step.times)
        kept = min(count, self.limit)
        copied = replace(
            step,
            samples=np.array(step.samples[count - kept :]),
            times=np.array(step.times[count - kept :]),
            probabilities=np.array(step.probabilities[count - kept :]),
            labels=None if step.labels is None else np.array(step.labels[count - kept :]),
        )
        with self._lock:
            if kept:
                self._steps.append((self._samples + count - kept, copied))
            self._waiting += kept
            self._undrawn += count - kept
            while self._waiting > self.limit:
                _, oldest = self._steps.popleft()
                self._waiting -= len(oldest.times)
                self._undrawn += len(oldest.times)
            for onset in step.onsets:
                self._onsets[onset.event] += 1
            for text in step.notes:
                self._told += 1
                self._notes.append(Note(self._told, self._samples, text))
            self._samples += count

    def close(self, summary: Summary | None) -> None:
        """Say that nothing more comes."""
        with self._lock:
            self._summary = summary

    def take(self) -> Batch:
        """Give what has come since the last call."""
        with self._lock:
            steps = list(self._steps)
            self._steps.clear()
            self._waiting = 0
            return Batch(
                steps, dict(self._onsets), list(self._notes), self._samples, self._undrawn,
                self._summary,
            )  # fmt: skip
