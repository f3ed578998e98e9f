"""The figures of the real recordings, and how far the simulated ones may differ.

Where they come from:

windows
    The 300 ms around every event of series 1-6 of WAY-EEG-GAL (Luciw et al. 2014, doi
    10.1038/sdata.2014.47), 13,554 windows, in the integer units of Kaggle's files. The functions
    of `pipeline.bench.recording_figures` computed them.
delays
    The event times of all 3,120 trials of series 1-8 of the same data set, and their course over
    the series.
AUC
    Of each method on series 7-8 after a fit on 1-6, pooled over subjects: the README of the
    competition's first place (FBL_LDA, FBL_LR, RNN_FB_delay4000, cnn_script_1D_30Hz), and a public
    script's own measurement (naive LSTM).
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.bench.recording_figures import COURSES, GROUPS, HERTZ, PAIRS


class Real(NamedTuple):
    """A real figure and how far the simulated one may differ.

    Attributes
    ----------
    value
        In the unit that the name of the quantity says.
    tolerance
        A difference; or a factor when `is_factor`.
    is_factor
        Whether the simulated figure must lie between value / tolerance and value * tolerance.
    """

    value: float
    tolerance: float
    is_factor: bool

    def allows(self, simulated: float) -> bool:
        """Tell whether a simulated figure is close enough."""
        if self.is_factor:
            return self.value / self.tolerance <= simulated <= self.value * self.tolerance
        return abs(simulated - self.value) <= self.tolerance


def _times(value: float, factor: float = 1.25) -> Real:
    return Real(value, factor, True)


def _plus(value: float, difference: float) -> Real:
    return Real(value, difference, False)


# The published methods, by the recipe that fits them.
METHODS = {
    "fbl_lda": "AUC of FBL_LDA", "fbl_lr": "AUC of FBL_LR", "naive_lstm": "AUC of the naive LSTM",
    "gru_taps": "AUC of the GRU", "hochberg_cnn": "AUC of the CNN",
}  # fmt: skip

REAL: dict[str, Real] = {
    # delays, in ms: 5, 25, 50, 75 and 95 %
    **{
        f"{first} to {second}, {quantile} %, ms": _times(value, 1.2 if 5 < quantile < 95 else 1.5)
        for first, second, values in (
            ("HandStart", "FirstDigitTouch", (608, 784, 1012, 1200, 1476)),
            ("FirstDigitTouch", "BothStartLoadPhase", (28, 62, 100, 160, 290)),
            ("BothStartLoadPhase", "LiftOff", (105, 200, 308, 444, 801)),
            ("LiftOff", "Replace", (2890, 3058, 3224, 3400, 3748)),
            ("Replace", "BothReleased", (18, 142, 232, 326, 462)),
        )
        for quantile, value in zip((5, 25, 50, 75, 95), values, strict=True)
    },
    "HandStart to HandStart, short, s": _times(7.8, 1.1),
    "HandStart to HandStart, long, s": _times(15.1, 1.1),
    "HandStart to HandStart, mixed, s": _times(15.4, 1.1),
    "rows, short": _times(134_000, 1.08),
    "rows, long": _times(257_000, 1.08),
    "rows, mixed": _times(214_000, 1.08),
    "first HandStart, s": _times(2.4, 1.2),
    "base rate, series 1-6, %": _times(2.33, 1.08),
    "base rate, series 7-8, %": _times(3.87, 1.08),
    "overlap of FirstDigitTouch and BothStartLoadPhase": _plus(0.61, 0.08),
    "overlap of BothStartLoadPhase and LiftOff": _plus(0.17, 0.08),
    "overlap of Replace and BothReleased": _plus(0.31, 0.08),
    "trials with BothStartLoadPhase after LiftOff": _times(21, 2.0),
    # course of the delays over a series: SD within a series and of the series' means, correlation
    # of a trial with the next, share that a straight line over the trials explains
    **{
        f"{name}, {what}": real
        for name, values in zip(
            COURSES,
            ((0.205, 0.063, 0.149, 0.099), (0.365, 0.094, 0.179, 0.040),
             (0.049, 0.023, 0.119, 0.059), (0.948, 0.248, 0.079, 0.039),
             (0.160, 0.064, 0.049, 0.066)),
            strict=True,
        )
        for what, real in (
            ("log SD within series", _times(values[0], 1.35)),
            ("log SD of series", _times(values[1], 1.5)),
            ("autocorrelation", _plus(values[2], 0.06)),
            ("share of a line over the series", _plus(values[3], 0.025)),
        )
    },
    # amplitudes, in units
    "mean": _times(129.5, 1.5),
    "SD": _times(304.6),
    **{
        f"SD within windows, {group}": _times(value)
        for group, value in zip(GROUPS, (95.8, 91.2, 25.9, 47.5, 105.0, 103.4), strict=True)
    },
    **{
        f"SD of window means, {group}": _times(value)
        for group, value in zip(GROUPS, (292.5, 210.7, 98.7, 146.3, 177.8, 172.3), strict=True)
    },
    "SD of series' medians": _times(69.6),
    "99.9 % of |x|, smallest subject": _times(968, 1.5),
    "99.9 % of |x|, median subject": _times(1750, 1.5),
    "99.9 % of |x|, largest subject": _times(2599, 1.5),
    # spectrum, in units^2/Hz
    **{
        f"power at {hertz:g} Hz": _times(value, 1.35)
        for hertz, value in zip(
            HERTZ, (252.1, 193.4, 118.7, 40.6, 21.8, 15.6, 4.94), strict=True
        )
    },
    "slope of the spectrum, 3.3-30 Hz": _plus(-1.2, 0.2),
    # covariance
    **{
        f"eigenvalue {rank} within windows": _plus(value, tolerance)
        for rank, value, tolerance in ((1, 0.451, 0.08), (2, 0.145, 0.05), (3, 0.075, 0.03),
                                       (4, 0.057, 0.03))
    },
    "eigenvalue 1 of window means": _plus(0.402, 0.08),
    **{
        f"correlation within windows, {pair}": _plus(value, 0.15)
        for pair, value in zip(PAIRS, (0.839, 0.866, 0.937, 0.481, 0.472, 0.808), strict=True)
    },
    # slow changes
    "SD of means 0.3-0.6 s apart": _times(74.8),
    "SD of means 1.2-2.5 s apart": _times(130.9),
    "SD of means 6-10 s apart": _times(168.2),
    "SD of means 60-400 s apart": _times(208.6),
    "autocorrelation of window means, one trial apart": _plus(0.194, 0.08),
    # what tells the events apart: five of them, series 1-4 to 5-6, mean of subjects
    "share of window means explained by the event": _times(0.0558, 1.35),
    "accuracy of LDA, one mean": _plus(0.414, 0.06),
    "accuracy of LDA, three means": _plus(0.630, 0.06),
    "accuracy of LDA, three means, worst subject": _plus(0.513, 0.1),
    "accuracy of LDA, three means, best subject": _plus(0.868, 0.1),
    "accuracy of LDA, log variance": _plus(0.404, 0.06),
    "accuracy of LDA, log power, 8-30 Hz": _plus(0.305, 0.06),
    "accuracy of LDA, log power above 30 Hz": _plus(0.335, 0.06),
    "correlation of evoked patterns, between series": _plus(0.638, 0.12),
    "correlation of evoked patterns, between subjects": _plus(0.368, 0.12),
    # score
    "AUC of FBL_LDA": _plus(0.9035, 0.02),
    "AUC of FBL_LR": _plus(0.9001, 0.02),
    "AUC of the naive LSTM": _plus(0.8324, 0.02),
    "AUC of the GRU": _plus(0.8577, 0.02),
    "AUC of the CNN": _plus(0.9075, 0.02),
}  # fmt: skip
