"""Figures to compare simulated with real recordings: delays, their course, and event windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.data.recording import Description, Recording, label_runs
from pipeline.data.simulator.format import LABEL_SECONDS
from pipeline.data.simulator.plan import TRIAL_EVENTS, SimulatedTrials
from pipeline.errors import ConfigError

Array = NDArray[np.float64]
Figures = dict[str, float]
TRAINING, VALIDATION = (1, 2, 3, 4, 5, 6), (7, 8)
CLIP = 1500.0  # units: larger window means are loose contacts, which would dominate all figures
GROUPS = {
    "forehead": "Fp1 Fp2", "front": "F7 F8", "vertex": "Fz FC1 FC2 Cz", "hands": "C3 C4",
    "temples": "T7 T8", "back": "O1 Oz O2",
}  # fmt: skip
# Delays whose course over a series is compared, by the column in which each begins and ends
COURSES = {
    "HandStart to FirstDigitTouch": (0, 1), "FirstDigitTouch to LiftOff": (1, 3),
    "LiftOff to Replace": (3, 4), "Replace to BothReleased": (4, 5), "pause": (5, 0),
}  # fmt: skip
SHORTEST = 0.001  # s: the logarithm of a shorter delay, or of a negative one, is that of this one
PAIRS = ("C3 CP5", "Fp1 Fp2", "O1 Oz", "C3 C4", "F7 F8", "Cz CP1")
HERTZ = (3.3, 6.7, 10.0, 20.0, 30.0, 50.0, 100.0)


def check_names(about: Description) -> None:
    """Refuse a data set that lacks channels or events which the figures need.

    Raises
    ------
    ConfigError
        Names the key, and what is missing.
    """
    channels = [name for names in (*GROUPS.values(), *PAIRS) for name in names.split()]
    for key, wanted, there in (
        ("channels", channels, about.channels), ("events", TRIAL_EVENTS, about.events)
    ):  # fmt: skip
        if missing := sorted(set(wanted) - set(there)):
            raise ConfigError(f"dataset.{key}: the comparison needs {', '.join(missing)}")


def trial_figures(plans: dict[tuple[int, int], SimulatedTrials], rate: float) -> Figures:
    """Figures of the trials' timing.

    Parameters
    ----------
    plans : dict
        By (subject, series).
    rate : float
        Samples per second.
    """
    figures: Figures = {}
    centres = np.concatenate([plan.centres for plan in plans.values()])
    for column, delays in enumerate(1000 * np.diff(centres, axis=1).T):
        for quantile in (5, 25, 50, 75, 95):
            name = f"{TRIAL_EVENTS[column]} to {TRIAL_EVENTS[column + 1]}, {quantile} %, ms"
            figures[name] = float(np.nanpercentile(delays, quantile))
    for kind in ("short", "long", "mixed"):
        some = [plan for plan in plans.values() if plan.kind == kind]
        between = np.concatenate([np.diff(plan.centres[:, 0]) for plan in some])
        figures[f"HandStart to HandStart, {kind}, s"] = float(np.median(between))
        figures[f"rows, {kind}"] = float(np.median([plan.seconds for plan in some]) * rate)
    figures["first HandStart, s"] = float(np.median([p.centres[0, 0] for p in plans.values()]))
    for name, wanted in (("1-6", TRAINING), ("7-8", VALIDATION)):
        some = [plan for (_, series), plan in plans.items() if series in wanted]
        marked = sum(np.isfinite(plan.centres).sum() for plan in some) / len(TRIAL_EVENTS)
        share = LABEL_SECONDS * marked / sum(plan.seconds for plan in some)
        figures[f"base rate, series {name}, %"] = float(100 * share)
    for first, second in ((1, 2), (2, 3), (4, 5)):
        apart = np.abs(centres[:, first] - centres[:, second])
        share = np.nanmean(np.clip(1 - apart / LABEL_SECONDS, 0, None))
        figures[f"overlap of {TRIAL_EVENTS[first]} and {TRIAL_EVENTS[second]}"] = float(share)
    figures["trials with BothStartLoadPhase after LiftOff"] = float(
        (centres[:, 2] > centres[:, 3]).sum()
    )
    return figures


def course_figures(plans: dict[tuple[int, int], SimulatedTrials]) -> Figures:
    """Figures of how the trials' timing changes over a series.

    Log delays are taken less their mean over a subject's series of one type; 1 % are clipped. Of
    independent trials, the autocorrelation is about -0.03, and a straight line over the trials
    explains about 0.03 of the variance within a series.

    Parameters
    ----------
    plans : dict
        By (subject, series).
    """
    figures: Figures = {}
    groups = [(subject, plan.kind) for (subject, _), plan in plans.items()]
    for name, (begin, end) in COURSES.items():
        later = int(end < begin)  # a pause ends with the next trial
        delays = [
            plan.centres[later:, end] - plan.centres[: len(plan.centres) - later, begin]
            for plan in plans.values()
        ]
        logs = [np.log(np.maximum(one, SHORTEST)) for one in delays]
        for group in set(groups):
            mine = [n for n, each in enumerate(groups) if each == group]
            mean = np.concatenate([logs[n] for n in mine]).mean()
            for n in mine:
                logs[n] = logs[n] - mean
        low, high = np.quantile(np.concatenate(logs), (0.005, 0.995))
        logs = [np.clip(one, low, high) for one in logs]
        within = np.sqrt(np.mean([one.var(ddof=1) for one in logs]))
        figures[f"{name}, log SD within series"] = float(within)
        figures[f"{name}, log SD of series"] = float(np.std([one.mean() for one in logs], ddof=1))
        alike, lines = [], []
        for one in logs:
            x, trial = one - one.mean(), np.arange(len(one)) - (len(one) - 1) / 2
            alike.append(x[1:] @ x[:-1] / (x @ x))
            lines.append((x @ trial) ** 2 / (x @ x) / (trial @ trial))
        figures[f"{name}, autocorrelation"] = float(np.mean(alike))
        figures[f"{name}, share of a line over the series"] = float(np.mean(lines))
    return figures


@dataclass
class Windows:
    """Windows of 300 ms around events.

    Parameters
    ----------
    signal : ndarray of float32, shape (n, samples, C)
        In the units of Kaggle's files.
    subject, series, event, start : ndarray, shape (n,)
        Where each comes from; `event` is an index into the data set's events, `start` the first
        row.
    about : Description
        Channels, events and rate.
    """

    signal: NDArray[np.float32]
    subject: NDArray[np.int_]
    series: NDArray[np.int_]
    event: NDArray[np.int_]
    start: NDArray[np.int_]
    about: Description

    def means(self) -> Array:
        """Mean of every window, `(n, channels)`; loose contacts are clipped."""
        return np.clip(self.signal.mean(1, dtype=np.float64), -CLIP, CLIP)

    def of(self, subject: int) -> list[NDArray[np.bool_]]:
        """Give one mask per series of a subject: which windows are from that series."""
        mine = self.subject == subject
        return [mine & (self.series == series) for series in np.unique(self.series[mine])]

    @property
    def subjects(self) -> list[int]:
        """All subjects' numbers."""
        return [int(subject) for subject in np.unique(self.subject)]

    def columns(self, channels: str) -> list[int]:
        """Give the columns of some channels, e.g. of ``"C3 C4"``."""
        return [self.about.channels.index(name) for name in channels.split()]

    def is_event(self, name: str) -> NDArray[np.bool_]:
        """Tell which windows are around the event of this name, `(n,)`."""
        return self.event == self.about.events.index(name)

    def chosen(self, mask: NDArray[np.bool_]) -> Windows:
        """Keep the windows of a mask."""
        return Windows(
            self.signal[mask], self.subject[mask], self.series[mask], self.event[mask],
            self.start[mask], self.about,
        )  # fmt: skip

    @staticmethod
    def joined(parts: list[Windows]) -> Windows:
        """Join several sets of windows."""
        names = ("signal", "subject", "series", "event", "start")
        columns: dict[str, NDArray] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in names
        }
        return Windows(**columns, about=parts[0].about)


def cut_windows(recording: Recording) -> Windows:
    """Cut the windows around all events out of a recording: labels of exactly 300 ms."""
    assert recording.events is not None
    width = round(LABEL_SECONDS * recording.about.rate)
    found = [
        (event, start)
        for event in range(recording.events.shape[1])
        for start, end in label_runs(recording.events[:, event])
        if end - start == width
    ]
    event, start = np.array(found).T
    signals = np.stack([recording.signal[s : s + width] for s in start]).astype(np.float32)
    subject, series = np.full_like(event, recording.subject), np.full_like(event, recording.series)
    return Windows(signals, subject, series, event, start, recording.about)


def amplitude_figures(windows: Windows) -> Figures:
    """Size of the signal and of its changes, in units."""
    x, means = windows.signal, windows.means()
    figures: Figures = {"mean": float(x.mean()), "SD": float(x.std(dtype=np.float64))}
    within = np.median(x.std(1), axis=0)
    series = {subject: windows.of(subject) for subject in windows.subjects}
    spread = np.median([means[m].std(0) for masks in series.values() for m in masks], axis=0)
    for group, names in GROUPS.items():
        figures[f"SD within windows, {group}"] = float(within[windows.columns(names)].mean())
        figures[f"SD of window means, {group}"] = float(spread[windows.columns(names)].mean())
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
        windows.signal, windows.about.rate, window="hann", detrend="constant", axis=1
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
        a, b = windows.columns(pair)
        figures[f"correlation within windows, {pair}"] = float(fast[a, b])
    slow = np.linalg.eigvalsh(np.corrcoef(windows.means().T))[-1] / len(fast)
    return {**figures, "eigenvalue 1 of window means": float(slow)}


def slow_figures(windows: Windows) -> Figures:
    """Square root of the semivariance of window means by the time between them, in units."""
    edges = np.array([0.0, 0.3, 0.6, 1.2, 2.5, 6, 10, 60, 400])
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    means, lagged = windows.means(), []
    for mask in (mask for subject in windows.subjects for mask in windows.of(subject)):
        some, start = means[mask], windows.start[mask] / windows.about.rate
        first, second = np.triu_indices(len(some), 1)
        place = np.digitize(np.abs(start[first] - start[second]), edges) - 1
        half = ((some[first] - some[second]) ** 2).mean(1) / 2
        keep = place < len(total)
        total += np.bincount(place[keep], half[keep], len(total))
        count += np.bincount(place[keep], minlength=len(total))
        one = some[windows.is_event("HandStart")[mask]]
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
    """How much of the window means the event explains, and how similar series and subjects are."""
    means, shares, patterns, alike = windows.means(), [], [], []
    every = range(len(windows.about.events))

    def pattern(values: Array, events: NDArray[np.int_]) -> Array:
        evoked = np.array([values[events == event].mean(0) for event in every])
        return (evoked - evoked.mean(0)).ravel()

    for subject in windows.subjects:
        masks, mine = windows.of(subject), windows.subject == subject
        own = means.copy()
        for mask in masks:
            own[mask] -= np.median(means[mask], axis=0)
        evoked = np.array([own[mine & (windows.event == e)].mean(0) for e in every])
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
        "log power, 8-30 Hz": _log_power(windows, 8, 30),
        "log power above 30 Hz": _log_power(windows, 30, np.inf),
    }
    used = ~windows.is_event("BothStartLoadPhase")
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


def _log_power(windows: Windows, low: float, high: float) -> Array:
    """Log power of each channel in each window between two frequencies, `(n, channels)`."""
    frequency, power = signal.periodogram(
        windows.signal, windows.about.rate, window="hann", detrend="constant", axis=1
    )
    band = (frequency >= low) & (frequency < high)
    return np.log(power[:, band].sum(1) * frequency[1] + 1)


def window_figures(windows: Windows) -> Figures:
    """All figures that can be computed from windows alone."""
    parts = (
        amplitude_figures, spectrum_figures, covariance_figures, slow_figures, evoked_figures,
        discrimination_figures,
    )  # fmt: skip
    return {name: value for part in parts for name, value in part(windows).items()}
