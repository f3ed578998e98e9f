"""From steps to frames: what the page draws, as small as the eye allows.

A frame holds the steps of some 50 ms. Each channel is high-passed, since electrodes have large
offsets that drift, and each run of samples that falls on about one pixel becomes its least and its
greatest value, so that no peak is lost.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, lfilter_zi

from pipeline.data.recording import Description
from pipeline.live.web.inbox import Batch
from pipeline.results.colors import event_color

BINS_PER_SECOND = 125
HIGH_PASS_HZ = 0.5  # of what is drawn only
GAP_SECONDS = 0.1  # a line is broken where samples are further apart
NOTES_PER_FRAME = 5  # so that a page that missed a frame still gets its notes


class Framer:
    """Makes frames of steps, and remembers what the next frame needs of those before.

    Parameters
    ----------
    about : Description
        What the steps hold.
    title : str
        Of the page.
    """

    def __init__(self, about: Description, title: str) -> None:
        self.about, self.title = about, title
        self.bin = max(1, round(about.rate / BINS_PER_SECOND))
        self.gap = max(GAP_SECONDS, 3 / about.rate)
        decay = math.exp(-2 * math.pi * HIGH_PASS_HZ / about.rate)
        self._filter = np.array([1.0, -1.0]) * (1 + decay) / 2, np.array([1.0, -decay])
        self._state: NDArray | None = None  # of the filter, shape (1, C)
        self._last: float | None = None  # time stamp
        self._shift = 0.0  # from a time stamp to the time that is shown
        self._shown = 0.0  # the newest time that is shown

    def hello(self, batch: Batch) -> dict[str, Any]:
        """Say what the frames will hold.

        Parameters
        ----------
        batch : Batch
            The newest one, for the notes so far.
        """
        return {
            "title": self.title,
            "channels": list(self.about.channels),
            "events": [
                {"name": name, "color": event_color(column)}
                for column, name in enumerate(self.about.events)
            ],
            "rate": self.about.rate,
            "bin": self.bin / self.about.rate,
            "gap": self.gap,
            "high_pass": HIGH_PASS_HZ,
            "notes": self._notes(batch, len(batch.notes)),
        }

    def frame(self, batch: Batch) -> dict[str, Any]:
        """Make the next frame.

        Parameters
        ----------
        batch : Batch
            Its steps follow those of the frame before.

        Returns
        -------
        dict
            For JSON; `pipeline/live/web/static/signal.js` reads it. B bins: their times ``t`` in s
            since the first sample, ``eeg`` in µV (C lists of 2 B values, the least and the greatest
            in turn), ``p`` (E lists of B) and ``labels`` (likewise, or None); ``onsets`` are pairs
            of a time and an event's column.
        """
        steps = [step for _, step in batch.steps if len(step.times)]
        frame: dict[str, Any] = {
            "t": [], "eeg": [], "p": [], "labels": None, "onsets": [],
            "counts": [batch.onsets[event] for event in self.about.events],
            "notes": self._notes(batch, NOTES_PER_FRAME),
            "samples": batch.samples, "undrawn": batch.undrawn, "delay": None, "load": None,
        }  # fmt: skip
        if not steps:
            return frame
        times = self._times(np.concatenate([step.times for step in steps]))
        starts = self._bins(times)
        stops = np.append(starts[1:], len(times))
        signal = self._signal(np.concatenate([step.samples for step in steps]))
        ranges = np.minimum.reduceat(signal, starts), np.maximum.reduceat(signal, starts)
        probabilities = np.nan_to_num(np.concatenate([step.probabilities for step in steps]))
        if all(step.labels is not None for step in steps):
            labels = np.concatenate([np.asarray(step.labels, dtype=bool) for step in steps])
            frame["labels"] = np.logical_or.reduceat(labels, starts).T.astype(int).tolist()
        spent = sum(step.load * len(step.times) for step in steps)
        return frame | {
            "t": times[starts].round(4).tolist(),
            "eeg": np.stack(ranges, axis=1).reshape(-1, signal.shape[1]).T.round(1).tolist(),
            "p": probabilities[stops - 1].T.astype(float).round(3).tolist(),
            "onsets": self._onsets(batch, times),
            "delay": _finite(max(step.delay for step in steps)),
            "load": _finite(spent / len(times)),
        }

    def _times(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the times to show: from 0 on, and never going back, whatever the time stamps do."""
        if self._last is None:
            self._last, self._shift = float(times[0]), -float(times[0])
        change = np.diff(times, prepend=self._last)
        back = np.where(change < -self.gap, 1 / self.about.rate - change, 0.0)
        shown = times + self._shift + np.cumsum(back)
        shown = np.maximum.accumulate(np.maximum(shown, self._shown))
        self._last, self._shift = float(times[-1]), self._shift + float(back.sum())
        self._shown = float(shown[-1])
        return shown

    def _bins(self, times: NDArray[np.float64]) -> NDArray[np.int_]:
        """Give the first rows of the bins, none of which spans a gap."""
        cuts = np.flatnonzero(np.diff(times) > self.gap) + 1
        edges = [0, *cuts.tolist(), len(times)]
        spans = pairwise(edges)
        return np.concatenate([np.arange(first, last, self.bin) for first, last in spans])

    def _signal(self, samples: NDArray) -> NDArray[np.float64]:
        """Give high-passed microvolts."""
        microvolts = np.nan_to_num(samples.astype(np.float64)) * (1e6 * self.about.unit_volts)
        if self._state is None:
            self._state = lfilter_zi(*self._filter)[:, None] * microvolts[0]
        filtered, self._state = lfilter(*self._filter, microvolts, axis=0, zi=self._state)
        return filtered

    def _onsets(self, batch: Batch, times: NDArray[np.float64]) -> list[list[float]]:
        """Give each onset's time and column."""
        found, rows = [], 0
        for first, step in batch.steps:
            for onset in step.onsets if len(step.times) else ():
                # A recipe that started anew may count anew; the onset is of this chunk anyway.
                row = min(max(onset.sample - first, 0), len(step.times) - 1)
                column = self.about.events.index(onset.event)
                found.append([round(float(times[rows + row]), 4), column])
            rows += len(step.times)
        return found

    def _notes(self, batch: Batch, most: int) -> list[list]:
        """Give the newest notes: number, seconds of signal before it, and text."""
        newest = batch.notes[len(batch.notes) - min(most, len(batch.notes)) :]
        return [[note.number, note.sample / self.about.rate, note.text] for note in newest]


def _finite(value: float) -> float | None:
    """Give a number that JSON can hold."""
    return round(float(value), 6) if math.isfinite(value) else None
