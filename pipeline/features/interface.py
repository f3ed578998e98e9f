"""What every kind of features can do, and how one is made."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import numpy as np


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


def build(kind: tuple[str, str], rate: float, options: dict[str, Any]) -> Features:
    """Make what computes features.

    Parameters
    ----------
    kind : (str, str)
        Module and class.
    rate : float
        Samples per second of the recordings.
    options : dict
        The group ``filter``, plain.
    """
    module, name = kind
    rest = {key: value for key, value in options.items() if key != "kind"}
    return getattr(import_module(module), name)(rate, **rest)
