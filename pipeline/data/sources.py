"""One line per source of recordings: which module finds and reads them.

A source's module has a function ``find_series(folder, subjects, labelled, unlabelled)``. It lists
its series, each a `Series`, ordered by (subject, series) as numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

from pipeline.data.recording import Description, Recording

# By ``dataset.source``.
SOURCES = {
    "kaggle": "pipeline.data.kaggle_files",
    "simulated": "pipeline.data.kaggle_files",  # the simulator writes Kaggle's format
}


class Series(Protocol):
    """The raw files of one series, before they are read."""

    @property
    def subject(self) -> int:
        """Whose."""

    @property
    def series(self) -> int:
        """Its number."""

    @property
    def name(self) -> str:
        """How its files are named, e.g. ``subj3_series7``."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that it is read from; their bytes are what the recording depends on."""

    @property
    def labelled(self) -> bool:
        """Whether its labels are read, too."""

    def read(self, about: Description) -> Recording:
        """Read and check it.

        Raises
        ------
        DataError
            Naming the file, the place and what to do.
        """


Find = Callable[[Path, list[int], list[int], list[int]], "list[Series]"]


def finder(source: str) -> Find:
    """Give a source's ``find_series``."""
    return import_module(SOURCES[source]).find_series
