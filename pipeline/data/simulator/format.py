"""Kaggle's format: labels around events, and the CSV files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
from numpy.typing import NDArray

from pipeline.data.recording import Recording
from pipeline.data.simulator.plan import SimulatedTrials

LABEL_SECONDS = 0.3  # an event's label is 1 for 150 samples at 500 Hz
BATCH_ROWS = 8192  # rows that pyarrow writes at once; its default of 1024 takes half as long again


def labels(
    trials: SimulatedTrials, columns: Sequence[int], samples: int, rate: float
) -> NDArray[np.uint8]:
    """Mark 300 ms around every event.

    Parameters
    ----------
    trials : SimulatedTrials
        When the events take place.
    columns : sequence of int
        The columns of `trials.centres` of the E events to mark.
    samples : int
        Rows of the recording.
    rate : float
        Samples per second.

    Returns
    -------
    ndarray, shape (samples, E)
        0 and 1.
    """
    marked = np.zeros((samples, len(columns)), np.uint8)
    width = max(1, round(LABEL_SECONDS * rate))
    for to, column in enumerate(columns):
        centres = trials.centres[:, column]
        for centre in centres[~np.isnan(centres)]:
            start = round(centre * rate) - width // 2
            marked[max(start, 0) : start + width, to] = 1
    return marked


def write_series(recording: Recording, folder: Path | str, labelled: bool) -> tuple[Path, ...]:
    """Write one series as Kaggle's CSV files.

    Parameters
    ----------
    recording : Recording
        The series, with labels.
    folder : Path or str
        Where to write; it is created if it does not exist.
    labelled : bool
        Whether to write the file of events, too. Kaggle does not publish it for test series.

    Returns
    -------
    tuple of Path
        ``subj1_series1_data.csv`` and, if asked for, ``subj1_series1_events.csv``. Each appears
        complete or not at all.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = pa.array(np.arange(len(recording.signal))).cast(pa.string())
    ids = pa.compute.binary_join_element_wise(recording.name, rows, "_")
    tables: list[tuple[str, tuple[str, ...], np.ndarray]] = [
        ("data", recording.about.channels, recording.signal)
    ]
    if labelled:
        assert recording.events is not None
        tables.append(("events", recording.about.events, recording.events))
    written = []
    for kind, names, values in tables:
        path = folder / f"{recording.name}_{kind}.csv"
        part = folder / f".{path.name}.{os.getpid()}.part"
        columns = np.ascontiguousarray(values.T)
        table = pa.table([ids, *columns], names=["id", *names])
        # The header is written by hand: pyarrow quotes it, whatever the quoting style.
        options = pa.csv.WriteOptions(
            include_header=False, quoting_style="none", batch_size=BATCH_ROWS
        )
        try:
            with open(part, "wb") as file:
                file.write(",".join(table.column_names).encode() + b"\n")
                pa.csv.write_csv(table, file, options)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        written.append(path)
    return tuple(written)
