"""Write predictions as a Kaggle submission, and check a submission."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.data.csv_table import read_table
from pipeline.data.kaggle_files import row_ids
from pipeline.data.raw_files import MOST_SUBMISSION_BYTES, RawFile, excerpt, printable
from pipeline.errors import DataError
from pipeline.work.files import write_whole


def expected_ids(rows: dict[str, int]) -> pa.Array:
    """Give the ids of all test rows, series by series in the order of ``rows``."""
    return pa.concat_arrays([row_ids(name, count) for name, count in rows.items()])


def sample_ids(sample: RawFile, events: tuple[str, ...]) -> pa.Array:
    """Read the ids of Kaggle's sample submission, in its order."""
    return read_table(sample, list(events), MOST_SUBMISSION_BYTES).written_ids()


def _first(ids: pa.Array, known: pa.Array) -> tuple[int, str] | None:
    """Find the first of ``ids`` that is not among ``known``."""
    foreign = pc.is_null(pc.index_in(ids, value_set=known))
    at = pc.index(foreign, True).as_py()
    return None if at < 0 else (at, ids[at].as_py())


def check_submission(path: Path, expected: pa.Array, events: tuple[str, ...]) -> int:
    """Check a submission as strictly as Kaggle does, and also the order of its rows.

    Parameters
    ----------
    path : Path
        The file, plain or gzipped.
    expected : pyarrow.Array of string
        Every id, in order.
    events : tuple of str
        The columns after ``id``.

    Returns
    -------
    int
        How many rows it has.

    Raises
    ------
    DataError
        If a rule is broken; the message names the file and the line. The header must be right;
        every test row must be there once, in order, and no other row; every value must be a
        probability.
    """
    table = read_table(RawFile(path), list(events), MOST_SUBMISSION_BYTES)
    ids, name = table.written_ids(), printable(str(path))
    if not ids.equals(expected):
        if fault := _first(ids, expected):
            raise DataError(
                f"{name}: line {fault[0] + 2}: id {excerpt(fault[1])} is not one of the test rows"
            )
        place = pc.index_in(ids, value_set=expected).to_numpy()
        _, firsts = np.unique(place, return_index=True)
        if len(firsts) < len(place):
            twice = int(np.setdiff1d(np.arange(len(place)), firsts)[0])
            raise DataError(f"{name}: line {twice + 2}: id {ids[twice]} stands there twice")
        if fault := _first(expected, ids):
            lacking = len(expected) - len(ids)
            raise DataError(f"{name}: row {fault[1]!r} is missing ({lacking} of {len(expected)})")
        at = int(np.flatnonzero(place != np.arange(len(place)))[0])
        raise DataError(
            f"{name}: line {at + 2}: id {ids[at]} is out of order; {expected[at]} is expected here"
        )
    table.demand((table.values >= 0) & (table.values <= 1), "is not a probability between 0 and 1")
    return len(ids)


def write_submission(
    path: Path,
    probabilities: dict[str, np.ndarray],
    events: tuple[str, ...],
    sample: RawFile | None = None,
) -> int:
    """Write a submission. It is checked before it gets its final name.

    Parameters
    ----------
    path : Path
        The file.
    probabilities : dict of str to ndarray, each (T, E)
        One entry per test series, ordered by the numbers of subject and series.
    events : tuple of str
        The columns after ``id``.
    sample : RawFile, optional
        Kaggle's sample submission. If given, the submission has its rows, in its order.

    Returns
    -------
    int
        How many rows were written.

    Raises
    ------
    DataError
        If the sample has a row that was not predicted, or lacks a row that was.
    """
    ids = expected_ids({name: len(each) for name, each in probabilities.items()})
    values = np.concatenate(list(probabilities.values())).astype(np.float32)
    if sample is not None:
        wanted = sample_ids(sample, events)
        if fault := _first(wanted, ids):
            raise DataError(
                f"{sample}: line {fault[0] + 2}: asks for {excerpt(fault[1])}, which is not "
                "predicted; predict all test series (dataset.subjects=[] and dataset.test_series)"
            )
        if fault := _first(ids, wanted):
            raise DataError(f"{sample}: lacks the row {fault[1]!r} of the test recordings")
        values = values[pc.index_in(wanted, value_set=ids).to_numpy()]
        ids = wanted
    table = pa.table({"id": ids, **{e: values[:, i] for i, e in enumerate(events)}})
    options = csv.WriteOptions(include_header=False, quoting_style="none")

    def write(hidden: Path) -> None:
        with open(hidden, "wb") as file:
            file.write((",".join(["id", *events]) + "\n").encode())
            csv.write_csv(table, file, options)
        check_submission(hidden, ids, events)

    write_whole(path, write)
    return len(ids)
