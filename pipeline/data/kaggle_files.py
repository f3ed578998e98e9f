"""Ingest: Kaggle's raw files to recordings on disk.

``data/raw`` may hold what Kaggle gave in any of its forms: unpacked (``train/``, ``test/``), or the
zips, which are read in place; single files may be gzipped. Nothing there is ever written to.
"""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.data.recording import series_name
from pipeline.errors import DataError

_SERIES_FILE = re.compile(r"subj(\d+)_series(\d+)_(data|events)\.csv(\.gz)?")
_SAMPLE_FILE = re.compile(r"sample_submission\.csv(\.gz)?")
_ID = re.compile(r"(.*)_(\d+)")


@dataclass(frozen=True)
class RawFile:
    """A CSV file, on its own or inside a zip.

    Parameters
    ----------
    path : Path
        The file, or the zip that holds it.
    member : str, optional
        Its name inside the zip.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def base(self) -> str:
        """The file's own name."""
        return (self.member or str(self.path)).replace("\\", "/").rsplit("/", 1)[-1]

    def read(self) -> bytes:
        """Read the whole file, unpacked, without a byte-order mark.

        Raises
        ------
        DataError
            When it cannot be read or unpacked.
        """
        try:
            if self.member is None:
                blob = self.path.read_bytes()
            else:
                with zipfile.ZipFile(self.path) as archive:
                    blob = archive.read(self.member)
            if self.base.endswith(".gz"):
                blob = gzip.decompress(blob)
        except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise DataError(f"{self}: is corrupt ({error}); download it again") from error
        except OSError as error:
            raise DataError(f"{self}: cannot be read: {error.strerror or error}") from error
        return blob.removeprefix(b"\xef\xbb\xbf")


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


def _raw_files(folder: Path) -> list[RawFile]:
    """List the CSV files below a folder and inside the zips that lie in it."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        if path.suffix == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    members = archive.namelist()
            except (zipfile.BadZipFile, OSError) as error:
                raise DataError(f"{path}: is a corrupt zip ({error}); download it again") from error
            nested = [m for m in members if m.endswith(".zip")]
            if nested:
                raise DataError(
                    f"{path}: holds further zips ({nested[0]}); unpack it once: "
                    f"unzip {path.name} -d {folder}"
                )
            found += [RawFile(path, m) for m in members if "__MACOSX" not in m]
        else:
            found.append(RawFile(path))
    return found


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
        When there is no data, a file is missing, or one stands there twice.
    """
    files: dict[tuple[int, int, str], RawFile] = {}
    for file in _raw_files(folder) if folder.is_dir() else []:
        if match := _SERIES_FILE.fullmatch(file.base):
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
    for file in _raw_files(folder) if folder.is_dir() else []:
        if _SAMPLE_FILE.fullmatch(file.base):
            return file
    return None


def _header(file: RawFile, blob: bytes, expected: list[str]) -> bytes:
    """Check the header line and give the rest of the file."""
    if not blob.strip():
        raise DataError(f"{file}: is empty")
    head, newline, body = blob.partition(b"\n")
    try:
        columns = head.rstrip(b"\r").decode("utf-8").split(",")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: line 1: is not UTF-8 text") from error
    if columns != expected:
        missing = [c for c in expected if c not in columns]
        extra = [c for c in columns if c not in expected]
        if missing and extra:
            what = f"column {missing[0]} is missing and {extra[0]!r} is not known"
        elif missing:
            what = f"column {missing[0]} is missing"
        elif extra:
            what = f"column {extra[0]!r} is not known"
        elif len(columns) > len(expected):
            twice = next(c for c in columns if columns.count(c) > 1)
            what = f"column {twice} stands there twice"
        else:
            at = next(i for i, (a, b) in enumerate(zip(columns, expected, strict=True)) if a != b)
            what = f"column {at + 1} is {columns[at]}, where {expected[at]} is expected"
        raise DataError(f"{file}: line 1: {what}; the header must be {','.join(expected)}")
    if not newline or not body.strip():
        raise DataError(f"{file}: holds a header and no rows")
    return body


def read_table(file: RawFile, columns: list[str]) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Read a CSV file of ids and numbers, strictly.

    Parameters
    ----------
    file : RawFile
        The file.
    columns : list of str
        The names of the number columns, which follow ``id``.

    Returns
    -------
    ids : pyarrow.ChunkedArray of string, length T
        The ids as they stand.
    values : ndarray, shape (T, len(columns)), int32 or float64
        The numbers, int32 where all are whole.

    Raises
    ------
    DataError
        Naming the file and the line: a wrong header, a line with too few or too many cells, a cell
        that is no number, nan or infinity, or a last line that is cut.
    """
    names = ["id", *columns]
    body = _header(file, file.read(), names)
    if not body.endswith(b"\n"):
        last = body.count(b"\n") + 2
        raise DataError(
            f"{file}: line {last}: the file ends inside this line; it is cut: download it again "
            "(or end the line, if it is whole)"
        )
    for kind in (pa.int32(), pa.float64()):
        try:
            table = csv.read_csv(
                pa.BufferReader(body),
                read_options=csv.ReadOptions(column_names=names, use_threads=False),
                parse_options=csv.ParseOptions(ignore_empty_lines=False, quote_char=False),
                convert_options=csv.ConvertOptions(
                    column_types={"id": pa.string(), **dict.fromkeys(columns, kind)},
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
            break
        except pa.ArrowInvalid:
            continue
    else:
        raise _first_fault(file, body, names)
    values = np.empty((table.num_rows, len(columns)), kind.to_pandas_dtype())
    for index, column in enumerate(columns):
        values[:, index] = table[column].to_numpy()
    if kind == pa.float64() and not np.isfinite(values).all():
        row, column_index = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{file}: line {row + 2}, column {columns[column_index]}: "
            f"{values[row, column_index]} is not a finite number"
        )
    return table["id"], values


def _first_fault(file: RawFile, body: bytes, names: list[str]) -> DataError:
    """Find the line that the fast reader stumbled over; slow, and run only for the message."""
    for number, line in enumerate(body.split(b"\n")[:-1], start=2):
        cells = line.rstrip(b"\r").split(b",")
        if len(cells) != len(names):
            return DataError(
                f"{file}: line {number}: has {len(cells)} cells where {len(names)} are expected"
            )
        for name, cell in zip(names[1:], cells[1:], strict=True):
            try:
                float(cell)
            except ValueError:
                text = cell.decode("utf-8", "replace")
                return DataError(f"{file}: line {number}, column {name}: {text!r} is not a number")
    return DataError(f"{file}: cannot be read as CSV text")


def check_ids(file: RawFile, ids: pa.ChunkedArray, name: str) -> None:
    """Demand the ids ``<name>_0``, ``<name>_1``, ... in this order.

    Raises
    ------
    DataError
        Naming the first line that breaks it, and whether its id is foreign, doubled, missing or
        out of order.
    """
    expected = pc.binary_join_element_wise(
        pa.scalar(f"{name}_"), pa.array(np.arange(len(ids))).cast(pa.string()), ""
    )
    same = pc.equal(ids.combine_chunks(), expected)
    if pc.all(same).as_py():
        return
    row = pc.index(same, False).as_py()
    found, line = ids[row].as_py(), row + 2
    where = f"{file}: line {line}: id {found!r}"
    match = _ID.fullmatch(found)
    if match is None or match[1] != name:
        raise DataError(f"{where} does not belong to {name}")
    if pc.index(ids.slice(0, row), found).as_py() >= 0:
        raise DataError(f"{where} stands there twice")
    if pc.index(ids.slice(row), f"{name}_{row}").as_py() >= 0:
        raise DataError(f"{where} is out of order; {name}_{row} is expected, and comes later")
    raise DataError(f"{where} where {name}_{row} is expected, which is missing")


def ingest_series(
    scratch: Path, report: object, raw: RawSeries, channels: list[str], events: list[str]
) -> None:
    """Read one series, check it, and write it as arrays (the work of one task).

    The signal is int16 where its values are whole and fit, else float32.

    Parameters
    ----------
    scratch : Path
        Where ``<name>_signal.npy`` and, for a labelled series, ``<name>_events.npy`` are written.
    report : callable
        Not used: the task is short.
    raw : RawSeries
        The raw files.
    channels, events : list of str
        The columns that they must have.

    Raises
    ------
    DataError
        Naming the file and the line.
    """
    ids, signal = read_table(raw.data, channels)
    check_ids(raw.data, ids, raw.name)
    whole = np.issubdtype(signal.dtype, np.integer)
    fits = whole and signal.min() >= -(2**15) and signal.max() < 2**15
    np.save(scratch / f"{raw.name}_signal.npy", signal.astype(np.int16 if fits else np.float32))
    if raw.events is None:
        return
    ids, labels = read_table(raw.events, events)
    check_ids(raw.events, ids, raw.name)
    if len(labels) != len(signal):
        raise DataError(
            f"{raw.events}: has {len(labels)} rows where {raw.data.base} has {len(signal)}"
        )
    wrong = np.argwhere((labels != 0) & (labels != 1))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{raw.events}: line {row + 2}, column {events[column]}: {labels[row, column]:g} is "
            "neither 0 nor 1"
        )
    np.save(scratch / f"{raw.name}_events.npy", labels.astype(np.uint8))


def outputs(raw: RawSeries) -> tuple[str, ...]:
    """Name the files that `ingest_series` writes."""
    kinds = ("signal", "events") if raw.events else ("signal",)
    return tuple(f"{raw.name}_{kind}.npy" for kind in kinds)
