"""One line per kind of features: which class turns a recording's samples into feature rows.

The options of each stand in `pipeline.config.filters`. A class is made with ``(rate, **options)``
and does what `Features` says. It never looks ahead. `FilterBank` is the pattern.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import numpy as np

# By ``filter.kind``.
FEATURES = {"bank": ("pipeline.features.filter_bank", "FilterBank")}


class Features(Protocol):
    """Turns samples into feature rows, chunk by chunk."""

    @property
    def every(self) -> int:
        """Recorded rows to a feature row."""

    def n_features(self, n_channels: int) -> int:
        """Count the features of so many channels."""

    def start(self, first: np.ndarray) -> Any:
        """Give the state before the first sample, shape (C,)."""

    def transform(self, signal: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """Turn the next samples, shape (n, C), into features, shape (n', F), and a new state."""


def make_features(rate: float, options: dict[str, Any]) -> Features:
    """Make what computes features.

    Parameters
    ----------
    rate : float
        Samples per second of the recordings.
    options : dict
        The group ``filter``, plain. Without ``kind`` it is a filter bank.
    """
    rest = {key: value for key, value in options.items() if key != "kind"}
    module, name = FEATURES[options.get("kind", "bank")]
    return getattr(import_module(module), name)(rate, **rest)
