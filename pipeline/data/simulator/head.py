"""The head: where the electrodes are, and the fields of dipoles at the electrodes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.data.recording import Description
from pipeline.data.simulator.draws import Part, generator
from pipeline.errors import ConfigError

Array = NDArray[np.float64]

REFERENCE = "FCz"  # windows: the smallest amplitudes are at FC1, FC2, Fz and Cz
# Fewer channels may lie in one plane; no sphere can be fitted to them then.
FEWEST_FOR_A_SPHERE = 16
SERIES_ROTATION = 0.05  # rad: how far the sources turn against the cap between series
# Centres of both eyes, and the directions of their dipoles, in head radii: right, front, up
EYES = ((0.3, 0.85, -0.32), (-0.3, 0.85, -0.32))
LOOK_UP = ((0.0, 0.5, 1.0), (0.0, 0.5, 1.0))
LOOK_RIGHT = ((1.0, 0.2, 0.0), (1.0, -0.2, 0.0))


class Head:
    """A sphere fitted to the electrodes' positions.

    Parameters
    ----------
    channels : sequence of str
        The C channel names.
    positions : dict of str to ndarray, shape (3,)
        Positions of all electrodes of the montage, in m.

    Attributes
    ----------
    channels : tuple of str
        The channel names.
    places : ndarray, shape (C, 3)
        Directions of the channels from the centre of the head, of length 1.
    away : ndarray, shape (C,)
        Distances of the channels from the reference in head radii.
    """

    def __init__(self, channels: Sequence[str], positions: dict[str, Array]) -> None:
        # MNE's montages and data sets write the same electrode as FP1 and Fp1.
        known = {name.lower(): position for name, position in positions.items()}
        own = [known[name.lower()] for name in channels]
        points = np.array(own if len(own) >= FEWEST_FOR_A_SPHERE else list(known.values()))
        # |p|^2 = 2 p.c + (r^2 - |c|^2) is linear in the centre c
        design = np.column_stack([2 * points, np.ones(len(points))])
        centre = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0][:3]
        self.channels = tuple(channels)
        self._directions = {
            name: (p - centre) / np.linalg.norm(p - centre) for name, p in known.items()
        }
        self.places = np.array([self.direction(name) for name in channels])
        reference = self.direction(REFERENCE)
        self._electrodes = np.array([*self.places, reference])
        self.away: Array = np.linalg.norm([place - reference for place in self.places], axis=1)

    def direction(self, site: str) -> Array:
        """Direction of an electrode of the montage from the centre of the head, `(3,)`."""
        return self._directions[site.lower()]

    def field(self, places: Array, moments: Array) -> Array:
        """Potential of dipoles at the channels, minus that at the reference; largest value 1.

        Parameters
        ----------
        places, moments : ndarray, shape (sources, 3)
            In head radii from the centre of the head. Only the direction of a moment matters.

        Returns
        -------
        ndarray, shape (sources, C)
            As in an unbounded conductor. Such a field is as smooth as that of a real head.
        """
        apart = self._electrodes[None] - places[:, None]
        potential = (apart * moments[:, None]).sum(2) / np.linalg.norm(apart, axis=2) ** 3
        potential = potential[:, :-1] - potential[:, -1:]
        return potential / np.abs(potential).max(1, keepdims=True)

    def eye_fields(self, turn: Array) -> Array:
        """Fields of looking up (and of closing the lid) and of looking right, `(2, C)`."""
        eyes = np.array(EYES) @ turn.T
        up, right = np.array(LOOK_UP), np.array(LOOK_RIGHT)
        fields = np.stack([self.field(eyes, up).sum(0), self.field(eyes, right).sum(0)])
        return fields / np.abs(fields).max(1, keepdims=True)


@lru_cache(maxsize=4)
def _positions(montage: str) -> dict[str, Array]:
    """Positions of a standard montage's electrodes; read once, because that takes a second."""
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            made = mne.channels.make_standard_montage(montage)
        except ValueError as error:
            raise ConfigError(
                f"dataset.montage={montage}: MNE has no standard montage of that name; "
                "mne.channels.get_builtin_montages() lists them"
            ) from error
    return made.get_positions()["ch_pos"]


@lru_cache(maxsize=4)
def _head(channels: tuple[str, ...], montage: str) -> Head:
    return Head(channels, _positions(montage))


def head_of(about: Description, sites: Sequence[str]) -> Head:
    """Fit the head to a data set's channels.

    Parameters
    ----------
    about : Description
        Names the channels and the montage.
    sites : sequence of str
        Electrodes above the simulator's sources.

    Returns
    -------
    Head

    Raises
    ------
    ConfigError
        If MNE has no such montage, if the montage does not know a channel or a site, or if the
        reference is the only channel.
    """
    known = {name.lower() for name in _positions(about.montage)}
    if unknown := [name for name in about.channels if name.lower() not in known]:
        raise ConfigError(
            f"dataset.channels: the montage {about.montage} has no position for "
            f"{', '.join(unknown)}; name other channels or another dataset.montage"
        )
    if missing := sorted({site for site in (*sites, REFERENCE) if site.lower() not in known}):
        raise ConfigError(
            f"dataset.montage={about.montage}: has no position for {', '.join(missing)}, where "
            "the simulator puts its sources; choose a montage of the 10-05 system"
        )
    if {name.lower() for name in about.channels} <= {REFERENCE.lower()}:
        raise ConfigError(
            f"dataset.channels: {REFERENCE} alone cannot be simulated, because it is the "
            "reference; name other channels"
        )
    return _head(about.channels, about.montage)


def turn_of_series(seed: int, subject: int, series: int) -> Array:
    """Turn the head under the cap by small random angles around the three axes, `(3, 3)`."""
    x, y, z = SERIES_ROTATION * generator(seed, Part.CAP, subject, series).standard_normal(3)
    return np.linalg.qr(np.array([[1, -z, y], [z, 1, -x], [-y, x, 1.0]]))[0] * [-1, -1, -1]
