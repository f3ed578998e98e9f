"""Second-order sections over all channels at once, in machine code.

The arithmetic is that of `scipy.signal.sosfilt`, in the same order, so every sample is the same to
the bit. That function takes one channel after the other, and each of its sums waits for the one
before. Here a row's channels stand side by side, and the processor takes several of them at once.
"""

from __future__ import annotations

import numpy as np

from pipeline.data.compiled import compiled


@compiled
def run_sections(sos, signal, state, kept, skip, step):
    """Filter rows one after the other, and keep every few of them.

    Parameters
    ----------
    sos : ndarray of float64, shape (n_sections, 6)
        Second-order sections, in transposed direct form II.
    signal : ndarray of float64, shape (n, C)
        Consecutive samples.
    state : ndarray of float64, shape (n_sections, C, 2)
        What the rows before have left; it changes.
    kept : ndarray of float64, shape (n', C)
        Where the rows ``skip``, ``skip + step``, ... are written.
    skip, step : int
        Which ones.
    """
    rows, channels = signal.shape
    first, second = np.empty((len(sos), channels)), np.empty((len(sos), channels))
    for section in range(len(sos)):
        for channel in range(channels):
            first[section, channel] = state[section, channel, 0]
            second[section, channel] = state[section, channel, 1]
    now = np.empty(channels)
    at, wanted = 0, skip
    for row in range(rows):
        for channel in range(channels):
            now[channel] = signal[row, channel]
        for section in range(len(sos)):
            b0, b1, b2 = sos[section, 0], sos[section, 1], sos[section, 2]
            a1, a2 = sos[section, 4], sos[section, 5]
            one, two = first[section], second[section]
            for channel in range(channels):
                before = now[channel]
                after = b0 * before + one[channel]
                one[channel] = b1 * before - a1 * after + two[channel]
                two[channel] = b2 * before - a2 * after
                now[channel] = after
        if row == wanted:
            for channel in range(channels):
                kept[at, channel] = now[channel]
            at += 1
            wanted += step
    for section in range(len(sos)):
        for channel in range(channels):
            state[section, channel, 0] = first[section, channel]
            state[section, channel, 1] = second[section, channel]
