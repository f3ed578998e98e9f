"""How close simulated recordings come to the real ones, figure by figure.

``python -m pipeline.bench.calibrate [presets=a,b] [overrides]`` simulates the full competition's
training series, computes the same figures from them as were computed from the real ones, fits the
published methods, and writes the comparison into ``docs/simulator.md``. The methods' fits are kept
like any run's, and are fresh the second time.

Where the real figures come from:

windows
    The 300 ms around every event of series 1-6 of WAY-EEG-GAL (Luciw et al. 2014, doi
    10.1038/sdata.2014.47), 13,554 windows, in the integer units of Kaggle's files, by the functions
    below.
delays
    The event times of all 3,120 trials of series 1-8 of the same.
AUC
    Of each method on series 7-8 after a fit on 1-6, pooled over subjects: the README of the
    competition's first place (FBL_LDA, FBL_LR, RNN_FB_delay4000, cnn_script_1D_30Hz), and a public
    script's own measurement (naive LSTM).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import signal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import SPLIT, chosen_presets
from pipeline.config.compose import compose
from pipeline.config.options import plain
from pipeline.config.paths import PROJECT
from pipeline.data.recording import label_runs
from pipeline.data.simulator import (
    CHANNELS,
    EVENTS,
    LABEL_SECONDS,
    SimulatedSeries,
    SimulatedTrials,
    SimulationConfig,
    simulate_series,
    simulate_trials,
)
from pipeline.errors import PipelineError
from pipeline.stages.flow import Flow, run

DOC = PROJECT / "docs" / "simulator.md"
Array = NDArray[np.float64]
Figures = dict[str, float]
TRAINING, VALIDATION = (1, 2, 3, 4, 5, 6), (7, 8)
CLIP = 1500.0  # units: window means beyond it are loose contacts, which would drown all else


class Real(NamedTuple):
    """A real figure and how far the simulated one may be off.

    Attributes
    ----------
    value
        In the unit that the quantity's name says.
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


GROUPS = {
    "forehead": "Fp1 Fp2", "front": "F7 F8", "vertex": "Fz FC1 FC2 Cz", "hands": "C3 C4",
    "temples": "T7 T8", "back": "O1 Oz O2",
}  # fmt: skip
PAIRS = ("C3 CP5", "Fp1 Fp2", "O1 Oz", "C3 C4", "F7 F8", "Cz CP1")
HERTZ = (3.3, 6.7, 10.0, 20.0, 30.0, 50.0, 100.0)

# The published methods, by the preset that fits them.
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
    "correlation of evoked patterns, between series": _plus(0.638, 0.12),
    "correlation of evoked patterns, between subjects": _plus(0.368, 0.12),
    # score
    "AUC of FBL_LDA": _plus(0.9035, 0.02),
    "AUC of FBL_LR": _plus(0.9001, 0.02),
    "AUC of the naive LSTM": _plus(0.8324, 0.02),
    "AUC of the GRU": _plus(0.8577, 0.02),
    "AUC of the CNN": _plus(0.9075, 0.02),
}  # fmt: skip


# ---- delays --------------------------------------------------------------------------------------


def trial_figures(plans: dict[tuple[int, int], SimulatedTrials]) -> Figures:
    """Figures of the trials' timing.

    Parameters
    ----------
    plans
        By (subject, series).
    """
    figures: Figures = {}
    centres = np.concatenate([plan.centres for plan in plans.values()])
    for column, delays in enumerate(1000 * np.diff(centres, axis=1).T):
        for quantile in (5, 25, 50, 75, 95):
            name = f"{EVENTS[column]} to {EVENTS[column + 1]}, {quantile} %, ms"
            figures[name] = float(np.nanpercentile(delays, quantile))
    for kind in ("short", "long", "mixed"):
        some = [plan for plan in plans.values() if plan.kind == kind]
        between = np.concatenate([np.diff(plan.centres[:, 0]) for plan in some])
        figures[f"HandStart to HandStart, {kind}, s"] = float(np.median(between))
        figures[f"rows, {kind}"] = float(np.median([plan.seconds for plan in some]) * 500)
    figures["first HandStart, s"] = float(np.median([p.centres[0, 0] for p in plans.values()]))
    for name, wanted in (("1-6", TRAINING), ("7-8", VALIDATION)):
        some = [plan for (_, series), plan in plans.items() if series in wanted]
        marked = sum(np.isfinite(plan.centres).sum() for plan in some) / len(EVENTS)
        share = LABEL_SECONDS * marked / sum(plan.seconds for plan in some)
        figures[f"base rate, series {name}, %"] = float(100 * share)
    for first, second in ((1, 2), (2, 3), (4, 5)):
        apart = np.abs(centres[:, first] - centres[:, second])
        share = np.nanmean(np.clip(1 - apart / LABEL_SECONDS, 0, None))
        figures[f"overlap of {EVENTS[first]} and {EVENTS[second]}"] = float(share)
    figures["trials with BothStartLoadPhase after LiftOff"] = float(
        (centres[:, 2] > centres[:, 3]).sum()
    )
    return figures


# ---- windows -------------------------------------------------------------------------------------


@dataclass
class Windows:
    """Windows of 300 ms around events.

    Parameters
    ----------
    signal : (n, samples, channels) float32
        In the units of Kaggle's files.
    subject, series, event, start : (n,)
        Where each comes from; `event` is an index into `EVENTS`, `start` the first row.
    rate
        In Hz.
    """

    signal: NDArray[np.float32]
    subject: NDArray[np.int_]
    series: NDArray[np.int_]
    event: NDArray[np.int_]
    start: NDArray[np.int_]
    rate: float

    def means(self) -> Array:
        """Mean of every window, `(n, channels)`, without the worst of loose contacts."""
        return np.clip(self.signal.mean(1, dtype=np.float64), -CLIP, CLIP)

    def of(self, subject: int) -> list[NDArray[np.bool_]]:
        """Give a subject's series, each as a mask."""
        mine = self.subject == subject
        return [mine & (self.series == series) for series in np.unique(self.series[mine])]

    @property
    def subjects(self) -> list[int]:
        """All subjects' numbers."""
        return [int(subject) for subject in np.unique(self.subject)]

    @staticmethod
    def joined(parts: list[Windows]) -> Windows:
        """Join several sets of windows."""
        names = ("signal", "subject", "series", "event", "start")
        columns: dict[str, NDArray] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in names
        }
        return Windows(**columns, rate=parts[0].rate)


def cut_windows(recording: SimulatedSeries, rate: float) -> Windows:
    """Cut the windows around all events out of a recording: labels of exactly 300 ms."""
    width = round(LABEL_SECONDS * rate)
    found = [
        (event, start)
        for event in range(len(EVENTS))
        for start, end in label_runs(recording.events[:, event])
        if end - start == width
    ]
    event, start = np.array(found).T
    signals = np.stack([recording.signal[s : s + width] for s in start]).astype(np.float32)
    subject, series = np.full_like(event, recording.subject), np.full_like(event, recording.series)
    return Windows(signals, subject, series, event, start, rate)


def _columns(names: str) -> list[int]:
    return [CHANNELS.index(name) for name in names.split()]


def amplitude_figures(windows: Windows) -> Figures:
    """Size of the signal and of its changes, in units."""
    x, means = windows.signal, windows.means()
    figures: Figures = {"mean": float(x.mean()), "SD": float(x.std(dtype=np.float64))}
    within = np.median(x.std(1), axis=0)
    series = {subject: windows.of(subject) for subject in windows.subjects}
    spread = np.median([means[m].std(0) for masks in series.values() for m in masks], axis=0)
    for group, names in GROUPS.items():
        figures[f"SD within windows, {group}"] = float(within[_columns(names)].mean())
        figures[f"SD of window means, {group}"] = float(spread[_columns(names)].mean())
    centres = [[np.median(means[m], axis=0) for m in masks] for masks in series.values()]
    figures["SD of series' medians"] = float(np.median([np.std(c, 0, ddof=1) for c in centres]))
    tails = [np.quantile(np.abs(x[windows.subject == s]), 0.999) for s in series]
    for name, value in (("smallest", min(tails)), ("median", np.median(tails)),
                        ("largest", max(tails))):  # fmt: skip
        figures[f"99.9 % of |x|, {name} subject"] = float(value)
    return figures


def spectrum_figures(windows: Windows) -> Figures:
    """Power per Hz in units^2/Hz: the median over windows, then the mean over channels."""
    frequency, power = signal.periodogram(
        windows.signal, windows.rate, window="hann", detrend="constant", axis=1
    )
    middle = np.median(power, axis=0).mean(1)
    figures = {
        f"power at {hertz:g} Hz": float(middle[np.argmin(np.abs(frequency - hertz))])
        for hertz in HERTZ
    }
    band = (frequency > 3) & (frequency < 31)
    slope = np.polyfit(np.log(frequency[band]), np.log(middle[band]), 1)[0]
    return {**figures, "slope of the spectrum, 3.3-30 Hz": float(slope)}


def covariance_figures(windows: Windows) -> Figures:
    """Correlations of channels, and their eigenvalues as shares of the sum."""
    x = windows.signal - windows.signal.mean(1, keepdims=True)
    fast = np.corrcoef(x.reshape(-1, x.shape[2]).T)
    figures: Figures = {}
    for rank, value in enumerate(np.linalg.eigvalsh(fast)[::-1][:4] / len(fast), 1):
        figures[f"eigenvalue {rank} within windows"] = float(value)
    for pair in PAIRS:
        a, b = _columns(pair)
        figures[f"correlation within windows, {pair}"] = float(fast[a, b])
    slow = np.linalg.eigvalsh(np.corrcoef(windows.means().T))[-1] / len(fast)
    return {**figures, "eigenvalue 1 of window means": float(slow)}


def slow_figures(windows: Windows) -> Figures:
    """Root of the semivariance of window means by the time between them, in units."""
    edges = np.array([0.0, 0.3, 0.6, 1.2, 2.5, 6, 10, 60, 400])
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    means, lagged = windows.means(), []
    for mask in (mask for subject in windows.subjects for mask in windows.of(subject)):
        some, start = means[mask], windows.start[mask] / windows.rate
        first, second = np.triu_indices(len(some), 1)
        place = np.digitize(np.abs(start[first] - start[second]), edges) - 1
        half = ((some[first] - some[second]) ** 2).mean(1) / 2
        keep = place < len(total)
        total += np.bincount(place[keep], half[keep], len(total))
        count += np.bincount(place[keep], minlength=len(total))
        one = some[windows.event[mask] == 0]
        one = one - one.mean(0)
        lagged.append((one[1:] * one[:-1]).mean(0) / one.var(0))
    figures = {
        f"SD of means {low:g}-{high:g} s apart": float(value)
        for low, high, value in zip(
            edges[:-1], edges[1:], np.sqrt(total / np.maximum(count, 1)), strict=True
        )
    }
    figures["autocorrelation of window means, one trial apart"] = float(np.mean(lagged))
    return figures


def evoked_figures(windows: Windows) -> Figures:
    """How much of the window means the event explains; how alike series and subjects are."""
    means, shares, patterns, alike = windows.means(), [], [], []

    def pattern(values: Array, events: NDArray[np.int_]) -> Array:
        evoked = np.array([values[events == event].mean(0) for event in range(len(EVENTS))])
        return (evoked - evoked.mean(0)).ravel()

    for subject in windows.subjects:
        masks, mine = windows.of(subject), windows.subject == subject
        own = means.copy()
        for mask in masks:
            own[mask] -= np.median(means[mask], axis=0)
        evoked = np.array([own[mine & (windows.event == e)].mean(0) for e in range(len(EVENTS))])
        rest = own[mine] - evoked[windows.event[mine]]
        shares.append(np.mean(evoked.var(0) / (evoked.var(0) + rest.var(0))))
        patterns.append(pattern(own[mine], windows.event[mine]))
        pairs = np.corrcoef([pattern(own[mask], windows.event[mask]) for mask in masks])
        alike.append(pairs[np.triu_indices(len(pairs), 1)].mean())
    pairs = np.corrcoef(patterns)
    between = pairs[np.triu_indices(len(pairs), 1)].mean()
    return {
        "share of window means explained by the event": float(np.mean(shares)),
        "correlation of evoked patterns, between series": float(np.mean(alike)),
        "correlation of evoked patterns, between subjects": float(between),
    }


def discrimination_figures(windows: Windows) -> Figures:
    """Accuracy of telling five events apart, per subject, series 1-4 to 5-6.

    BothStartLoadPhase is left out, because it often coincides with FirstDigitTouch.
    """
    x = windows.signal
    n, samples, _ = x.shape
    third = samples // 3
    features = {
        "one mean": x.mean(1),
        "three means": x[:, : 3 * third].reshape(n, 3, third, -1).mean(2).reshape(n, -1),
        "log variance": np.log(x.var(1) + 1),
    }
    used = windows.event != EVENTS.index("BothStartLoadPhase")
    figures: Figures = {}
    for name, values in features.items():
        accuracies = []
        for subject in windows.subjects:
            mask = used & (windows.subject == subject)
            train, test = mask & (windows.series <= 4), mask & (windows.series > 4)
            model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
            model.fit(values[train], windows.event[train])
            accuracies.append(float(model.score(values[test], windows.event[test])))
        figures[f"accuracy of LDA, {name}"] = float(np.mean(accuracies))
        figures[f"accuracy of LDA, {name}, worst subject"] = min(accuracies)
        figures[f"accuracy of LDA, {name}, best subject"] = max(accuracies)
    return figures


def window_figures(windows: Windows) -> Figures:
    """All figures that need nothing but windows."""
    parts = (
        amplitude_figures, spectrum_figures, covariance_figures, slow_figures, evoked_figures,
        discrimination_figures,
    )  # fmt: skip
    return {name: value for part in parts for name, value in part(windows).items()}


# ---- score ---------------------------------------------------------------------------------------


def subject_windows(config: SimulationConfig, subject: int) -> Windows:
    """Simulate a subject's series 1-6 and cut their windows."""
    recordings = (simulate_series(config, subject, series) for series in TRAINING)
    return Windows.joined([cut_windows(recording, config.rate) for recording in recordings])


def method_figures(presets: list[str], overrides: list[str]) -> tuple[Figures, tuple[float, float]]:
    """Fit the published methods as the command line would; also FBL_LDA's worst and best subject.

    Returns
    -------
    dict
        The pooled AUC of each.
    (float, float)
        nan where FBL_LDA was not among them.
    """
    figures, spread = {}, (np.nan, np.nan)
    for preset in presets:
        config = compose([f"experiment={preset}", *overrides])
        auc = run(config).auc
        assert auc is not None
        figures[METHODS[preset]] = float(auc.loc["pooled", "mean"])
        if preset == "fbl_lda":
            own = auc.loc[auc.index.str.startswith("subj") & (auc.index != "subject_mean"), "mean"]
            spread = float(own.min()), float(own.max())
    return figures, spread


# ---- the table -----------------------------------------------------------------------------------


def table_of(figures: Figures) -> str:
    """Compare figures with the real ones, as a Markdown table."""
    lines = ["| quantity | real | simulated | tolerance | within |", "|---|--:|--:|--:|---|"]
    for name, real in REAL.items():
        if name in figures:
            sign = "x" if real.is_factor else "±"
            within = "yes" if real.allows(figures[name]) else "**no**"
            lines.append(
                f"| {name} | {real.value:.4g} | {figures[name]:.4g} | {sign} {real.tolerance:g} "
                f"| {within} |"
            )
    rows = [real.allows(figures[name]) for name, real in REAL.items() if name in figures]
    lines += ["", f"{sum(rows)} of {len(rows)} within tolerance."]
    return "\n".join(lines)


def order_of(figures: Figures) -> str:
    """Say how the methods rank on the real recordings and on the simulated ones."""
    known = [name for name in METHODS.values() if name in figures]

    def ranked(value: dict[str, float]) -> str:
        names = sorted(known, key=lambda name: -value[name])
        return ", ".join(name.removeprefix("AUC of ").removeprefix("the ") for name in names)

    real = ranked({name: REAL[name].value for name in known})
    here = ranked(figures)
    same = "the same" if real == here else f"simulated {here}"
    return f"Methods from best to worst: real {real}; {same}."


def main(arguments: list[str]) -> None:
    """Simulate, fit, compare, print the table and write it.

    Parameters
    ----------
    arguments : list of str
        ``presets=a,b`` for some of the published methods; all else as on the pipeline's command
        line.
    """
    presets, overrides = chosen_presets(arguments, tuple(METHODS), tuple(METHODS))
    whole = ["dataset=simulated", "dataset.simulation.subjects=12", "dataset.simulation.trials=0"]
    overrides = [*whole, *SPLIT, "tracking.enabled=false", *overrides]
    flow = Flow(compose(overrides))
    config = SimulationConfig(**plain(flow.config.dataset.simulation))
    subjects = range(1, config.subjects + 1)
    plans = {
        (subject, series): simulate_trials(config, subject, series)
        for subject in subjects
        for series in (*TRAINING, *VALIDATION)
    }
    work = (delayed(subject_windows)(config, subject) for subject in subjects)
    made = Parallel(n_jobs=flow.workers, return_as="generator")(work)
    parts = list(tqdm(made, total=len(subjects), desc="windows", unit="subject"))
    figures = trial_figures(plans) | window_figures(Windows.joined(parts))
    aucs, (worst, best) = method_figures(presets, overrides)
    text = (
        f"{table_of(figures | aucs)} {order_of(aucs)} FBL_LDA's AUC by subject: {worst:.3f} to "
        f"{best:.3f}.\n\n{machine(flow.cores)}; seed {config.seed}.\n"
    )
    print(text)
    write_between(DOC, "calibration", text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
