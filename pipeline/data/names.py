"""Names of subjects and series: in the order in which people count, and safe in file names."""

from __future__ import annotations

import re

_PARTS = re.compile(r"([0-9]+)")
_PLAIN = re.compile(r"0|[1-9][0-9]{0,17}")
LONGEST = 60  # characters of a name; a file's name holds two of them, and an ending
_Natural = tuple[tuple[int, int | str], ...]


def _natural(text: str) -> _Natural:
    """Split a name into its numbers and what stands between them."""
    parts = [part for part in _PARTS.split(text) if part]
    return tuple((0, int(part)) if part[0].isdecimal() else (1, part) for part in parts)


class Name(str):
    """A name that is ordered as people count: ``R2`` comes before ``R10``, and ``2`` before ``R1``.

    It compares with whole numbers, too, which are names of digits alone.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: object) -> bool:
        text = str(other)
        # Names such as 1 and 01 count the same; their characters decide then.
        return (_natural(self), str(self)) < (_natural(text), text)

    def __gt__(self, other: object) -> bool:
        text = str(other)
        return (_natural(self), str(self)) > (_natural(text), text)

    def __le__(self, other: object) -> bool:
        return not self > other

    def __ge__(self, other: object) -> bool:
        return not self < other


Id = int | Name
"""What a subject or a series is called: a whole number, as in the competition, or a name."""


def identity(given: object) -> Id:
    """Turn what a file, a path or the command line says into what a subject or series is called.

    Parameters
    ----------
    given : int or str
        E.g. ``7``, ``"7"``, ``"007"`` or ``"MK07"``. The first two are the same; with its zeros a
        number stays a name.
    """
    text = str(given)
    return int(text) if _PLAIN.fullmatch(text) else Name(text)


def in_file_name(name: Id) -> str:
    """Write a name with letters, digits and hyphens alone, each name in a way of its own.

    Parameters
    ----------
    name : int or str
        Of a subject or a series.

    Returns
    -------
    str
        Every other character becomes a point and the two digits of each of its UTF-8 bytes.
    """
    return "".join(
        each if each.isascii() and (each.isalnum() or each == "-")
        else "".join(f".{byte:02x}" for byte in each.encode())
        for each in str(name)
    )  # fmt: skip


def subject_name(subject: Id) -> str:
    """Name a subject as files and tables do, e.g. ``subj3``."""
    return f"subj{in_file_name(subject)}"


def series_name(subject: Id, series: Id) -> str:
    """Name a series as its files and its rows are named, e.g. ``subj3_series7``."""
    return f"{subject_name(subject)}_series{in_file_name(series)}"
