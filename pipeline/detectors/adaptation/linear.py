"""Linear discriminants for a new person: his own sums, and other people's as a prior.

A discriminant is made from sums over rows, so those of others, whose features are standardised each
for themselves, can simply be added. They count for a few series, so that his own decide soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line
from pipeline.detectors.discriminant import Sums
from pipeline.detectors.linear import LinearDetector, fitted_rows
from pipeline.detectors.scaling import Scaler, fit_scalers
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.config.methods.linear import LdaMethod

# What all others together count for, in series of the new person's own.
OTHERS = 0.5


def scalers(known: Sequence[LinearDetector]) -> list[Scaler]:
    """Give the scaler of each person whom the detectors were fitted on."""
    return [scaler for each in known for scaler in each.scalers.values()]


def adapted(
    known: Sequence[LinearDetector], data: FitData, subject: Id, options: LdaMethod
) -> tuple[LinearDetector, list[Line]]:
    """Fit a new person's discriminants; see `pipeline.detectors.adaptation.adapt.adapt`.

    Raises
    ------
    DataError
        The others' models were written by a version that kept no sums.
    """
    kept = [each.sums for each in known if each.sums is not None]
    if len(kept) < len(known):
        raise DataError(
            "the fitted recipe is of an earlier version, and cannot be adapted; fit it again"
        )
    sums = reduce(add, kept)
    width = len(sums.total) // options.tap_count
    scaler: Scaler = (np.zeros(width), np.ones(width, dtype=np.float32))
    if data.fitted:
        (scaler,) = fit_scalers(data.fitted).values()
        sums = sums * (OTHERS / float(sums.series))
        for series in data.fitted:
            sums = sums + Sums.of(*fitted_rows(series, scaler, options), 1)
    data.report(1.0, {})
    weights, bias = sums.discriminants(options.shrinkage)
    found = LinearDetector(
        weights, bias, options.tap_count, options.tap_every, {subject: scaler}, sums
    )
    return found, [{"best": True}]
