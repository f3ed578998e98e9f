"""One line per source of recordings: which module finds and reads them.

A source's module has a function ``find_series(folder, subjects, labelled, unlabelled)``. It lists
its series, each a `Series`, ordered by (subject, series) as people count.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the configuration's check reads this module, and must start quickly
    from pathlib import Path

    from pipeline.data.names import Id
    from pipeline.data.series import Series

# By ``dataset.source``.
SOURCES = {
    "kaggle": "pipeline.data.kaggle_files",
    "simulated": "pipeline.data.kaggle_files",  # the simulator writes Kaggle's format
}
# Those whose subjects and series are numbers.
NUMBERED = ("kaggle", "simulated")


def finder(
    source: str,
) -> Callable[[Path, list[Id], list[Id], list[Id]], list[Series]]:
    """Give a source's ``find_series``."""
    return import_module(SOURCES[source]).find_series
