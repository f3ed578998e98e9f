"""The grammar of numbers, and the readers: three ways, one result."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.bench.fuzz import CELLS, Refused, reference_number
from pipeline.data import csv_table
from pipeline.data.csv_table import NUMBER, SINGLE_END, read_table
from pipeline.data.kaggle_files import read_series
from pipeline.data.raw_files import MOST_SERIES_BYTES, RawFile
from pipeline.data.whole_numbers import read_whole_numbers
from pipeline.errors import DataError

NAME = "subj1_series1"

PLAIN = st.from_regex(NUMBER.pattern.decode(), fullmatch=True)
NEARLY = st.text(alphabet="0123456789+-.eExX_ \tnaif\x00\u0661,\r\"'", max_size=8)
ANY_CELL = st.one_of(
    PLAIN, NEARLY, st.sampled_from(CELLS), st.text(max_size=6), st.floats().map(str)
)


def table_file(folder, cells: list[str], end: str = "\n", columns: str = "Fp1") -> RawFile:
    """A file of so many lines."""
    path = folder / f"{NAME}_data.csv"
    lines = [f"id,{columns}", *(f"{NAME}_{row},{cell}" for row, cell in enumerate(cells))]
    path.write_bytes("".join(line + end for line in lines).encode("utf-8", "surrogatepass"))
    return RawFile(path)


def truth(cells: list[str]) -> list[Decimal] | None:
    """What the independent reader makes of the cells; None where it refuses one."""
    try:
        # a carriage return at the end of a cell ends the line together with the line feed
        return [reference_number(cell.removesuffix("\r")) for cell in cells]
    except Refused:
        return None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(PLAIN, ANY_CELL), min_size=1, max_size=4))
@example(["0x1F"])
@example(["0xFFFFFFFF"])
@example(["+5", "1.5"])
@example(["1e39"])
@example(["1\r"])
@example(["\u0661"])
def test_a_cell_is_read_exactly_where_the_independent_reader_reads_it(tmp_path_factory, cells):
    file = table_file(tmp_path_factory.mktemp("law"), cells)
    expected = truth(cells)
    for read in (
        lambda: read_table(file, ["Fp1"], MOST_SERIES_BYTES),
        lambda: read_series(file, ["Fp1"], NAME),
    ):
        if expected is None:
            with pytest.raises(DataError) as error:
                read()
            assert str(error.value).isprintable()
            assert re.search(r"_data\.csv: line \d+", str(error.value))
        else:
            assert read().values[:, 0].tolist() == [float(x) for x in expected]


BAD_CELLS = [
    "1e39", "-1e39", "1e400", "0x1F", "0xFFFFFFFF", "1_0", "nan", " 1", "+1", "\u0661", "-", "",
    "1e", "0b1", "1.0.0",
]  # fmt: skip
UNUSUAL = [
    "a_0,1-2", "a_0,12-", "a_0,--1", "a_0,1 2", "a_00,12", "a_1,1", "b_0,1", "a_0,123456",
    "a_0,40000", "a_0,", "a_0,-", "a_0,1,2", "a_0", "a_0;1", "a_0,1.", "a_0,a1", "a0,11",
]  # fmt: skip


@pytest.mark.parametrize("cell", BAD_CELLS)
def test_what_is_no_number_is_refused_at_its_line_and_column(tmp_path, cell):
    with pytest.raises(DataError, match=r"line 3, column Fp1: ") as error:
        read_series(table_file(tmp_path, ["1", cell, "2"]), ["Fp1"], NAME)
    assert repr(cell)[1:-1] in str(error.value)


def test_the_edge_of_single_precision(tmp_path):
    below = np.nextafter(SINGLE_END, 0)
    values = read_table(table_file(tmp_path, [repr(float(below))]), ["Fp1"], 1000).values
    assert np.isfinite(values.astype(np.float32)).all()
    with pytest.raises(DataError, match="beyond single precision"):
        read_table(table_file(tmp_path, [repr(SINGLE_END)]), ["Fp1"], 1000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(-40000, 40000), st.integers(-12, 12)),
                         min_size=2, max_size=2), min_size=1, max_size=150),
       st.sampled_from(["\n", "\r\n"]))  # fmt: skip
def test_the_quick_reader_gives_what_the_others_give(tmp_path_factory, numbers, end):
    file = table_file(
        tmp_path_factory.mktemp("quick"), [f"{a},{b}" for a, b in numbers], end, "Fp1,Fp2"
    )
    quick = read_series(file, ["Fp1", "Fp2"], NAME)
    slow = read_table(file, ["Fp1", "Fp2"], MOST_SERIES_BYTES)
    fits = all(-(2**15) <= x < 2**15 for row in numbers for x in row)
    assert (quick.ids is None) == fits  # it did the work itself
    assert quick.values.dtype == slow.values.dtype == (np.int16 if fits else np.float64)
    np.testing.assert_array_equal(quick.values, slow.values)
    assert quick.values.tolist() == numbers


def test_the_quick_reader_reads_every_number_that_it_may():
    numbers = np.arange(-(2**15), 2**15)
    text = "".join(f"a_{row},{x}\n" for row, x in enumerate(numbers)).encode()
    assert np.array_equal(read_whole_numbers(text, 0, "a", 1)[:, 0], numbers)
    for outside in (-(2**15) - 1, 2**15, 65536 + 12, 99999, -99999):
        assert read_whole_numbers(f"a_0,{outside}\n".encode(), 0, "a", 1) is None


@pytest.mark.parametrize("place", ["id", "number", "end of a line"])
def test_the_quick_reader_looks_at_every_byte(place):
    """Any other character, anywhere, is noticed or is another digit."""
    text = b"ab_0,12,-345\nab_1,6,7\n"
    at = {"id": (0, 1, 2, 3, 13), "number": (5, 9, 18), "end of a line": (4, 7, 12, 17, 22)}[place]
    for here in at:
        for byte in range(256):
            other = text[:here] + bytes([byte]) + text[here + 1 :]
            values = read_whole_numbers(other, 0, "ab", 2)
            digit = place == "number" and chr(byte) in "0123456789"
            sign = (here, byte) == (5, ord("-"))  # -2 for 12
            assert (values is not None) == (other == text or digit or sign)


@pytest.mark.parametrize("line", UNUSUAL)
def test_the_quick_reader_gives_up_on_anything_else(line):
    assert read_whole_numbers(b"a_0,12\n", 0, "a", 1) is not None
    assert read_whole_numbers(f"{line}\n".encode(), 0, "a", 1) is None
    second = "a_0,12\n" + line.replace("a_1", "a_2").replace("a_0", "a_1") + "\n"
    assert read_whole_numbers(second.encode(), 0, "a", 1) is None


def test_ids_are_checked_over_every_power_of_ten():
    rows = [f"a_{row},{row % 7}" for row in range(10_050)]
    assert read_whole_numbers(("\n".join(rows) + "\n").encode(), 0, "a", 1)[:, 0].tolist() == [
        row % 7 for row in range(10_050)
    ]
    for at in (0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 10_049):
        wrong = [*rows[:at], f"a_{at + 1},1", *rows[at + 1 :]]
        assert read_whole_numbers(("\n".join(wrong) + "\n").encode(), 0, "a", 1) is None


AT_THE_END_OF_MEMORY = """
import ctypes, mmap
import numpy as np
from pipeline.data import whole_numbers

read, page = whole_numbers._read, mmap.PAGESIZE
protect = ctypes.CDLL(None).mprotect
pages = []


def at_the_end_of_memory(text, *more):
    whole = -(-len(text) // page) * page
    pages.append(mmap.mmap(-1, whole + page))
    begin = ctypes.addressof(ctypes.c_char.from_buffer(pages[-1]))
    assert protect(ctypes.c_void_p(begin + whole), page, 0) == 0
    pages[-1][whole - len(text) : whole] = text.tobytes()
    placed = np.frombuffer(pages[-1], np.uint8, len(text), whole - len(text))
    placed.flags.writeable = False
    return read(placed, *more)


whole_numbers._read = at_the_end_of_memory
for columns in (1, 6, 32, 200):
    rows = [f"a_{row}," + ",".join(["12345"] * columns) + "\\n" for row in range(9)]
    text = "".join(rows).encode()
    assert whole_numbers.read_whole_numbers(text, 0, "a", columns).shape == (9, columns)
    for length in range(2 * columns, 9 * columns + 60):
        wrong = "1\\n" + "a_000010," + "1" * length + "\\n"
        assert whole_numbers.read_whole_numbers(text + wrong.encode(), 0, "a", columns) is None
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects a page of memory as Linux does")
def test_nothing_is_read_behind_a_text():
    """Where the memory ends, too, and cells are longer than they can be."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END_OF_MEMORY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("said", [0, 7, 150, 299, 300, 999_999])
def test_a_row_that_says_it_is_another_is_no_place_to_write_to(said):
    """Where the reader takes a row's word for where it is, too: in the middle and at the end."""
    rows = [f"a_{row},{row % 7}\n" for row in range(300)]
    assert read_whole_numbers("".join(rows).encode(), 0, "a", 1) is not None
    for at in range(300):
        wrong = [*rows[:at], f"a_{said},1\n", *rows[at + 1 :]]
        values = read_whole_numbers("".join(wrong).encode(), 0, "a", 1)
        assert (values is not None) == (at == said)


def test_the_careful_reader_reads_what_pyarrow_cannot(tmp_path, monkeypatch):
    long = "0" * 3_000_000 + "12"  # longer than pyarrow's blocks
    assert read_table(table_file(tmp_path, ["1", long]), ["Fp1"], 1 << 23).values.tolist() == [
        [1], [12]
    ]  # fmt: skip
    monkeypatch.setattr(csv_table, "_read_fast", lambda *args: None)
    table = read_table(table_file(tmp_path, ["1", "2.5", "-3"]), ["Fp1"], 1000)
    assert table.values[:, 0].tolist() == [1, 2.5, -3]
    assert table.ids.to_pylist() == [f"{NAME}_{row}" for row in range(3)]


@pytest.mark.parametrize("content", [b"\x00" * 30_000_000, b"," * 30_000_000, b"a" * 30_000_000,
                                     b"id,Fp1\n" + b"," * 30_000_000 + b"\n",
                                     b"id,Fp1\n" + b"\x00" * 30_000_000,
                                     b"id,Fp1\nsubj1_series1_0," + b"z" * 30_000_000 + b"\n",
                                     b"id,Fp1\n" + b"\xff" * 30_000_000 + b",1\n",
                                     b"id,Fp1\n" + b"q" * 30_000_000 + b",1\n"])  # fmt: skip
def test_a_file_of_anything_gives_a_short_line_and_no_more_memory_than_it_needs(tmp_path, content):
    path = tmp_path / f"{NAME}_data.csv"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError) as error:
        read_series(RawFile(path), ["Fp1"], NAME)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    message = str(error.value).replace(str(path), "")
    assert len(message) < 250
    assert "line" in message
    assert message.isprintable()
    assert peak < 8 * len(content)


def test_text_that_is_no_text_names_its_line(tmp_path):
    path = tmp_path / f"{NAME}_data.csv"
    path.write_bytes(b"id,Fp1\nsubj1_series1_0,1\nsubj1_\xff_1,2\n")
    with pytest.raises(DataError, match=r"line 3: id .* is not UTF-8 text"):
        read_table(RawFile(path), ["Fp1"], 1000)
