"""Lab Streaming Layer: finds an amplifier's stream, takes its samples, and sends results out."""

from __future__ import annotations

import math
import time
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.recording import Description
from pipeline.errors import ConfigError, DataError
from pipeline.live.channels import Announced, Selection, select
from pipeline.live.feed import Chunk
from pipeline.live.view import Step

INSTALL = "pip install -c constraints.txt -e '.[live]'"
RESOLVE_SECONDS = 1.0  # one look for a stream
CONNECT_SECONDS = 5.0
SILENT_SECONDS = 3.0  # without a sample, before it is told and another stream is looked for
LEAST_SECONDS = 0.2  # one look, and the pause after a stream that could not be used
QUEUE_FACTOR = 4  # what LSL keeps, in buffers of ours: then we know what is lost
PROBABILITIES, ONSETS = "probabilities", "onsets"  # behind the name of the amplifier's stream


def load_lsl() -> ModuleType:
    """Import MNE-LSL's wrapper of liblsl.

    Raises
    ------
    ConfigError
        If it is not installed or does not run here, with the command that installs it.
    """
    try:
        import mne_lsl.lsl as lsl
    except ImportError as error:
        raise ConfigError(
            f"Lab Streaming Layer needs the package mne-lsl ({error}): {INSTALL}"
        ) from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"Lab Streaming Layer: liblsl cannot be loaded ({error})") from error
    return lsl


def find_stream(lsl: ModuleType, name: str, seconds: float) -> Any | None:
    """Look for a stream of numbers.

    Parameters
    ----------
    lsl : module
        From `load_lsl`.
    name : str
        The stream's.
    seconds : float
        How long.

    Returns
    -------
    mne_lsl.lsl.StreamInfo or None
        The newest one of that name.

    Raises
    ------
    DataError
        If several sources send streams of that name.
    """
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        found = lsl.resolve_streams(max(LEAST_SECONDS, min(RESOLVE_SECONDS, left)), name=name)
        found = [info for info in found if info.dtype != "string"]
        sources = {(info.source_id or info.uid, info.hostname) for info in found}
        if len(sources) > 1:
            hosts = ", ".join(sorted({info.hostname for info in found}))
            raise DataError(
                f"stream {name!r}: {len(sources)} sources send streams of this name (on {hosts}); "
                "give each its own name"
            )
        if found:
            return max(found, key=lambda info: info.created_at)
        if time.monotonic() >= until:
            return None


def describe_missing(lsl: ModuleType, name: str, seconds: float) -> str:
    """Say that a stream is not there, and which are."""
    own = {f"{name}-{kind}" for kind in (PROBABILITIES, ONSETS)}
    there = {info.name for info in lsl.resolve_streams(RESOLVE_SECONDS)}
    names = sorted(f"{each!r}" for each in there - own)
    others = f"there are {', '.join(names)}" if names else "there is no other one either"
    return f"stream {name!r}: not found within {seconds:g} s; {others}"


class Inlet:
    """One connection to a stream.

    Parameters
    ----------
    lsl : module
        From `load_lsl`.
    info : mne_lsl.lsl.StreamInfo
        The stream.
    about : Description
        What the recipe was fitted on.
    unit_volts : float or None
        Volts in one unit of the stream; None as it says.
    buffer_seconds : float
        How much signal may wait.

    Raises
    ------
    DataError
        If the stream cannot be used or does not answer.
    """

    def __init__(
        self,
        lsl: ModuleType,
        info: Any,
        about: Description,
        unit_volts: float | None,
        buffer_seconds: float,
    ) -> None:
        seconds = math.ceil(QUEUE_FACTOR * buffer_seconds)
        self._most = math.ceil(seconds * max(info.sfreq, 1.0)) + 1
        self._inlet = lsl.StreamInlet(
            info, max_buffered=seconds, recover=False, processing_flags=["clocksync"]
        )
        self.uid: str = info.uid
        try:
            self._inlet.open_stream(CONNECT_SECONDS)
            full = self._inlet.get_sinfo(CONNECT_SECONDS)
        except Exception as error:  # of mne-lsl's: lost, timeout, internal
            self.close()
            raise DataError(f"stream {info.name!r}: does not answer ({error})") from error
        try:
            self.selection: Selection = select(announced(full), about, unit_volts)
        except DataError:
            self.close()
            raise

    def pull(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take all samples that are there, without waiting.

        Returns
        -------
        samples : ndarray, shape (n, C)
            In the recipe's units and its order of channels; n may be 0.
        times : ndarray, shape (n,)
            On this machine's LSL clock.

        Raises
        ------
        Exception
            Of mne-lsl's, if the stream is lost.
        """
        samples, times = self._inlet.pull_chunk(timeout=0.0, max_samples=self._most)
        return self.selection(samples), times.copy()

    def close(self) -> None:
        """Disconnect."""
        del self._inlet


def announced(info: Any) -> Announced:
    """Read what a stream says of itself."""
    names = info.get_channel_names() or []
    units = info.get_channel_units() or []
    if len(names) != info.n_channels or None in names:
        names = []
    if len(units) != info.n_channels:
        units = [None] * info.n_channels
    return Announced(
        info.name, tuple(names), tuple(unit or "" for unit in units), float(info.sfreq)
    )


class LslFeed:
    """A stream that is awaited, taken, and awaited again when it ends.

    Parameters
    ----------
    lsl : module
        From `load_lsl`.
    name : str
        The stream's.
    about : Description
        What the recipe was fitted on.
    unit_volts : float or None
        Volts in one unit of the stream; None as it says.
    chunk_seconds, buffer_seconds, wait_seconds : float
        See ``conf/live``.

    Raises
    ------
    DataError
        If the stream is not there in time, or cannot be used.
    """

    def __init__(
        self,
        lsl: ModuleType,
        name: str,
        about: Description,
        unit_volts: float | None,
        chunk_seconds: float,
        buffer_seconds: float,
        wait_seconds: float,
    ) -> None:
        self._lsl, self._name, self._about = lsl, name, about
        self._unit_volts, self._chunk = unit_volts, chunk_seconds
        self._buffer, self._wait = buffer_seconds, wait_seconds
        info = find_stream(lsl, name, wait_seconds)
        if info is None:
            raise DataError(describe_missing(lsl, name, wait_seconds))
        self._inlet: Inlet | None = self._connect(info)
        self._notes = self._inlet.selection.notes if self._inlet else ()
        self._next = time.monotonic()
        self._heard = time.monotonic()  # when a sample came last
        self._silent = False
        self._found_again = ""

    def now(self) -> float:
        """Give the time on the clock of Lab Streaming Layer."""
        return self._lsl.local_clock()

    def labels(self, times: NDArray[np.float64]) -> None:
        """Nothing: an amplifier knows no true labels."""

    def read(self) -> Chunk | None:
        """Wait until the next chunk is due, and take what is there.

        Returns
        -------
        Chunk or None
            None when the stream has ended and has not come back in time.
        """
        if self._inlet is None:
            return self._await()
        self._next = max(self._next + self._chunk, time.monotonic())
        time.sleep(max(0.0, self._next - time.monotonic()))
        try:
            samples, times = self._inlet.pull()
        except Exception as error:  # of mne-lsl's: the stream is lost
            return self._lost(f"stream {self._name!r} has ended ({error}); waiting for it")
        notes, self._notes = self._notes, ()
        if not len(samples):
            return self._quiet(notes)
        self._heard, self._silent = time.monotonic(), False
        again, self._found_again = self._found_again, ""
        return Chunk(samples, times, notes, again)

    def _connect(self, info: Any) -> Inlet:
        return Inlet(self._lsl, info, self._about, self._unit_volts, self._buffer)

    def _nothing(self, *notes: str) -> Chunk:
        return Chunk(np.empty((0, len(self._about.channels))), np.empty(0), notes)

    def _lost(self, note: str) -> Chunk:
        """Disconnect from a stream that has ended."""
        if self._inlet is not None:
            self._inlet.close()
            self._inlet = None
        return self._nothing(*self._notes, note)

    def _quiet(self, notes: tuple[str, ...]) -> Chunk | None:
        """Nothing has come: after some time tell so, and look for another stream of that name."""
        quiet = time.monotonic() - self._heard
        if quiet < SILENT_SECONDS:
            return self._nothing(*notes)
        if quiet > self._wait:
            return None
        if not self._silent:
            self._silent = True
            notes += (f"no sample for {SILENT_SECONDS:g} s",)
        info = find_stream(self._lsl, self._name, RESOLVE_SECONDS)
        if info is not None and self._inlet is not None and info.uid != self._inlet.uid:
            self._notes = notes
            return self._lost(f"stream {self._name!r} has been started anew")
        return self._nothing(*notes)

    def _await(self) -> Chunk | None:
        """Look for the stream once."""
        if time.monotonic() - self._heard > self._wait:
            return None
        try:
            info = find_stream(self._lsl, self._name, RESOLVE_SECONDS)
            if info is None:
                return self._nothing()
            self._inlet = self._connect(info)
        except DataError as error:  # it does not answer, or is not the one that it was
            time.sleep(LEAST_SECONDS)
            note = str(error)
            told, self._notes = note in self._notes, (note,)
            return self._nothing() if told else self._nothing(note)
        self._notes = self._inlet.selection.notes
        self._heard, self._silent = time.monotonic(), False
        self._found_again = f"stream {self._name!r} is back"
        return self._nothing()


class Outlets:
    """Sends probabilities and onsets out as two streams.

    Parameters
    ----------
    lsl : module
        From `load_lsl`.
    name : str
        Of the stream that the results are of; theirs are NAME-probabilities and NAME-onsets.
    about : Description
        The events and the rate.
    """

    def __init__(self, lsl: ModuleType, name: str, about: Description) -> None:
        events = list(about.events)
        info = lsl.StreamInfo(
            f"{name}-{PROBABILITIES}", "Probabilities", len(events), about.rate, "float32",
            f"{name}-{PROBABILITIES}",
        )  # fmt: skip
        info.set_channel_names(events)
        info.set_channel_units("none")
        self._probabilities = lsl.StreamOutlet(info)
        marks = lsl.StreamInfo(f"{name}-{ONSETS}", "Markers", 1, 0.0, "string", f"{name}-{ONSETS}")
        self._onsets = lsl.StreamOutlet(marks)

    def __call__(self, step: Step, first: int) -> None:
        """Send a step.

        Parameters
        ----------
        step : Step
            Its time stamps go with the results.
        first : int
            The number of its first sample.
        """
        if len(step.samples) == 1:
            self._probabilities.push_sample(step.probabilities[0], float(step.times[0]))
        elif len(step.samples):
            self._probabilities.push_chunk(step.probabilities, step.times)
        for onset in step.onsets:
            self._onsets.push_sample([onset.event], float(step.times[onset.sample - first]))


class RecordingOutlet:
    """Sends a recording out as an amplifier's stream, in microvolts.

    Parameters
    ----------
    lsl : module
        From `load_lsl`.
    name : str
        The stream's.
    about : Description
        Channels, rate and units.
    """

    def __init__(self, lsl: ModuleType, name: str, about: Description) -> None:
        info = lsl.StreamInfo(name, "EEG", len(about.channels), about.rate, "float32", name)
        info.set_channel_names(list(about.channels))
        info.set_channel_types("eeg")
        info.set_channel_units("microvolts")
        self._outlet = lsl.StreamOutlet(info)
        self._factor = about.unit_volts / 1e-6

    @property
    def heard(self) -> bool:
        """Whether another program takes the stream."""
        return bool(self._outlet.has_consumers)

    def wait(self) -> None:
        """Wait a little for another program."""
        self._outlet.wait_for_consumers(RESOLVE_SECONDS)

    def send(self, samples: NDArray, times: NDArray[np.float64]) -> None:
        """Send samples in the recording's units, shape (n, C), with their time stamps."""
        microvolts = np.ascontiguousarray(samples * self._factor, dtype=np.float32)
        if len(samples) == 1:
            self._outlet.push_sample(microvolts[0], float(times[0]))
        elif len(samples):
            self._outlet.push_chunk(microvolts, times)
