"""One line per kind of features: which class turns a recording's samples into feature rows.

The options of each stand in `pipeline.config.filters`. A class is made with ``(rate, **options)``
and does what `Features` says. It never looks ahead. `FilterBank` is the pattern.
"""

from __future__ import annotations

from typing import Any

from pipeline.features.interface import Features, build

# By ``filter.kind``.
FEATURES = {
    "bank": ("pipeline.features.filter_bank", "FilterBank"),
}


def make_features(rate: float, options: dict[str, Any]) -> Features:
    """Make what computes features.

    Parameters
    ----------
    rate : float
        Samples per second of the recordings.
    options : dict
        The group ``filter``, plain. Without ``kind`` it is a filter bank.
    """
    return build(FEATURES[options.get("kind", "bank")], rate, options)
