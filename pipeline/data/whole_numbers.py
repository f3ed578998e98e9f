r"""A quick reader for what Kaggle's series hold: known ids, and whole numbers of a few digits.

It is faster than a CSV library, because it may give up: on anything but correct ids and plain whole
numbers it returns None, and `csv_table` reads the file instead. It goes through the text once, in
machine code, and takes the eight characters from a cell's start on as one number of 64 bits. A few
operations on that number find the cell's end and its value, without a branch for each digit.

Where a cell begins is known once the one before it is read, and a processor waits for that longer
than it computes. So two parts of the text are read in turn, cell by cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from pipeline.data.compiled import compiled, instruction, part

_DIGITS = 5
"""Digits of the longest number: int16 has no more."""
_MOST_ROW_DIGITS = 6
"""Digits of the last row's number: the longest real series has some 260,000 rows."""
_WORD = 8
"""Characters that are read at once."""


def read_whole_numbers(text: bytes, first: int, name: str, columns: int) -> np.ndarray | None:
    r"""Read the rows of a series if they hold nothing unusual.

    Parameters
    ----------
    text : bytes
        The file; its last line has an end.
    first : int
        Where the first row begins.
    name : str
        The series: the ids must be ``<name>_0``, ``<name>_1``, ... in this order.
    columns : int
        How many numbers, E, a row has.

    Returns
    -------
    ndarray of int16, shape (T, E), or None
        The numbers. None where a line does not end in ``\n``, an id is another, or a cell is no
        whole number of int16 with at most five digits.
    """
    prefix = f"{name}_".encode()
    shortest, longest = len(prefix) + 1 + 2 * columns + 1, _longest(len(prefix), columns)

    def row_from(at: int, end: int) -> int:
        return text.find(b"\n", at, end) + 1 or end

    # The last rows are read from a copy with something behind them: words end within the text.
    last = text.rfind(b"\n", first, -1) + 1 or first
    tail = row_from(len(text) - longest, last) if len(text) - longest > first else first
    middle = row_from(first + (tail - first) // 2, tail)
    # Rows say themselves which they are. Whether that is right shows as they are read.
    numbers = [_row_number(text, at, prefix) for at in (middle, tail, last)]
    if min(numbers) < 0 or numbers != sorted(numbers):
        return None
    half, most, rows = numbers[0], numbers[1], numbers[2] + 1
    if rows * shortest > len(text) - first:  # no memory for what cannot be there
        return None
    values = np.empty((rows, columns), np.int16)
    words = np.frombuffer(prefix + bytes(-len(prefix) % _WORD), "<u8")

    def read(part: bytes, begins: tuple[int, int, int], numbers: tuple[int, int, int]) -> bool:
        return _read(np.frombuffer(part, np.uint8), begins, numbers, len(prefix), words, values)

    rest, size = text[tail:] + bytes(longest), len(text) - tail
    right = read(text, (first, middle, tail), (0, half, most)) and read(
        rest, (0, size, size), (most, rows, rows)
    )
    return values if right else None


@part
def _longest(width, columns):
    """Say how many characters are looked at from where a row begins, also of one that is wrong.

    The number of an id or of a cell and the sign behind it are within a word.
    """
    return width + _WORD * (1 + columns)


def _row_number(text: bytes, at: int, prefix: bytes) -> int:
    """Give the number of the row that begins here; -1 if its id is none."""
    begin = at + len(prefix)
    digits = text[begin : begin + _MOST_ROW_DIGITS + 1].partition(b",")[0]
    right = text.startswith(prefix, at) and len(digits) <= _MOST_ROW_DIGITS and digits.isdigit()
    return int(digits) if right else -1


@instruction
def _word(typing: Any, text: Any, at: Any) -> Any:
    """Give the eight characters from `at` on as one number, the first one lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(text, at), emit


@instruction
def _zeros(typing: Any, word: Any) -> Any:
    """Count the zeros below the lowest one of a word that has a one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return word(word), emit


@part
def _bits(digits, negative):
    """Say how many bits the number at the beginning of a word has, 0 to 56 by 8.

    A digit's byte is its value, 0 to 9, and stays below 128 with 118 added. The sum of another
    byte may run over into the next one, which comes later. A minus sign is none: let it pass.
    """
    others = (digits + np.uint64(0x7676767676767676) | digits) & np.uint64(0x8080808080808080)
    return _zeros(others & ~(negative << np.uint64(7)) | np.uint64(1 << 63)) - np.uint64(7)


@part
def _value(digits, bits):
    """Give the number that the digits in so many bits, 0 to 56, at the beginning of a word say."""
    digits = (digits << np.uint64(8)) << (np.uint64(56) - bits)
    pair = (digits * np.uint64(10) + (digits >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    four = (pair * np.uint64(100) + (pair >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return (four * np.uint64(10000) + (four >> np.uint64(32))) & np.uint64(0xFFFFFFFF)


@part
def _id(text, at, row, width, words):
    """Read an id: where the row's first cell begins, and something but 0 if it is another."""
    wrong = np.uint64(0)
    for place in range(len(words)):
        wrong |= _differ(_word(text, at + np.uint64(8 * place)), words[place], width - 8 * place)
    at += np.uint64(width)
    word = _word(text, at)
    digits = word ^ np.uint64(0x3030303030303030)
    bits = _bits(digits, np.uint64(0))
    wrong |= np.uint64(bits == np.uint64(0))
    zero = np.uint64((digits & np.uint64(0xFF)) == np.uint64(0))
    wrong |= zero & np.uint64(bits != np.uint64(8))  # 0 is no number's first digit but its own
    wrong |= _value(digits, bits) ^ np.uint64(row)
    wrong |= (word >> bits) & np.uint64(0xFF) ^ np.uint64(ord(","))
    return at + (bits >> np.uint64(3)) + np.uint64(1), wrong


@part
def _differ(word, other, characters):
    """Compare the first so many characters of two words, at least 1; 0 if they are the same."""
    beyond = np.uint64(8 * max(8 - characters, 0))
    return (word ^ other) << beyond


@part
def _cell(text, at, end):
    """Read a cell: where the next one begins, its value, and something but 0 if it is unusual."""
    word = _word(text, at)
    digits = word ^ np.uint64(0x3030303030303030)
    negative = np.uint64((word & np.uint64(0xFF)) == np.uint64(ord("-")))
    minus = np.uint64(0) - negative  # all bits, or none
    bits = _bits(digits, negative)
    value, length = _value(digits & ~(minus & np.uint64(0xFF)), bits), bits >> np.uint64(3)
    wrong = (word >> bits) & np.uint64(0xFF) ^ end
    wrong |= np.uint64(value > np.uint64(32767) + negative)
    # One less than none is a very large number.
    wrong |= np.uint64(length - negative - np.uint64(1) >= np.uint64(_DIGITS))
    signed = np.int16(np.int64((value ^ minus) + negative))
    return at + length + np.uint64(1), signed, wrong


@compiled
def _read(text, begins, numbers, width, words, values):
    """Fill rows of `values`, shape (T, E), from two parts of a text that follow one another.

    The parts begin, and the second one ends, at `begins`, where the rows `numbers` begin. False
    where they hold anything unusual.
    """
    columns = values.shape[1]
    one, two = np.uint64(begins[0]), np.uint64(begins[1])
    row, row_two = numbers[0], numbers[1]
    # A row that begins later may end behind the text.
    safe = np.uint64(max(len(text) - _longest(width, columns) + 1, 0))
    while row < numbers[1] and row_two < numbers[2] and one < safe and two < safe:
        one, wrong = _id(text, one, row, width, words)
        two, wrong_two = _id(text, two, row_two, width, words)
        wrong |= wrong_two
        for column in range(columns):
            end = np.uint64(ord(",") if column < columns - 1 else ord("\n"))
            one, values[row, column], wrong_one = _cell(text, one, end)
            two, values[row_two, column], wrong_two = _cell(text, two, end)
            wrong |= wrong_one | wrong_two
        if wrong:
            return False
        row += 1
        row_two += 1
    for at, first, last, stop in (
        (one, row, numbers[1], begins[1]),
        (two, row_two, numbers[2], begins[2]),
    ):
        for number in range(first, last):
            if at >= safe:
                return False
            at, wrong = _id(text, at, number, width, words)
            for column in range(columns):
                end = np.uint64(ord(",") if column < columns - 1 else ord("\n"))
                at, values[number, column], wrong_one = _cell(text, at, end)
                wrong |= wrong_one
            if wrong:
                return False
        if at != np.uint64(stop):
            return False
    return True
