"""A quick reader for what Kaggle's series hold: known ids, and whole numbers of a few digits.

It is faster than a CSV library, because it may give up: on anything but correct ids and plain whole
numbers it returns None, and `csv_table` reads the file instead. It goes through the text once, in
machine code, and takes the eight characters from a cell's start on as one number of 64 bits. A few
operations on that number find the cell's end and its value, without a branch for each digit.
"""

from __future__ import annotations

import numpy as np

from pipeline.data.compiled import compiled, part

_DIGITS = 5
"""Digits of the longest number: int16 has no more."""
_MOST_ROW_DIGITS = 6
"""Digits of the last row's number: the longest real series has some 260,000 rows."""


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
    prefix = np.frombuffer(f"{name}_".encode(), np.uint8)
    rows = text.count(b"\n", first)
    shortest = len(prefix) + 1 + 2 * columns + 1
    if not rows or rows * shortest > len(text) - first:  # no memory for what cannot be there
        return None
    values = np.empty((rows, columns), np.int16)
    return values if _read(np.frombuffer(text, np.uint8), first, prefix, values) else None


@part()
def _eight(text, at):
    """Give eight characters as one number, the first one lowest; past the end they are 0."""
    if at + np.uint64(8) <= np.uint64(len(text)):
        return (
            np.uint64(text[at])
            | np.uint64(text[at + np.uint64(1)]) << np.uint64(8)
            | np.uint64(text[at + np.uint64(2)]) << np.uint64(16)
            | np.uint64(text[at + np.uint64(3)]) << np.uint64(24)
            | np.uint64(text[at + np.uint64(4)]) << np.uint64(32)
            | np.uint64(text[at + np.uint64(5)]) << np.uint64(40)
            | np.uint64(text[at + np.uint64(6)]) << np.uint64(48)
            | np.uint64(text[at + np.uint64(7)]) << np.uint64(56)
        )
    word = np.uint64(0)
    for place in range(len(text) - np.int64(at)):
        word |= np.uint64(text[at + np.uint64(place)]) << np.uint64(8 * place)
    return word


@part()
def _others(word):
    """Mark, by the high bit of its byte, the first character that is no digit, and some later ones.

    A digit's byte becomes its value, 0 to 9, and stays below 128 with 118 added. The sum of
    another byte may run over into the next one, which comes later.
    """
    digit = word ^ np.uint64(0x3030303030303030)
    return (digit + np.uint64(0x7676767676767676) | digit) & np.uint64(0x8080808080808080)


@part()
def _before(marks):
    """Count the characters before the first mark; 8 if there is none."""
    below = ((marks & (~marks + np.uint64(1))) - np.uint64(1)) >> np.uint64(7)
    ones = below & np.uint64(0x0101010101010101)
    return (ones * np.uint64(0x0101010101010101)) >> np.uint64(56)


@part()
def _value(word, digits):
    """Give the number that so many characters, 1 to 7, at the beginning of a word say."""
    digit = (word ^ np.uint64(0x3030303030303030)) << (np.uint64(64) - np.uint64(8) * digits)
    pair = (digit * np.uint64(10) + (digit >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    four = (pair * np.uint64(100) + (pair >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return (four * np.uint64(10000) + (four >> np.uint64(32))) & np.uint64(0xFFFFFFFF)


@compiled()
def _read(text, first, prefix, values):
    """Fill `values`, shape (T, E), from the text; False where it holds anything unusual."""
    rows, columns = values.shape
    one, eight, low = np.uint64(1), np.uint64(8), np.uint64(0xFF)
    at, comma, newline = np.uint64(first), np.uint64(ord(",")), np.uint64(ord("\n"))
    width, wide = np.uint64(len(prefix)), one  # digits of the row's number
    wider = np.uint64(10)  # the next row with one digit more
    for row in range(rows):
        if at + width > np.uint64(len(text)):
            return False
        wrong = np.uint8(0)
        for place in range(width):
            wrong |= text[at + np.uint64(place)] ^ prefix[np.uint64(place)]
        at += width
        if np.uint64(row) == wider:
            wide += one
            wider *= np.uint64(10)
        word = _eight(text, at)
        digits = _before(_others(word))
        if wrong or digits != wide or digits > np.uint64(_MOST_ROW_DIGITS):
            return False
        end = (word >> (eight * digits)) & low
        if _value(word, digits) != np.uint64(row) or end != comma:
            return False
        at += digits + one
        for column in range(columns):
            word = _eight(text, at)
            negative = np.uint64((word & low) == np.uint64(ord("-")))
            characters = _before(_others(word) & ~(negative << np.uint64(7)))
            digits = characters - negative
            if digits - one >= np.uint64(_DIGITS):  # one less than none is a very large number
                return False
            end = (word >> (eight * characters)) & low
            value = _value(word >> (eight * negative), digits)
            if value > np.uint64(32767) + negative:
                return False
            if end != (comma if column < columns - 1 else newline):
                return False
            values[row, column] = np.int16(np.int64(value) * (1 - 2 * np.int64(negative)))
            at += characters + one
    return at == np.uint64(len(text))
