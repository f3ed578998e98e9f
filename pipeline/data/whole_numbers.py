"""A quick reader for what Kaggle's series hold: known ids, and whole numbers of a few digits.

It is more than twice as fast as a CSV library, because it may give up: on anything but correct ids
and plain whole numbers it returns None, and `csv_table` reads the file instead. It works on all
cells of a block of text at once: the separators' places are found, then the last character of every
cell is taken, the one before it, and so on, as long as some cell still has digits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_BLOCK = 1 << 18
"""Bytes that are worked on at once; with what is derived from them they fit a processor's cache."""
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
    everything = np.frombuffer(text, np.uint8)
    prefix = np.frombuffer(f"{name}_".encode(), np.uint8)
    blocks: list[np.ndarray] = []
    rows = 0
    while first < len(text):
        end = text.rfind(b"\n", first, first + _BLOCK) + 1
        if not end:  # a line that is longer than a block
            return None
        block = everything[first:end]
        places = np.flatnonzero(block <= ord(","))  # no digit, letter, sign or point is below it
        if len(places) % (columns + 1):
            return None
        stops = places.reshape(-1, columns + 1)
        if (
            np.count_nonzero(block == ord("\n")) != len(stops)
            or np.count_nonzero(block == ord(",")) != len(stops) * columns
            or (block.take(stops[:, -1]) != ord("\n")).any()
        ):
            return None
        starts = np.concatenate([[0], stops[:-1, -1] + 1])
        if not _ids_are_right(block, starts, stops[:, 0], prefix, rows):
            return None
        values = _cells(block, stops)
        if values is None:
            return None
        blocks.append(values)
        rows += len(stops)
        first = end
    return np.concatenate(blocks) if blocks else None


@lru_cache(maxsize=8)
def _numerals(digits: int) -> np.ndarray:
    """Write all numbers of so many digits, without leading zeros, as rows of characters."""
    least = 10 ** (digits - 1) if digits > 1 else 0
    numbers = np.arange(least, 10**digits)
    places = [(numbers // 10**place % 10 + ord("0")) for place in reversed(range(digits))]
    return np.stack(places, axis=1).astype(np.uint8)


def _ids_are_right(
    block: np.ndarray, starts: np.ndarray, stops: np.ndarray, prefix: np.ndarray, row: int
) -> bool:
    """Tell whether the ids are the prefix with ``row``, ``row + 1``, ... behind it."""
    done = 0
    while done < len(starts):  # those with as many digits as the first
        digits = len(str(row + done))
        if digits > _MOST_ROW_DIGITS:
            return False
        least = 10 ** (digits - 1) if digits > 1 else 0
        last = min(len(starts), 10**digits - row)
        expected = _numerals(digits)[row + done - least : row + last - least]
        width = len(prefix) + digits
        if (stops[done:last] - starts[done:last] != width).any():
            return False
        ids = sliding_window_view(block, width)[starts[done:last]]
        if (ids[:, : len(prefix)] != prefix).any() or (ids[:, len(prefix) :] != expected).any():
            return False
        done = last
    return True


def _cells(block: np.ndarray, stops: np.ndarray) -> np.ndarray | None:
    """Give the numbers in the cells that end at ``stops[:, 1:]``; None if one is something else."""
    at = stops[:, 1:].flatten()  # a copy, which is counted down
    values = np.zeros(len(at), np.int16)
    open_ = np.ones(len(at), bool)  # nothing but digits so far, seen from the right
    negative = np.zeros(len(at), bool)
    characters = 0
    for place in range(_DIGITS + 1):
        at -= 1
        taken = block.take(at)
        signs = taken == ord("-")
        signs &= open_
        negative |= signs
        taken -= ord("0")
        open_ &= taken < 10
        count = int(np.count_nonzero(open_))
        if place == 0 and count < len(at):  # a cell without a digit
            return None
        if not count:
            break
        if place == _DIGITS:  # a cell with a sixth digit
            return None
        characters += count
        taken *= open_.view(np.uint8)
        if place == _DIGITS - 1:
            values = values.astype(np.int32)
        values += np.multiply(taken, 10**place, dtype=values.dtype)
    characters += int(np.count_nonzero(negative))
    # Every cell has at least the characters that were read as its number. If the sums agree, none
    # has another.
    if characters != int((stops[:, -1] - stops[:, 0]).sum()) - len(at):
        return None
    np.negative(values, out=values, where=negative)
    if values.min() < -(2**15) or values.max() >= 2**15:
        return None
    return values.astype(np.int16, copy=False).reshape(len(stops), -1)
