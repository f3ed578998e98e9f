"""Quantiles of any number of delays in little memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 1e-6, 1e4  # s
BINS_PER_DECADE = 500  # of 0.5 % each


class Delays:
    """Counts delays in bins of 0.5 %, so that an hour takes no more memory than a second."""

    def __init__(self) -> None:
        decades = round(np.log10(MOST / LEAST))
        self._counts = np.zeros(decades * BINS_PER_DECADE + 1, dtype=np.int64)

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count delays; those below a microsecond, and negative ones, count as one."""
        places = np.log10(np.clip(seconds, LEAST, MOST) / LEAST) * BINS_PER_DECADE
        np.add.at(self._counts, places.astype(np.int64), 1)

    def quantile(self, share: float) -> float | None:
        """Give a quantile.

        Parameters
        ----------
        share : float
            E.g. .99.

        Returns
        -------
        float or None
            In s, to 0.5 %; None where nothing was counted.
        """
        sums = np.cumsum(self._counts)
        if not sums[-1]:
            return None
        place = int(np.searchsorted(sums, share * sums[-1]))
        return float(LEAST * 10 ** ((place + 0.5) / BINS_PER_DECADE))
