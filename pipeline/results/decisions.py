"""From probabilities to onsets: threshold, dwell time and refractory time.

A run is a stretch of samples in which an event's probability is at or above its threshold. When a
run has lasted for the dwell time, it gives an onset of the event. It gives none if the last onset
of the event was less than the refractory time ago. A run gives at most one onset, so the
probability must fall below the threshold before the next onset. An onset at sample t depends on
samples up to t only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError

Samples = NDArray[np.int_]
"""Samples of one series at which something happens, ascending."""


@dataclass(frozen=True)
class Settings:
    """The settings that decide onsets: one value of each kind per event.

    Parameters
    ----------
    events : tuple of str
        The E events, in the order of the probabilities' columns.
    rate : float
        Samples per second.
    thresholds : tuple of float
        Probabilities.
    dwell_seconds, refractory_seconds : tuple of float
        In s. With a dwell time of 0, one sample above the threshold is enough.
    """

    events: tuple[str, ...]
    rate: float
    thresholds: tuple[float, ...]
    dwell_seconds: tuple[float, ...]
    refractory_seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("thresholds", "dwell_seconds", "refractory_seconds"):
            if len(getattr(self, name)) != len(self.events):
                raise ValueError(f"{name}: {len(self.events)} events need as many values")

    @property
    def dwell(self) -> tuple[int, ...]:
        """The dwell times in samples, 1 or more."""
        return tuple(dwell_samples(each, self.rate) for each in self.dwell_seconds)

    @property
    def refractory(self) -> tuple[int, ...]:
        """The refractory times in samples."""
        return tuple(round(each * self.rate) for each in self.refractory_seconds)

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read what `save` wrote.

        Raises
        ------
        PipelineError
            Naming the file, if it cannot be read or holds something else.
        """
        try:
            read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            lists: dict[str, Any] = {k: tuple(v) for k, v in read.items() if isinstance(v, list)}
            return cls(**{**read, **lists})
        except OSError as error:
            raise PipelineError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise PipelineError(
                f"{path}: holds no settings of decisions ({error}); "
                "a run with decisions.enabled=true writes such a file"
            ) from error


def dwell_samples(seconds: float, rate: float) -> int:
    """Turn a dwell time into samples, at least one."""
    return max(1, round(seconds * rate))


class Onset(NamedTuple):
    """A decided onset.

    Parameters
    ----------
    sample : int
        Counted from the first sample that was pushed.
    event : str
        Which event.
    """

    sample: int
    event: str


@dataclass(frozen=True)
class State:
    """What a `Decider` remembers between two chunks.

    Parameters
    ----------
    samples : int
        Pushed so far.
    lasted : tuple of int
        For each event, the samples that its present run has lasted; 0 below the threshold.
    last : tuple of (int or None)
        For each event, the sample of its last onset.
    """

    samples: int
    lasted: tuple[int, ...]
    last: tuple[int | None, ...]


class Decider:
    """Decides onsets while the probabilities arrive. The chunks may have any size.

    Parameters
    ----------
    settings : Settings
        Thresholds and times.

    Attributes
    ----------
    state : State
        It is replaced, never changed. So you can keep it as a snapshot, and set it to continue
        from there.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a new series."""
        count = len(self.settings.events)
        self.state = State(0, (0,) * count, (None,) * count)

    def push(self, probabilities: NDArray) -> list[Onset]:
        """Take the next samples' probabilities.

        Parameters
        ----------
        probabilities : ndarray, shape (n, E)
            They follow those of the previous call; n may be 0.

        Returns
        -------
        list of Onset
            Ordered by sample, then by the order of the events.

        Raises
        ------
        ValueError
            If the shape is wrong or a number is not finite; the state stays as it was.
        """
        settings, state = self.settings, self.state
        chunk = np.asarray(probabilities, dtype=np.float64)
        if chunk.ndim != 2 or chunk.shape[1] != len(settings.events):
            raise ValueError(
                f"probabilities of shape {chunk.shape}: must be (n, {len(settings.events)})"
            )
        if not np.isfinite(chunk).all():
            raise ValueError("a probability is nan or infinite")
        found, lasted, last = [], [], []
        for column in range(len(settings.events)):
            above = chunk[:, column] >= settings.thresholds[column]
            starts, stops = runs(above, state.lasted[column])
            since = state.last[column]
            new = keep_apart(
                reached(starts, stops, settings.dwell[column]) + state.samples,
                settings.refractory[column], since,
            )  # fmt: skip
            found += [(sample, column) for sample in new]
            open_run = len(stops) > 0 and stops[-1] == len(chunk)
            lasted.append(int(stops[-1] - starts[-1]) if open_run else 0)
            if not len(chunk):
                lasted[-1] = state.lasted[column]
            last.append(new[-1] if new else since)
        self.state = State(state.samples + len(chunk), tuple(lasted), tuple(last))
        return [Onset(sample, settings.events[column]) for sample, column in sorted(found)]


def runs(above: NDArray[np.bool_], lasted: int = 0) -> tuple[Samples, Samples]:
    """Find the runs of a chunk.

    Parameters
    ----------
    above : ndarray of bool, shape (n,)
        Whether the probability reaches the threshold.
    lasted : int
        Samples that a run has lasted at the end of the chunk before.

    Returns
    -------
    starts, stops : ndarray of int
        The first sample of each run, and the sample after its last one. The first sample is
        negative if the run began in an earlier chunk.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]])))
    starts, stops = edges[::2].copy(), edges[1::2]
    if lasted and len(starts) and starts[0] == 0:
        starts[0] = -lasted
    return starts, stops


def reached(starts: Samples, stops: Samples, dwell: int) -> Samples:
    """Give the samples at which runs reach the dwell time within this chunk."""
    at = starts + dwell - 1
    return at[(at >= 0) & (at < stops)]


def keep_apart(samples: Samples, refractory: int, last: int | None = None) -> list[int]:
    """Drop each sample that comes less than the refractory time after the last one kept."""
    kept: list[int] = []
    for sample in samples.tolist():
        if last is None or sample - last >= refractory:
            kept.append(sample)
            last = sample
    return kept
