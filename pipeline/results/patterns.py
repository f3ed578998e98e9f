"""Activation patterns: what the EEG looks like, before and after, when a detector's score is high.

A detector's weights are no picture of the brain: a channel that sees only noise has large weights
where it helps to subtract that noise from others. Its activation pattern is one. For a score s that
is linear in the signals x, with weights w, it is ``Cov(x) w / Var(s)``, which is ``Cov(x, s) /
Var(s)`` (Haufe et al. 2014, NeuroImage 87:96-110, theorem 1, for one score at a time). Here x are
the channels at every lag from the score's row, so a pattern is a course over time on every channel,
like an evoked response. It is multiplied with the score's standard deviation, so its unit is that
of the signals.

This is for the report only: nothing is predicted from it. So the filter may look ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfiltfilt

BAND_HZ = (0.1, 20.0)
"""Of the EEG that patterns are shown for. Slower parts are the electrodes' drift; filtering the EEG
filters the pattern's course likewise, because it is linear in it."""


@dataclass(frozen=True)
class Scored:
    """One series: what is shown, and a detector's scores.

    Parameters
    ----------
    signals : ndarray, shape (T', C)
        At the features' rate. All rows, also those that are left out.
    scores : ndarray, shape (n, E)
        One score per event, for each row that is kept.
    rows : ndarray of int, shape (n,)
        Which rows of `signals` these are.
    present : ndarray of bool, shape (T',)
        Where `signals` is known.
    """

    signals: np.ndarray
    scores: np.ndarray
    rows: np.ndarray
    present: np.ndarray


def shown_eeg(signal: np.ndarray, rate: float, every: int, unit_volts: float) -> np.ndarray:
    """Filter a recording without delay and keep the features' rows.

    Parameters
    ----------
    signal : ndarray, shape (T, C)
        Samples of the recording.
    rate : float
        Samples per second.
    every : int
        Recorded rows per feature row.
    unit_volts : float
        Volts in one unit of the signal.

    Returns
    -------
    ndarray of float32, shape (T', C)
        In V.
    """
    high = max(min(BAND_HZ[1], 0.4 * rate / every), 2 * BAND_HZ[0])
    sections = butter(2, (BAND_HZ[0], high), "bandpass", fs=rate, output="sos")
    samples = np.asarray(signal, dtype=np.float64).T
    samples = samples - samples[:, :1]  # an amplifier's offset is no step at the beginning
    padding = min(samples.shape[1] - 1, round(5 * rate))
    filtered = sosfiltfilt(sections, samples, axis=1, padlen=padding)
    return (unit_volts * filtered[:, ::every].T).astype(np.float32)


def activation_pattern(series: list[Scored], lags: np.ndarray) -> np.ndarray:
    """Work out the activation pattern of each event's score.

    Parameters
    ----------
    series : list of Scored
        Means are taken off in each.
    lags : ndarray of int, shape (L,)
        Rows from the score's row; negative ones lie before it.

    Returns
    -------
    ndarray, shape (E, L, C)
        ``Cov(x, s) / SD(s)``: the signals' unit, per standard deviation of the score. Zero for a
        score that is constant.
    """
    channels, events = series[0].signals.shape[1], series[0].scores.shape[1]
    products, count = np.zeros((len(lags), channels, events)), np.zeros(len(lags))
    squares, rows = np.zeros(events), 0
    for each in series:
        centred = each.scores - each.scores.mean(axis=0, dtype=np.float64)
        squares += np.square(centred).sum(axis=0)
        rows += len(centred)
        # Where a signal or a score is not known, zeros add nothing to the sums.
        signals = np.zeros(each.signals.shape)
        known = np.asarray(each.signals[each.present], dtype=np.float64)
        signals[each.present] = known - known.mean(axis=0)
        scores, scored = np.zeros((len(signals), events)), np.zeros(len(signals))
        scores[each.rows], scored[each.rows] = centred, 1.0
        for number, lag in enumerate(lags):
            first = max(0, -lag)
            last = max(first, len(signals) - max(lag, 0))
            at, read = slice(first, last), slice(first + lag, last + lag)
            products[number] += signals[read].T @ scores[at]
            count[number] += each.present[read] @ scored[at]
    covariance = products / np.maximum(count, 1)[:, None, None]
    deviation = np.sqrt(squares / rows)
    pattern = covariance / np.where(deviation > 0, deviation, 1.0) * (deviation > 0)
    return pattern.transpose(2, 0, 1)
