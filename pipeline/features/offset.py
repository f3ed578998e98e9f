"""An amplifier's offset, apart from the EEG that rides on it.

Amplifiers without a high-pass put a constant below each channel, which may be a thousand times the
EEG. Single precision has 24 binary digits: where the offset takes half of them, the EEG has too few
left. So what is computed in single precision is computed less a coarse offset, which is added again
in double precision.
"""

from __future__ import annotations

import numpy as np

STEP = 10_000.0
"""Units: offsets are rounded to multiples of it. Numbers within half a step have none, and single
precision holds those to a two-thousandth of a unit."""


def coarse_offset(values: np.ndarray) -> np.ndarray:
    """Round values, of any shape, to multiples of `STEP`.

    The result is exact in double precision, and so is its difference to any sample of EEG. Two
    recordings that differ by a multiple of `STEP` differ in nothing else once it is subtracted.

    Returns
    -------
    ndarray of float64
        Zero for values within half a step.
    """
    return STEP * np.round(np.asarray(values, dtype=np.float64) / STEP) + 0.0


def in_single(values: np.ndarray, less: np.ndarray) -> np.ndarray:
    """Subtract in double precision where either needs it; give the difference in single.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n, F)
    less : ndarray of float32 or float64, shape (F,)

    Returns
    -------
    ndarray of float32, shape (n, F)
    """
    difference = np.empty(np.shape(values), dtype=np.float32)
    return np.subtract(values, less, out=difference, casting="same_kind")
