"""Time courses: noise with a given spectrum, slow changes, bells and plateaus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float64]
Spectrum = Callable[[Array], Array]


def noise(
    random: np.random.Generator, spectrum: Spectrum, rows: int, samples: int, rate: float
) -> Array:
    """Draw Gaussian noise with a given spectrum.

    Parameters
    ----------
    random : Generator
        Where the numbers come from.
    spectrum : callable
        One-sided power per Hz as a function of the frequency in Hz.
    rows, samples : int
        Shape of the noise.
    rate : float
        In Hz.

    Returns
    -------
    ndarray, shape (rows, samples)
        Cut out of a longer periodic noise, so its end does not fit its beginning.
    """
    length = fft.next_fast_len(samples + round(20 * rate), real=True)
    frequency = np.fft.rfftfreq(length, 1 / rate).astype(np.float64)
    parts = random.standard_normal((rows, len(frequency), 2)).view(np.complex128)[..., 0]
    parts *= np.sqrt(spectrum(frequency) * rate * length / 4)
    return fft.irfft(parts, length, axis=1)[:, :samples]


def slow_noise(
    random: np.random.Generator,
    spectrum: Spectrum,
    variance: float,
    rows: int,
    samples: int,
    rate: float,
    slow: float,
) -> Array:
    """Draw noise that changes slowly: at a low rate, then interpolated linearly.

    Parameters
    ----------
    random : Generator
        Where the numbers come from.
    spectrum : callable
        One-sided power per Hz as a function of the frequency in Hz.
    variance : float
        The integral of the spectrum. The noise is divided by its square root.
    rows, samples : int
        Shape of the noise.
    rate : float
        In Hz.
    slow : float
        The low rate in Hz.

    Returns
    -------
    ndarray, shape (rows, samples)
        Of variance 1.
    """
    coarse = noise(random, spectrum, rows, int(samples / rate * slow) + 4, slow)
    coarse /= np.sqrt(variance)
    at = np.arange(samples) * (slow / rate)
    left = at.astype(np.intp)
    right = at - left
    total = coarse.take(left, axis=1)
    total *= 1 - right
    later = coarse.take(left + 1, axis=1)
    later *= right
    total += later
    return total


def wander(
    random: np.random.Generator, corner: float, rows: int, samples: int, rate: float
) -> Array:
    """Draw slow noise of variance 1; ``corner`` is its corner frequency in Hz."""

    def spectrum(frequency: Array) -> Array:
        return 1 / (1 + (frequency / corner) ** 4)

    variance = corner * np.pi / np.sqrt(8)  # the integral of the spectrum
    return slow_noise(random, spectrum, variance, rows, samples, rate, min(rate, 12 * corner))


def bell(t: Array) -> Array:
    """Gaussian shape of SD 1 and height 1."""
    return np.exp(-0.5 * t**2)


def _flank(t: Array) -> Array:
    """Rise smoothly from 0 at -1 to 1 at 1."""
    return 0.5 + 0.5 * np.sin(np.clip(t, -1, 1) * (np.pi / 2))


def plateau(t: Array, start: float, end: float, rise: float, fall: float) -> Array:
    """Rise smoothly to 1 around `start`, and fall around `end`."""
    return _flank((t - start) / rise) * _flank((end - t) / fall)


def span(samples: int, rate: float, start: float, end: float) -> tuple[slice, Array]:
    """Give the rows between two times in s, as far as they are recorded, and the rows' times.

    Returns
    -------
    rows : slice
        Empty if the recording ends before `start` or begins after `end`.
    times : ndarray
        In s.
    """
    first = max(0, int(start * rate))
    last = max(first, min(samples, int(end * rate) + 1))
    return slice(first, last), np.arange(first, last) / rate
