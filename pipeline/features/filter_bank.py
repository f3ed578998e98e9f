"""Causal filters and filter banks: recordings to features.

MNE designs the filters. `pipeline.features.sections` applies them, because MNE cannot carry a
filter's state from one chunk to the next, and SciPy takes several times as long. A filter starts
from the first sample, as if the signal had always been there: one that starts at zero rings for
seconds on the offset of an EEG amplifier. (Some published recipes do start at zero, and can be
followed in it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import mne
import numpy as np
from scipy.signal import sosfilt_zi

from pipeline.features.offset import coarse_offset
from pipeline.features.sections import run_sections

# Power is floored at one squared unit of the signal before its logarithm is taken: far below any
# electrode's noise, and it keeps the first samples, whose power is 0, finite.
POWER_FLOOR = 1.0
# And covariances at this share of the channels' mean power, in every direction: a montage that was
# re-referenced has none in one of them.
COVARIANCE_FLOOR = 0.01
# Rows that go through all filters before the next ones do: as doubles, 32 channels of them fit into
# a processor's second cache.
BLOCK_ROWS = 4096


@lru_cache(maxsize=256)
def design(rate: float, low: float | None, high: float | None, order: int) -> np.ndarray:
    """Design a causal Butterworth filter with MNE.

    Parameters
    ----------
    rate : float
        Samples a second.
    low, high : float or None
        Pass band's edges in Hz; None leaves that side open.
    order : int
        Order of the filter (of each edge, for a band-pass).

    Returns
    -------
    ndarray, shape (n_sections, 6)
        Second-order sections. `mne.filter.filter_data` with ``method="iir"``,
        ``phase="forward"`` applies these same sections, from a state of zero.

    Raises
    ------
    ValueError
        When double precision cannot hold the filter: it is not stable, or does not pass its band.
    """
    made = mne.filter.create_filter(
        None,
        rate,
        low,
        high,
        method="iir",
        phase="forward",
        iir_params={"order": order, "ftype": "butter", "output": "sos"},
        verbose=False,
    )
    sos = made["sos"]
    _demand_sound(sos, rate, low, high)
    return sos


def _demand_sound(sos: np.ndarray, rate: float, low: float | None, high: float | None) -> None:
    """Refuse a filter whose poles are not within the unit circle, or that loses its pass band."""
    middle = np.sqrt(low * high) if low and high else (rate / 2 if low else 0.0)
    edges = " to ".join(f"{edge:g}" for edge in (low, high) if edge)
    with np.errstate(all="ignore"):
        poles = [abs(pole) for section in sos for pole in np.roots(section[3:])]
        z = np.exp(-2j * np.pi * middle / rate * np.arange(3))
        gain = abs(np.prod((sos[:, :3] @ z) / (sos[:, 3:] @ z)))
    if not (np.isfinite(sos).all() and max(poles) < 1 and abs(gain - 1) < 0.01):
        raise ValueError(f"{edges} Hz at {rate:g} Hz needs more than double precision")


class CausalFilter:
    """One filter over all channels, with its state.

    Parameters
    ----------
    sos : ndarray, shape (n_sections, 6)
        Second-order sections.
    """

    def __init__(self, sos: np.ndarray) -> None:
        self.sos = np.array(sos, dtype=np.float64, order="C")
        self._steady = sosfilt_zi(self.sos)

    def start(self, first: np.ndarray) -> np.ndarray:
        """Give the state that an endless past equal to ``first`` would have left.

        Parameters
        ----------
        first : ndarray, shape (C,)
            The first sample.

        Returns
        -------
        ndarray, shape (n_sections, C, 2)
        """
        return self._steady[:, None, :] * first[None, :, None]

    def __call__(
        self, signal: np.ndarray, state: np.ndarray, skip: int = 0, step: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Filter a chunk.

        Parameters
        ----------
        signal : ndarray of float64, shape (n, C)
            The chunk.
        state : ndarray, shape (n_sections, C, 2)
            From `start` or from the chunk before.
        skip, step : int
            Which rows are wanted: ``skip``, ``skip + step``, ...

        Returns
        -------
        signal : ndarray, shape (n', C)
            The filtered rows that are wanted.
        state : ndarray, shape (n_sections, C, 2)
        """
        kept = np.empty((len(range(skip, len(signal), step)), signal.shape[1]))
        after = np.array(state, dtype=np.float64, order="C")
        signal = np.ascontiguousarray(signal, dtype=np.float64)
        run_sections(self.sos, signal, after, kept, skip, step)
        return kept, after


@dataclass
class BankState:
    """What a filter bank remembers between chunks.

    That is the rows seen, the offset of each channel that is subtracted before filtering, shape
    (C,), and each filter's state.
    """

    rows: int
    offset: np.ndarray
    drift: np.ndarray | None
    lowpass: list[np.ndarray]
    band: list[np.ndarray]
    smooth: list[np.ndarray]
    covariance_band: list[np.ndarray]
    covariance: list[list[np.ndarray]]


class FilterBank:
    """Low-passes of every channel, the logarithm of its power, and covariances, in bands.

    The low-passes are the "FBL" features of the competition's first place: Butterworth low-passes,
    order 5, whose slow ones carry the movement-related potentials. The log power follows mu and
    beta desynchronisation: band-pass, square, low-pass, logarithm. The channels' covariances are
    followed likewise, smoothed exponentially, and turned into features by the matrix logarithm (the
    log-Euclidean tangent space at the identity; Arsigny et al. 2006, Barachant et al. 2013).

    Parameters
    ----------
    rate : float
        Samples a second of the recordings.
    lowpass_hz : sequence of float
        Cut-off of each low-pass.
    order : int
        Their order.
    power_bands_hz : sequence of (float, float or None)
        Edges of each band whose power is followed (order 3); without an upper one, all above.
    power_smoothing_hz : float
        Cut-off of the low-pass that smooths the power (order 2).
    decimate : int
        Keep the features of rows 0, ``decimate``, 2 ``decimate``, ... only.
    subsample : int
        Before anything else, keep the rows 0, ``subsample``, ... of the signal only, without an
        anti-alias filter; the filters are designed for the rate that is left.
    covariance_bands_hz : sequence of (float, float)
        Edges of each band whose covariance is followed (order 3).
    covariance_smoothing_hz : float
        Cut-off of the low-pass over the products (order 1, so that a covariance stays one).
    highpass_hz : float
        Before the low-passes and bands, take what lies below this from the signal (order 1); 0 for
        nothing. Electrodes drift, each series in its own way, and a detector that reads their
        offsets learns the series instead of the movement.
    start : str
        ``first``: the filters start as if the first sample had always been there; ``zero``: as if
        there had been nothing.
    """

    def __init__(
        self,
        rate: float,
        lowpass_hz: list[float],
        order: int,
        power_bands_hz: Sequence[Sequence[float | None]],
        power_smoothing_hz: float,
        decimate: int,
        subsample: int = 1,
        covariance_bands_hz: Sequence[Sequence[float]] = (),
        covariance_smoothing_hz: float = 0.5,
        highpass_hz: float = 0.0,
        start: str = "first",
    ) -> None:
        self.decimate, self.subsample, self.from_first = decimate, subsample, start == "first"
        rate = rate / subsample
        # The drift is followed by a low-pass and subtracted, so that it, too, starts from the first
        # sample.
        self.drift = CausalFilter(design(rate, None, highpass_hz, 1)) if highpass_hz else None
        self.lowpass = [CausalFilter(design(rate, None, f, order)) for f in lowpass_hz]
        self.band = [CausalFilter(design(rate, low, high, 3)) for low, high in power_bands_hz]
        smoothing = design(rate, None, power_smoothing_hz, 2)
        self.smooth = [CausalFilter(smoothing) for _ in self.band]
        self.covariance_band = [
            CausalFilter(design(rate, low, high, 3)) for low, high in covariance_bands_hz
        ]
        # Products are taken of every few rows only: what is smoothed after needs no more of them.
        self.thin = max(step for step in (1, 2, 3, 4, 5) if decimate % step == 0)
        thinned = rate / self.thin
        self.covariance_smooth = CausalFilter(design(thinned, None, covariance_smoothing_hz, 1))

    @property
    def every(self) -> int:
        """Rows of the recording to a row of the features."""
        return self.subsample * self.decimate

    def n_features(self, n_channels: int) -> int:
        """Count the features of so many channels."""
        pairs = n_channels * (n_channels + 1) // 2
        single = len(self.lowpass) + len(self.band)
        return n_channels * single + pairs * len(self.covariance_band)

    def start(self, first: np.ndarray) -> BankState:
        """Start every filter, from the first sample, shape (C,), or from zero.

        Zero is the coarse offset of the first sample: it is 0, but for an amplifier's offset.
        """
        offset = coarse_offset(first)
        first = (np.asarray(first, dtype=np.float64) - offset) * self.from_first
        rest = np.zeros_like(first)
        drift = None
        if self.drift is not None:
            drift, first = self.drift.start(first), rest
        return BankState(
            0,
            offset,
            drift,
            [f.start(first) for f in self.lowpass],
            [f.start(first) for f in self.band],
            [f.start(rest) for f in self.smooth],
            [f.start(first) for f in self.covariance_band],
            [
                [self.covariance_smooth.start(rest[i:]) for i in range(len(rest))]
                for _ in self.covariance_band
            ],
        )

    def transform(
        self, signal: np.ndarray, state: BankState | None = None
    ) -> tuple[np.ndarray, BankState]:
        """Turn a chunk of signal into features.

        Parameters
        ----------
        signal : ndarray, shape (n, C)
            Consecutive samples of one series.
        state : BankState, optional
            What the chunk before left; at a series' start none.

        Returns
        -------
        features : ndarray of float32 or float64, shape (n', F)
            One row for every sample whose number in the series is a multiple of `every`; F is
            filter by filter, channel by channel within each. Row k uses samples up to
            ``k * every`` only. Double precision holds what was computed in single precision and
            the offset together, where a channel has one (see `pipeline.features.offset`).
        state : BankState
            For the next chunk.
        """
        if state is None:
            state = self.start(signal[0])
        offset = state.offset
        seen = -(-state.rows // self.every)  # feature rows of the chunks before
        after = -(-(state.rows + len(signal)) // self.every)
        features = np.empty((after - seen, self.n_features(signal.shape[1])), dtype=np.float32)
        for begin in range(0, len(signal), BLOCK_ROWS):
            rows = -(-state.rows // self.every) - seen
            state = self._block(signal[begin : begin + BLOCK_ROWS], state, features[rows:])
        return self._with_offset(features, offset), state

    def _block(self, signal: np.ndarray, state: BankState, features: np.ndarray) -> BankState:
        """Turn a few rows into features, which are written into the first of `features`."""
        channels = signal.shape[1]
        thin = signal[-state.rows % self.subsample :: self.subsample]
        chunk = np.subtract(thin, state.offset, dtype=np.float64)
        seen = -(-state.rows // self.subsample)  # thinned rows of the chunks before
        skip = -seen % self.decimate
        if not len(chunk):
            return replace(state, rows=state.rows + len(signal))
        features = features[: len(range(skip, len(chunk), self.decimate))]
        after = BankState(state.rows + len(signal), state.offset, None, [], [], [], [], [])
        if self.drift is not None and state.drift is not None:
            slow, after.drift = self.drift(chunk, state.drift)
            chunk = chunk - slow
        column = 0
        for lowpass, past in zip(self.lowpass, state.lowpass, strict=True):
            slow, past = lowpass(chunk, past, skip, self.decimate)
            after.lowpass.append(past)
            features[:, column : column + channels] = slow
            column += channels
        for band, smooth, past, past_power in zip(
            self.band, self.smooth, state.band, state.smooth, strict=True
        ):
            inside, past = band(chunk, past)
            power, past_power = smooth(np.square(inside), past_power, skip, self.decimate)
            after.band.append(past)
            after.smooth.append(past_power)
            features[:, column : column + channels] = np.log(np.maximum(power, 0.0) + POWER_FLOOR)
            column += channels
        for band, past, past_products in zip(
            self.covariance_band, state.covariance_band, state.covariance, strict=True
        ):
            inside, past = band(chunk, past, -seen % self.thin, self.thin)
            after.covariance_band.append(past)
            covariance, remembered = self._covariances(inside, past_products, seen, len(features))
            after.covariance.append(remembered)
            tangent = _log_covariance(covariance)
            features[:, column : column + tangent.shape[1]] = tangent
            column += tangent.shape[1]
        return after

    def _covariances(
        self, signal: np.ndarray, past: list[np.ndarray], seen: int, kept: int
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Follow the channels' covariances, shape (n', C, C), in a band's thinned signal."""
        step = self.decimate // self.thin
        ready, channels = (-seen // self.thin) % step, signal.shape[1]
        covariance, after = np.empty((kept, channels, channels)), []
        for i in range(channels):  # a row of the matrix at a time, to bound the memory
            products, remembered = self.covariance_smooth(
                signal[:, i:] * signal[:, i, None], past[i], ready, step
            )
            after.append(remembered)
            covariance[:, i, i:] = covariance[:, i:, i] = products
        return covariance, after

    def _with_offset(self, features: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Add the channels' offsets to the low-passes: nothing else lets them through."""
        if self.drift is not None or not self.lowpass or not offset.any():
            return features
        exact = features.astype(np.float64)
        exact[:, : len(self.lowpass) * len(offset)] += np.tile(offset, len(self.lowpass))
        return exact


def _log_covariance(covariance: np.ndarray) -> np.ndarray:
    """Map covariances, (n, C, C), to the tangent space at the identity, (n, C (C + 1) / 2)."""
    from pyriemann.geometry.base import logm  # here, because it takes a second to import
    from pyriemann.geometry.tangentspace import upper

    channels = covariance.shape[-1]
    power = np.trace(covariance, axis1=1, axis2=2) / channels
    floor = COVARIANCE_FLOOR * power + POWER_FLOOR
    return upper(logm(covariance + floor[:, None, None] * np.eye(channels)))
