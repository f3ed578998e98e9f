"""A stream's channels, rate and units, compared with those that a recipe was fitted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.channel_names import standard_name
from pipeline.data.recording import Description
from pipeline.errors import DataError

RATE_TOLERANCE = 1e-3  # of an announced rate, as a share
# Names of units as devices write them, in lower case, and the volts in one.
UNITS = {
    "volts": 1.0, "volt": 1.0, "v": 1.0,
    "millivolts": 1e-3, "millivolt": 1e-3, "mv": 1e-3,
    "microvolts": 1e-6, "microvolt": 1e-6, "uv": 1e-6, "\u00b5v": 1e-6, "\u03bcv": 1e-6,
    "nanovolts": 1e-9, "nanovolt": 1e-9, "nv": 1e-9,
}  # fmt: skip
# MNE-LSL writes a power of ten where a unit has no name.
UNITS |= {str(power): 10.0**power for power in (-3, -6, -9)}


@dataclass(frozen=True)
class Announced:
    """What a stream says of itself.

    Parameters
    ----------
    name : str
        The stream's.
    channels : tuple of str
        Names, in the order in which samples come; empty where it names none.
    units : tuple of str
        Of each channel; empty text where it says none.
    rate : float
        Samples per second; 0 for an irregular one.
    """

    name: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate: float


@dataclass(frozen=True)
class Selection:
    """Takes a recipe's channels out of a stream's samples, in the recipe's units.

    Parameters
    ----------
    columns : ndarray of int, shape (C,)
        Where in the stream each channel of the recipe is.
    factors : ndarray, shape (C,)
        The recipe's units in one of the stream's.
    notes : tuple of str
        What is to be told.
    """

    columns: NDArray[np.int_]
    factors: NDArray[np.float64]
    notes: tuple[str, ...]

    def __call__(self, samples: NDArray) -> NDArray[np.float64]:
        """Take the channels.

        Parameters
        ----------
        samples : ndarray, shape (n, streamed channels)
            As the stream has them.

        Returns
        -------
        ndarray of float64, shape (n, C)
        """
        return samples[:, self.columns].astype(np.float64) * self.factors


def select(stream: Announced, about: Description, unit_volts: float | None = None) -> Selection:
    """Find a recipe's channels in a stream, and check its rate and units.

    Parameters
    ----------
    stream : Announced
        The stream.
    about : Description
        Of the recordings that the recipe was fitted on.
    unit_volts : float or None
        Volts in one unit of the stream, in place of what its description says.

    Raises
    ------
    DataError
        For another rate, a channel that is missing or stands there twice, or a unit that is not
        known.
    """
    where = f"stream {stream.name!r}"
    if not abs(stream.rate - about.rate) <= RATE_TOLERANCE * about.rate:
        announced = f"{stream.rate:g} Hz" if stream.rate else "no regular rate"
        raise DataError(
            f"{where}: announces {announced}; the recipe was fitted at {about.rate:g} Hz: set the "
            "amplifier to that, or fit a recipe at the amplifier's rate"
        )
    if not stream.channels:
        raise DataError(
            f"{where}: does not name its channels; the recipe needs {', '.join(about.channels)}"
        )
    named = [standard_name(name, about.montage) for name in stream.channels]
    wanted = [standard_name(name, about.montage) for name in about.channels]
    if missing := [about.channels[i] for i, name in enumerate(wanted) if name not in named]:
        raise DataError(
            f"{where}: channel {', '.join(missing)} is missing; the stream has "
            f"{', '.join(stream.channels)}"
        )
    if twice := [name for name in wanted if Counter(named)[name] > 1]:
        raise DataError(f"{where}: channel {', '.join(twice)} stands there twice")
    columns = np.array([named.index(name) for name in wanted])
    notes = []
    if list(columns) != sorted(columns):
        notes.append("the stream's channels are in another order; they are sorted by their names")
    if spare := [name for i, name in enumerate(stream.channels) if i not in set(columns)]:
        notes.append(f"not used: channel {', '.join(spare)}")
    volts = _volts(stream, columns, unit_volts, where)
    return Selection(columns, volts / about.unit_volts, tuple(notes))


def _volts(
    stream: Announced, columns: Sequence[int] | NDArray, unit_volts: float | None, where: str
) -> NDArray[np.float64]:
    """Give the volts in one unit of each chosen channel."""
    if unit_volts is not None:
        return np.full(len(columns), unit_volts)
    units = stream.units or ("",) * len(stream.channels)
    volts = []
    for column in columns:
        unit = units[column].strip().lower()
        if unit not in UNITS:
            said = f"has the unit {units[column]!r}" if unit else "has no unit"
            raise DataError(
                f"{where}: channel {stream.channels[column]} {said}; say how many volts one unit "
                "is, e.g. live.unit_volts=1e-6 for microvolts"
            )
        volts.append(UNITS[unit])
    return np.array(volts)
