"""What a source of recordings gives for each series, before it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pipeline.data.names import Id
from pipeline.data.recording import Description, Recording


class Series(Protocol):
    """The raw files of one series, before they are read."""

    @property
    def subject(self) -> Id:
        """Whose."""

    @property
    def series(self) -> Id:
        """Its number or name."""

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
