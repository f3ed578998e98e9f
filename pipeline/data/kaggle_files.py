"""Kaggle's raw files to recordings on disk.

``data/raw`` may hold what Kaggle ships in any of its forms: unpacked (``train/``, ``test/``), or
the zips, which are read in place. Single files may be gzipped. Folders may be links. Nothing there
is ever changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.csv_table import Table, read_table
from pipeline.data.names import series_name
from pipeline.data.raw_files import (
    MOST_SERIES_BYTES,
    MOST_SUBMISSION_BYTES,
    RawFile,
    excerpt,
    printable,
    raw_files,
)
from pipeline.data.recording import Description, Recording
from pipeline.errors import DataError

_SERIES_FILE = re.compile(r"subj([0-9]{1,6})_series([0-9]{1,6})_(data|events)\.csv(\.gz)?")
_SAMPLE_FILE = re.compile(r"sample_submission\.csv(\.gz)?")
_ID = re.compile(r"(.*)_([0-9]+)")

KEPT = 1e-3
"""Units: single precision is used where it holds a series' values to this."""

__all__ = [
    "RawFile", "RawSeries", "check_ids", "find_sample", "find_series", "read_table", "row_ids",
]  # fmt: skip


@dataclass(frozen=True)
class RawSeries:
    """The raw files of one series: its samples and, for a labelled one, its events."""

    subject: int
    series: int
    data: RawFile
    events: RawFile | None

    @property
    def name(self) -> str:
        """The name of the series, e.g. ``subj3_series7``."""
        return series_name(self.subject, self.series)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files on disk that it is read from."""
        return tuple(sorted({file.path for file in (self.data, self.events) if file}))

    @property
    def labelled(self) -> bool:
        """Whether there are events to read."""
        return self.events is not None

    def read(self, about: Description) -> Recording:
        """Read the files, and check them.

        Parameters
        ----------
        about : Description
            Its channels and events are the columns that the files must have.

        Returns
        -------
        Recording
            The signal is int16 where its values are whole and fit; else float32 where that keeps
            them to `KEPT`, or float64.

        Raises
        ------
        DataError
            Naming the file and the line.
        """
        samples = read_series(self.data, list(about.channels), self.name)
        signal = samples.values
        if signal.dtype != np.int16:
            single = signal.astype(np.float32)
            # Fractions on an amplifier's offset need more digits than single precision has.
            signal = single if np.abs(single - signal).max() <= KEPT else signal
        if self.events is None:
            return Recording(self.subject, self.series, signal, None, about)
        marks = read_series(self.events, list(about.events), self.name)
        if len(marks) != len(samples):
            raise DataError(
                f"{self.events}: has {len(marks)} rows where {printable(self.data.base)} has "
                f"{len(samples)}"
            )
        labels = marks.values
        marks.demand((labels == 0) | (labels == 1), "is neither 0 nor 1")
        return Recording(self.subject, self.series, signal, labels.astype(np.uint8), about)


def find_series(
    folder: Path, subjects: list[int], labelled: list[int], unlabelled: list[int]
) -> list[RawSeries]:
    """Find the raw files of every series that the splits name.

    Parameters
    ----------
    folder : Path
        What Kaggle gave: ``train/`` and ``test/``, or the zips.
    subjects : list of int
        Which subjects; empty for all that are there.
    labelled, unlabelled : list of int
        Series numbers that need an events file, and those that need none.

    Returns
    -------
    list of RawSeries
        Ordered by (subject, series) as numbers.

    Raises
    ------
    DataError
        When there is no data, a file is missing, cannot be opened, or stands there twice.
    """
    files: dict[tuple[int, int, str], RawFile] = {}
    for file in raw_files(folder, _SERIES_FILE, MOST_SERIES_BYTES) if folder.is_dir() else []:
        match = _SERIES_FILE.fullmatch(file.base)
        assert match is not None
        key = (int(match[1]), int(match[2]), match[3])
        if key in files:
            raise DataError(f"{file}: stands also in {files[key]}; keep one of the two")
        files[key] = file
    if not files:
        raise DataError(
            f"{folder}: holds no subj*_series*_data.csv and no zip of them; get the competition's "
            "files with `make data`, or run on simulated recordings with dataset=simulated"
        )
    wanted = sorted(set(subjects) or {subject for subject, _, _ in files})
    found = []
    for subject in wanted:
        for series in sorted([*labelled, *unlabelled]):
            name = series_name(subject, series)
            data = files.get((subject, series, "data"))
            events = files.get((subject, series, "events"))
            if data is None:
                raise DataError(
                    f"{folder}: {name}_data.csv is missing; add it, or name the subjects to use "
                    "with dataset.subjects=[...]"
                )
            if events is None and series in labelled:
                raise DataError(f"{folder}: {name}_events.csv is missing beside {data}")
            found.append(RawSeries(subject, series, data, events if series in labelled else None))
    return found


def find_sample(folder: Path) -> RawFile | None:
    """Find Kaggle's sample submission, on its own or zipped; None where there is none."""
    if not folder.is_dir():
        return None
    return next(iter(raw_files(folder, _SAMPLE_FILE, MOST_SUBMISSION_BYTES)), None)


def row_ids(name: str, rows: int) -> pa.Array:
    """Give the ids of a series' rows: ``<name>_0``, ``<name>_1``, ..."""
    numbers = pa.array(np.arange(rows)).cast(pa.string())
    return pc.binary_join_element_wise(pa.scalar(f"{name}_"), numbers, "")


def check_ids(table: Table, name: str) -> None:
    """Demand the ids ``<name>_0``, ``<name>_1``, ... in this order.

    Raises
    ------
    DataError
        Naming the first line that breaks it, and whether its id is foreign, doubled, missing or
        out of order.
    """
    if table.ids is None:  # they were checked when they were read
        return
    expected = row_ids(name, len(table))
    if table.ids.equals(pa.chunked_array([expected])):
        return
    ids = table.ids.combine_chunks()
    row = pc.index(pc.equal(ids, expected), False).as_py()
    found, line = ids[row].as_py(), row + 2
    where = f"{table.file}: line {line}: id {excerpt(found)}"
    match = _ID.fullmatch(found)
    if match is None or match[1] != name:
        raise DataError(f"{where} does not belong to {name}")
    if pc.index(ids.slice(0, row), found).as_py() >= 0:
        raise DataError(f"{where} stands there twice")
    if pc.index(ids.slice(row), f"{name}_{row}").as_py() >= 0:
        raise DataError(f"{where} is out of order; {name}_{row} is expected, and comes later")
    raise DataError(f"{where} where {name}_{row} is expected, which is missing")


def read_series(file: RawFile, columns: list[str], name: str) -> Table:
    """Read a CSV file of a series, whose ids must be ``<name>_0``, ``<name>_1``, ...

    Parameters
    ----------
    file : RawFile
        The file.
    columns : list of str
        The names of the number columns, which follow ``id``.
    name : str
        The series, e.g. ``subj3_series7``.

    Returns
    -------
    Table
        Its content.

    Raises
    ------
    DataError
        Naming the file and the line; see `read_table` and `check_ids`.
    """
    table = read_table(file, columns, MOST_SERIES_BYTES, name)
    check_ids(table, name)
    return table
