"""One line per source of recordings: which module finds and reads them.

A source's module has a function ``find_series(folder, subjects, labelled, unlabelled)``. It lists
its series, each a `Series`, ordered by (subject, series) as people count. The source's own options,
if it has some, are further arguments. If its files themselves say which channels, rate and series
there are, it has two more functions: ``describe(found)`` and ``series_names(folder, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the configuration's check reads this module, and must start quickly
    from pipeline.data.series import Series

# By ``dataset.source``.
SOURCES = {
    "kaggle": "pipeline.data.kaggle_files",
    "mne": "pipeline.data.mne_files",
    "bids": "pipeline.data.bids_files",
    "simulated": "pipeline.data.kaggle_files",  # the simulator writes Kaggle's format
}
# Those whose subjects and series are numbers.
NUMBERED = ("kaggle", "simulated")


def finder(source: str) -> Callable[..., list[Series]]:
    """Give a source's ``find_series``."""
    return import_module(SOURCES[source]).find_series
