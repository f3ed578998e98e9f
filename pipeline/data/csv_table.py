r"""Kaggle's CSV text to ids and numbers, strictly.

There are three readers. The quick one (`whole_numbers`) takes a series' usual files and gives up on
anything else. The fast one is pyarrow's, which accepts more than it should (``0x1F``, blanks,
``+5``). The careful one goes line by line in Python and states the rules. A file that could hold
such a case goes to the careful one, so that all three give the same for every file.

A file is UTF-8 text of lines that end in ``\n`` or ``\r\n``, the last one too. The first is the
header. Every other line has an id and then one number per column, without blanks or quotes. A
number is decimal, by `NUMBER`, and finite in single precision.
"""

from __future__ import annotations

import io
import re
from array import array
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import csv

from pipeline.data.raw_files import RawFile, excerpt
from pipeline.data.whole_numbers import read_whole_numbers
from pipeline.errors import DataError

NUMBER = re.compile(rb"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""What a number looks like: ``-12``, ``0.5``, ``.5``, ``5.``, ``1e-05``. Nothing else is one."""

_WHOLE = re.compile(rb"-?[0-9]+")

SINGLE_END = 2.0**128 - 2.0**103
"""The smallest number that single precision rounds to infinity."""

_DOUBTFUL = (b"x", b"X", b" ", b"\t")
"""Bytes by which pyarrow takes cells for numbers that are none; correct ids have none of them."""


@dataclass(frozen=True)
class Table:
    """The content of a CSV file.

    Parameters
    ----------
    file : RawFile
        Where it was read from.
    columns : tuple of str
        The names of the E number columns.
    ids : pyarrow.ChunkedArray of string, length T, or None
        The ids as they stand in the file; None if they are those of the expected series.
    values : ndarray, shape (T, E), int16 or float64
        The numbers; int16 where all are written as whole numbers and fit.
    """

    file: RawFile
    columns: tuple[str, ...]
    ids: pa.ChunkedArray | None
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def written_ids(self) -> pa.Array:
        """Give the ids of a table that was read without naming a series."""
        assert self.ids is not None
        return self.ids.combine_chunks()

    def demand(self, right: np.ndarray, rule: str) -> None:
        """Refuse the table if some values break a rule.

        Parameters
        ----------
        right : ndarray of bool, shape (T, E)
            Which values keep it.
        rule : str
            E.g. "is neither 0 nor 1".

        Raises
        ------
        DataError
            Naming the first value that breaks it, with its line and column.
        """
        if right.all():
            return
        row, column = np.argwhere(~right)[0]
        value = self.values[row, column].item()
        raise DataError(
            f"{self.file}: line {row + 2}, column {self.columns[column]}: {value!r} {rule}"
        )


def read_table(file: RawFile, columns: list[str], most: int, series: str | None = None) -> Table:
    """Read a CSV file of ids and numbers.

    Parameters
    ----------
    file : RawFile
        The file.
    columns : list of str
        The names of the number columns, which follow ``id``.
    most : int
        Most bytes that it may have.
    series : str, optional
        Whose rows are expected; such a file is read twice as fast.

    Returns
    -------
    Table
        Its content.

    Raises
    ------
    DataError
        Naming the file and the line: a wrong header, a line with too few or too many cells, a cell
        that is no number or not finite in single precision, or a last line that is cut.
    """
    names = ["id", *columns]
    blob = file.read(most, lambda start: _check_header(file, start, names))
    first = blob.index(b"\n") + 1
    if not blob.endswith(b"\n"):
        last = blob.count(b"\n") + 1
        raise DataError(
            f"{file}: line {last}: the file ends inside this line; it is cut: download it again "
            "(or end the line, if it is whole)"
        )
    if series is not None:
        plain = blob
        if blob[first - 2 : first] == b"\r\n":
            plain = blob.replace(b"\r\n", b"\n")
        values = read_whole_numbers(plain, plain.index(b"\n") + 1, series, len(columns))
        if values is not None:
            return Table(file, tuple(columns), None, values)
    ids, values = _read_fast(blob, first, names) or _read_carefully(file, blob, first, names)
    return Table(file, tuple(columns), ids, values)


def _check_header(file: RawFile, start: bytes, expected: list[str]) -> None:
    """Check the header line, which must be among the first bytes of the file."""
    if not start.strip():
        raise DataError(f"{file}: is empty")
    head, newline, body = start.partition(b"\n")
    try:
        columns = head.removesuffix(b"\r").decode("utf-8").split(",")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: line 1: is not UTF-8 text") from error
    if columns != expected:
        missing = [c for c in expected if c not in columns]
        extra = [c for c in columns if c not in expected]
        if missing and extra:
            what = f"column {missing[0]} is missing and {excerpt(extra[0])} is not known"
        elif missing:
            what = f"column {missing[0]} is missing"
        elif extra:
            what = f"column {excerpt(extra[0])} is not known"
        elif len(columns) > len(expected):
            twice = next(c for c in columns if columns.count(c) > 1)
            what = f"column {twice} stands there twice"
        else:
            at = next(i for i, (a, b) in enumerate(zip(columns, expected, strict=True)) if a != b)
            what = f"column {at + 1} is {columns[at]}, where {expected[at]} is expected"
        raise DataError(f"{file}: line 1: {what}; the header must be {','.join(expected)}")
    if not newline or not body:
        raise DataError(f"{file}: holds a header and no rows")


def _read_fast(
    blob: bytes, first: int, names: list[str]
) -> tuple[pa.ChunkedArray, np.ndarray] | None:
    """Read with pyarrow; None where that fails or could give something else than the rules."""
    if any(blob.find(byte, first) >= 0 for byte in _DOUBTFUL):
        return None
    # pyarrow ends a line at a carriage return, wherever it stands
    if blob.count(b"\r", first) != blob.count(b"\r\n", first):
        return None
    table = _parse(blob, first, names, pa.int16())
    if table is None:
        # pyarrow takes +5 for a fraction, though not for a whole number
        signs = blob.count(b"+", first)
        if signs and signs != blob.count(b"e+", first) + blob.count(b"E+", first):
            return None
        table = _parse(blob, first, names, pa.float64())
    if table is None:
        return None
    # One contiguous row per column, then transposed: three times as fast as column by column.
    values = np.ascontiguousarray(np.stack([table[name].to_numpy() for name in names[1:]]).T)
    if values.dtype == np.float64 and not (np.abs(values) < SINGLE_END).all():  # or nan
        return None
    return table["id"], values


def _parse(blob: bytes, first: int, names: list[str], kind: pa.DataType) -> pa.Table | None:
    """Parse the lines from the byte `first` on; None if a cell is not of this type."""
    try:
        return csv.read_csv(
            pa.BufferReader(pa.py_buffer(blob).slice(first)),
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=csv.ParseOptions(ignore_empty_lines=False, quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types={"id": pa.string(), **dict.fromkeys(names[1:], kind)},
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None


def _read_carefully(
    file: RawFile, blob: bytes, first: int, names: list[str]
) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Read line by line, and name the first fault; slow, for the few files that need it."""
    ids: list[str] = []
    values, whole = array("d"), True
    stream = io.BytesIO(blob)
    stream.seek(first)
    for number, line in enumerate(stream, start=2):
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        where = f"{file}: line {number}"
        if line.count(b",") + 1 != len(names):  # counted before they are split: there may be many
            raise DataError(
                f"{where}: has {line.count(b',') + 1} cells where {len(names)} are expected"
            )
        name, *cells = line.split(b",")
        if b"\r" in name:
            raise DataError(f"{where}: id {excerpt(name)} holds a carriage return")
        try:
            ids.append(name.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: id {excerpt(name)} is not UTF-8 text") from error
        for column, cell in zip(names[1:], cells, strict=True):
            if not NUMBER.fullmatch(cell):
                raise DataError(f"{where}, column {column}: {excerpt(cell)} is not a number")
            value = float(cell)
            if not abs(value) < SINGLE_END:
                raise DataError(
                    f"{where}, column {column}: {excerpt(cell)} is beyond single precision (3.4e38)"
                )
            values.append(value)
            whole = whole and -(2**15) <= value < 2**15 and bool(_WHOLE.fullmatch(cell))
    table = np.frombuffer(values, dtype=np.float64).reshape(len(ids), len(names) - 1)
    return pa.chunked_array([pa.array(ids, pa.string())]), table.astype(
        np.int16
    ) if whole else table
