"""A recording of the data set, played at its true pace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.names import identity
from pipeline.data.recording import Description, Recording
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.data.sources import finder
from pipeline.errors import ConfigError
from pipeline.live.channels import Announced, select
from pipeline.live.feed import Chunk
from pipeline.stages.context import described, raw_folder
from pipeline.stages.simulate import drawn

if TYPE_CHECKING:
    from pipeline.config.options import Config


def read_recording(config: Config) -> Recording:
    """Read the recording that the options name; a simulated one is simulated.

    Parameters
    ----------
    config : Config
        ``live.subject`` and ``live.series`` of the group ``dataset``.

    Raises
    ------
    PipelineError
        If the data set has no such recording, or it cannot be read.
    """
    config = described(config)
    data, about = config.dataset, Description.of(config.dataset)
    subject, series = identity(config.live.subject), identity(config.live.series)
    labelled = series in [identity(each) for each in data.labelled]
    if not labelled and series not in [identity(each) for each in data.test_series]:
        there = ", ".join(str(each) for each in [*data.labelled, *data.test_series])
        raise ConfigError(
            f"live.series={series}: not in the splits of {data.name}, which are {there}"
        )
    if data.source == "simulated":
        known = range(1, data.simulation.subjects + 1)
        if subject not in known:
            raise ConfigError(
                f"live.subject={subject}: dataset.simulation.subjects={len(known)}, so choose from "
                f"1 to {len(known)}"
            )
        options = SimulationConfig(**drawn(data.simulation))
        made = simulate_series(options, about, int(subject), int(series))
        return Recording(subject, series, made.signal, made.events, about)
    found = finder(data.source)(
        raw_folder(data), [subject], [series] if labelled else [],
        [] if labelled else [series], **data.source_options,
    )  # fmt: skip
    return found[0].read(about)


class RecordedFeed:
    """Plays a recording: its samples arrive at their true pace, or as fast as they are taken.

    Parameters
    ----------
    recording : Recording
        What is played.
    about : Description
        What the recipe was fitted on.
    chunk_seconds : float
        How much signal is taken at once, unless more is due.
    paced : bool
        Whether at its true pace.

    Raises
    ------
    DataError
        If the recording lacks a channel of the recipe's, or has another rate.
    """

    def __init__(
        self, recording: Recording, about: Description, chunk_seconds: float, paced: bool
    ) -> None:
        own = recording.about
        said = Announced(recording.name, own.channels, ("",) * len(own.channels), own.rate)
        selection = select(said, about, own.unit_volts)
        self._signal, self._selection = recording.signal, selection
        self._labels = recording.events if own.events == about.events else None
        self._rate, self._paced = own.rate, paced
        self._chunk = max(1, round(chunk_seconds * own.rate))
        self._row = 0
        self._notes = selection.notes
        self._begun = time.monotonic()  # when the series' first sample was due

    def start(self) -> None:
        """Let the first sample be due now."""
        self._begun = time.monotonic()

    def now(self) -> float:
        """Give the seconds of the series."""
        return time.monotonic() - self._begun

    def labels(self, times: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Give the true labels at these times."""
        if self._labels is None:
            return None
        rows = np.clip(np.rint(times * self._rate).astype(int), 0, len(self._labels) - 1)
        return np.asarray(self._labels[rows], dtype=bool)

    def read(self) -> Chunk | None:
        """Wait until the next chunk is due; None after the recording's end."""
        if self._row >= len(self._signal):
            return None
        stop = min(self._row + self._chunk, len(self._signal))
        if self._paced:
            # A chunk is there once its last sample is.
            time.sleep(max(0.0, (stop - 1) / self._rate - self.now()))
            due = int(self.now() * self._rate) + 1
            stop = min(max(stop, due), len(self._signal))
        else:
            self._begun = time.monotonic() - (stop - 1) / self._rate
        rows = np.arange(self._row, stop)
        self._row = stop
        notes, self._notes = self._notes, ()
        return Chunk(self._selection(np.asarray(self._signal[rows])), rows / self._rate, notes)
