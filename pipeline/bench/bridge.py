"""Compare what to do in a gap of a live signal: hold the last sample, or restart the recipe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.live.model import LiveModel

GAPS = (0.1, 0.5, 1.0, 2.0, 4.0)  # s
BEFORE, AFTER = 20.0, 5.0  # s of signal before a gap, and s behind it that are compared
PLACES = 6


def differences(model: LiveModel, signal: NDArray, gap: float) -> tuple[float, float]:
    """Compare both ways with a prediction that has no gap.

    Parameters
    ----------
    model : LiveModel
        The recipe that predicts.
    signal : ndarray, shape (T, C)
        The signal of a recording.
    gap : float
        Length of the gap, in s.

    Returns
    -------
    held, anew : float
        Mean absolute difference of the probabilities in the 5 s behind the gap: if the last
        sample was held, and if the recipe was restarted.
    """
    rate = model.recipe.about.rate
    before, length, after = (round(each * rate) for each in (BEFORE, gap, AFTER))
    last = len(signal) - length - after
    parts = []
    for at in np.linspace(before, last, PLACES).astype(int):
        whole = np.asarray(signal[at - before : at + length + after]).copy()
        reference = model.recipe.predict(whole, model.subject)[-after:]
        anew = model.recipe.predict(whole[-after:], model.subject)
        whole[before : before + length] = whole[before - 1]
        held = model.recipe.predict(whole, model.subject)[-after:]
        parts.append([np.abs(each - reference).mean() for each in (held, anew)])
    held_mean, anew_mean = np.mean(parts, axis=0)
    return float(held_mean), float(anew_mean)


def table(model: LiveModel, signal: NDArray) -> list[str]:
    """Write the comparison as a Markdown table."""
    rows = ["| gap, s | the last sample is held | starts anew |", "|--:|--:|--:|"]
    for gap in GAPS:
        held, anew = differences(model, signal, gap)
        rows.append(f"| {gap:g} | {held:.4f} | {anew:.4f} |")
    return rows
