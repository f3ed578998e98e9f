"""How close simulated recordings come to real ones.

Each function computes one group of figures from recordings, the same way for real and for
simulated ones; `REAL` holds what they gave for the real ones. ``python -m pipeline.calibrate``
prints the comparison.

The real figures come from WAY-EEG-GAL (Luciw et al. 2014, doi 10.1038/sdata.2014.47): the times of
all events of series 1-8 for the delays; the 300 ms windows around the events of series 1-6 for
everything that needs the signal. Only the scores of the filter bank were claimed by others: by the
winners of the competition for the same protocol.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import signal
from scipy.stats import rankdata
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.simulate import (
    CHANNELS,
    EVENTS,
    SimulatedSeries,
    SimulatedTrials,
    SimulationConfig,
    simulate_series,
    simulate_trials,
)

Array = NDArray[np.float64]
Figures = dict[str, float]

# Real values and how far a simulation may be off, by quantity. A tolerance below 1 with a leading
# "x" is a factor: x1.3 means between real / 1.3 and real * 1.3.
# Delays: 5, 50 and 95 % over all 3,120 trials, in ms. Windows: 13,554 of them, from the middle of
# each event -150 to +150 ms, computed by the functions below. Scores: the winners' README.
REAL: dict[str, tuple[float, float | str]] = {}

LOW_PASSES = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 15.0, 30.0)  # Hz, the filter bank's corners
TRAINING, VALIDATION = (1, 2, 3, 4, 5, 6), (7, 8)


# ---- delays --------------------------------------------------------------------------------------


def trial_figures(plans: Iterable[SimulatedTrials]) -> Figures:
    """Figures of the trials' timing.

    Parameters
    ----------
    plans
        Of several series.

    Returns
    -------
    dict
        Quantiles of all delays and rests in ms, base rate of the labels, rows a series at 500 Hz.
    """
    plans = list(plans)
    figures: Figures = {}
    delays = np.concatenate([np.diff(plan.centres, axis=1) for plan in plans]) * 1000
    for column, name in enumerate(EVENTS[1:]):
        for quantile in (5, 25, 50, 75, 95):
            figures[f"{EVENTS[column]} to {name}, {quantile} %, ms"] = float(
                np.nanpercentile(delays[:, column], quantile)
            )
    for kind in ("short", "long", "mixed"):
        some = [plan for plan in plans if plan.kind == kind]
        if some:
            between = np.concatenate([np.diff(plan.centres[:, 0]) for plan in some])
            for quantile in (5, 50, 95):
                figures[f"HandStart to HandStart, {kind}, {quantile} %, s"] = float(
                    np.percentile(between, quantile)
                )
            figures[f"rows, {kind}, median"] = float(np.median([p.seconds for p in some]) * 500)
    figures["first HandStart, median, s"] = float(np.median([p.centres[0, 0] for p in plans]))
    marked = sum(np.isfinite(plan.centres).sum() for plan in plans)
    figures["base rate, %"] = float(100 * 0.3 * marked / 6 / sum(p.seconds for p in plans))
    late = sum(int((p.centres[:, 2] > p.centres[:, 3]).sum()) for p in plans)
    figures["load after lift, %"] = 100 * late / sum(len(p.centres) for p in plans)
    gaps = np.concatenate([p.centres for p in plans])
    for first, second in ((1, 2), (2, 3), (1, 3), (4, 5)):
        apart = np.abs(gaps[:, first] - gaps[:, second])
        share = np.nanmean(np.clip(1 - apart / 0.3, 0, None))
        figures[f"overlap {EVENTS[first]}, {EVENTS[second]}"] = float(share)
    return figures


# ---- windows -------------------------------------------------------------------------------------


@dataclass
class Windows:
    """Windows of 300 ms around events.

    Parameters
    ----------
    signal : (n, samples, channels) float32
        In the units of Kaggle's files.
    subject, series, event : (n,)
        Where each comes from; `event` is an index into `EVENTS`.
    start : (n,)
        Row of the window's first sample.
    rate
        In Hz.
    """

    signal: NDArray[np.float32]
    subject: NDArray[np.int_]
    series: NDArray[np.int_]
    event: NDArray[np.int_]
    start: NDArray[np.int_]
    rate: float = 500.0

    def means(self) -> Array:
        """Mean of every window, `(n, channels)`."""
        return self.signal.mean(1, dtype=np.float64)

    def groups(self) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """Give (subject, series, mask) for all series."""
        for subject in np.unique(self.subject):
            for series in np.unique(self.series[self.subject == subject]):
                yield subject, series, (self.subject == subject) & (self.series == series)


def cut_windows(recordings: Iterable[SimulatedSeries], rate: float) -> Windows:
    """Cut the windows around all events out of recordings.

    Parameters
    ----------
    recordings
        Read once, one at a time.
    rate
        In Hz.

    Returns
    -------
    Windows
        Those of labels that are exactly 300 ms wide.
    """
    width = round(0.3 * rate)
    cut, where = [], []
    for recording in recordings:
        for event in range(len(EVENTS)):
            edges = np.diff(np.concatenate([[0], recording.events[:, event].astype(int), [0]]))
            for start, end in zip(*(np.flatnonzero(edges == k) for k in (1, -1)), strict=True):
                if end - start == width:
                    cut.append(recording.signal[start:end].astype(np.float32))
                    where.append((recording.subject, recording.series, event, start))
    return Windows(np.stack(cut), *np.array(where).T, rate=rate)


def amplitude_figures(windows: Windows) -> Figures:
    """Size of the signal and of its changes, in units."""
    x = windows.signal
    figures: Figures = {"mean": float(x.mean()), "SD": float(x.std(dtype=np.float64))}
    within = np.median(x.std(1), axis=0)
    for names in ("Fp1 Fp2", "F7 F8", "Fz FC1 FC2 Cz", "C3 C4", "CP5 CP6", "T7 T8", "O1 Oz O2",
                  "PO9 PO10"):  # fmt: skip
        columns = [CHANNELS.index(name) for name in names.split()]
        figures[f"SD within a window, median, {names}"] = float(within[columns].mean())
    means = windows.means()
    deviations, centres = [], {}
    for subject, series, mask in windows.groups():
        deviations.append(means[mask].std(0))
        centres.setdefault(subject, []).append(np.median(means[mask], axis=0))
    spread = np.median(deviations, axis=0)
    for names in ("Fp1 Fp2", "F7 F8", "Fz FC1 FC2 Cz", "C3 C4", "T7 T8", "O1 Oz O2"):
        columns = [CHANNELS.index(name) for name in names.split()]
        figures[f"SD of window means in a series, median, {names}"] = float(spread[columns].mean())
    if all(len(values) > 1 for values in centres.values()):
        figures["SD of series' medians, between series"] = float(
            np.median([np.std(values, axis=0, ddof=1) for values in centres.values()])
        )
    tails = [
        np.quantile(np.abs(x[windows.subject == s]), 0.999) for s in np.unique(windows.subject)
    ]
    figures["99.9 % of |x|, smallest subject"] = float(min(tails))
    figures["99.9 % of |x|, median subject"] = float(np.median(tails))
    figures["99.9 % of |x|, largest subject"] = float(max(tails))
    swing = np.ptp(x[:, :, CHANNELS.index("Fp1")], axis=1)
    for quantile in (50, 90, 95):
        figures[f"Fp1 peak to peak in a window, {quantile} %"] = float(
            np.percentile(swing, quantile)
        )
    return figures


def spectrum_figures(windows: Windows) -> Figures:
    """Power per Hz in units^2/Hz: the median over windows, then the mean over channels."""
    frequency, power = signal.periodogram(
        windows.signal, windows.rate, window="hann", detrend="constant", axis=1
    )
    middle = np.median(power, axis=0)
    figures: Figures = {}
    for hertz in (3.3, 6.7, 10.0, 13.3, 20.0, 30.0, 50.0, 100.0):
        if hertz < 0.45 * windows.rate:
            nearest = np.argmin(np.abs(frequency - hertz))
            figures[f"power per Hz at {hertz:g} Hz"] = float(middle[nearest].mean())
    # how much the power changes from window to window
    for low, high in ((6, 14), (15, 28)):
        band = (frequency >= low) & (frequency <= high)
        log = np.log(power[:, band].mean(1))
        spread = np.mean([log[mask].std(0).mean() for _, _, mask in windows.groups()])
        figures[f"SD of log power, {low}-{high} Hz"] = float(spread)
    return figures


def covariance_figures(windows: Windows) -> Figures:
    """Correlations of channels within windows, and the eigenvalues as shares of their sum."""
    x = windows.signal - windows.signal.mean(1, keepdims=True)
    fast = np.corrcoef(x.reshape(-1, x.shape[2]).T)
    figures: Figures = {}
    for rank, value in enumerate(np.linalg.eigvalsh(fast)[::-1][:4] / len(fast), 1):
        figures[f"eigenvalue {rank} within windows"] = float(value)
    for pair in ("C3 CP5", "Fp1 Fp2", "O1 Oz", "C3 C4", "F7 F8", "Fp1 O1", "Cz CP1"):
        a, b = (CHANNELS.index(name) for name in pair.split())
        figures[f"correlation within windows, {pair}"] = float(fast[a, b])
    slow = np.linalg.eigvalsh(np.corrcoef(windows.means().T))[::-1] / len(fast)
    for rank, value in enumerate(slow[:3], 1):
        figures[f"eigenvalue {rank} of window means"] = float(value)
    return figures


def slow_figures(windows: Windows, clip: float = 1500.0) -> Figures:
    """Root of the semivariance of window means by the time between them, in units."""
    edges = np.array([0.0, 0.15, 0.3, 0.6, 1.2, 2.5, 4, 6, 10, 20, 60, 400])
    total, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    means = np.clip(windows.means(), -clip, clip)
    lagged = []
    for _, _, mask in windows.groups():
        some, start = means[mask], windows.start[mask] / windows.rate
        first, second = np.triu_indices(len(some), 1)
        place = np.digitize(np.abs(start[first] - start[second]), edges) - 1
        half = ((some[first] - some[second]) ** 2).mean(1) / 2
        keep = (place >= 0) & (place < len(total))
        total += np.bincount(place[keep], half[keep], len(total))
        count += np.bincount(place[keep], minlength=len(total))
        one = some[windows.event[mask] == 0]
        if len(one) > 3:
            one = one - one.mean(0)
            lagged.append((one[1:] * one[:-1]).mean(0) / one.var(0))
    figures: Figures = {}
    for low, high, value in zip(
        edges, edges[1:], np.sqrt(total / np.maximum(count, 1)), strict=False
    ):
        figures[f"SD of means {low:g}-{high:g} s apart"] = float(value)
    figures["autocorrelation of HandStart means, one trial apart"] = float(np.mean(lagged))
    return figures


def evoked_figures(windows: Windows, clip: float = 1500.0) -> Figures:
    """How much of the window means the event explains, and how alike series and subjects are."""
    means = np.clip(windows.means(), -clip, clip)
    shares, patterns, alike = [], [], []
    for subject in np.unique(windows.subject):
        by_series = []
        own = means.copy()
        for series in np.unique(windows.series[windows.subject == subject]):
            mask = (windows.subject == subject) & (windows.series == series)
            own[mask] -= np.median(means[mask], axis=0)
            evoked = [own[mask & (windows.event == e)].mean(0) for e in range(len(EVENTS))]
            by_series.append((np.array(evoked) - np.mean(evoked, axis=0)).ravel())
        mask = windows.subject == subject
        evoked = np.array([own[mask & (windows.event == e)].mean(0) for e in range(len(EVENTS))])
        rest = own[mask] - evoked[windows.event[mask]]
        between = evoked.var(0)
        shares.append(float(np.mean(between / (between + rest.var(0)))))
        patterns.append((evoked - evoked.mean(0)).ravel())
        if len(by_series) > 1:
            pairs = np.corrcoef(by_series)[np.triu_indices(len(by_series), 1)]
            alike.append(float(pairs.mean()))
    figures = {
        "share of means explained by the event, mean": float(np.mean(shares)),
        "share of means explained by the event, smallest": min(shares),
        "share of means explained by the event, largest": max(shares),
    }
    if alike:
        figures["correlation of evoked patterns, series"] = float(np.mean(alike))
    if len(patterns) > 1:
        pairs = np.corrcoef(patterns)[np.triu_indices(len(patterns), 1)]
        figures["correlation of evoked patterns, subjects"] = float(pairs.mean())
    return figures


def discrimination_figures(windows: Windows) -> Figures:
    """Accuracy of telling five events apart, per subject, series 1-4 to 5-6.

    BothStartLoadPhase is left out, because it often coincides with FirstDigitTouch.
    """
    x = windows.signal
    n, samples, _ = x.shape
    third = samples // 3
    three = x[:, : 3 * third].reshape(n, 3, third, -1).mean(2)
    features = {
        "one mean": windows.means(),
        "three means": three.reshape(n, -1),
        "three means less their mean": (three - three.mean(1, keepdims=True)).reshape(n, -1),
        "log variance": np.log(x.var(1) + 1),
        "log variance of differences": np.log(np.diff(x, axis=1).var(1) + 1),
    }
    used = windows.event != EVENTS.index("BothStartLoadPhase")
    figures: Figures = {}
    for name, values in features.items():
        scores = []
        for subject in np.unique(windows.subject):
            mask = used & (windows.subject == subject)
            train, test = mask & (windows.series <= 4), mask & np.isin(windows.series, (5, 6))
            if train.any() and test.any():
                model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
                model.fit(values[train], windows.event[train])
                scores.append(model.score(values[test], windows.event[test]))
        if scores:
            figures[f"events told apart by {name}"] = float(np.mean(scores))
            if name == "three means":
                figures["events told apart by three means, worst subject"] = min(scores)
                figures["events told apart by three means, best subject"] = max(scores)
    return figures


# ---- score ---------------------------------------------------------------------------------------


def filter_bank(x: NDArray[np.int16], rate: float, keep_every: int) -> NDArray[np.float32]:
    """Ten causal low-passes of every channel, started from the first sample.

    Parameters
    ----------
    x : (T, channels)
        A recording.
    rate
        In Hz.
    keep_every
        Rows to go on by.

    Returns
    -------
    (T / keep_every, 10 * channels)
        The winners' FBL features.
    """
    parts = []
    for corner in LOW_PASSES:
        sections = signal.butter(5, corner, fs=rate, output="sos")
        state = signal.sosfilt_zi(sections)[:, :, None] * x[0]
        filtered, _ = signal.sosfilt(sections, x.astype(np.float64), axis=0, zi=state)
        parts.append(filtered[::keep_every].astype(np.float32))
    return np.concatenate(parts, axis=1)


def _auc(truth: NDArray[np.uint8], score: Array) -> float:
    ranks = rankdata(score)
    positive = truth.astype(bool)
    hits, misses = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def _discriminant(x: NDArray[np.float32], y: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Fit a binary LDA for every column of `y`: weights `(features, 6)` and offsets `(6,)`."""
    x = x.astype(np.float64)
    scatter = x.T @ x
    weights, offsets = [], []
    for column in y.T:
        hit = column.astype(bool)
        share = hit.mean()
        yes, no = x[hit].mean(0), x[~hit].mean(0)
        within = scatter / len(x) - share * np.outer(yes, yes) - (1 - share) * np.outer(no, no)
        within[np.diag_indices_from(within)] *= 1 + 1e-6
        weight = np.linalg.solve(within, yes - no)
        weights.append(weight)
        offsets.append(np.log(share / (1 - share)) - weight @ (yes + no) / 2)
    return np.array(weights).T, np.array(offsets)


def score_figures(
    config: SimulationConfig, keep_every: int = 10, logistic: bool = False
) -> tuple[Figures, pd.DataFrame]:
    """AUC of linear classifiers on the filter bank, series 1-6 to 7-8.

    Parameters
    ----------
    config
        What to simulate.
    keep_every
        Rows to go on by.
    logistic
        Whether to fit logistic regressions too, which takes minutes.

    Returns
    -------
    figures : dict
        Pooled over subjects, mean over events, and the range of subjects.
    by_subject : DataFrame
        AUC of the LDA of every subject and event.
    """
    truths, scores, odds, table = [], [], [], {}
    for subject in range(1, config.subjects + 1):
        sets = {}
        for name, numbers in (("train", TRAINING), ("test", VALIDATION)):
            xs, ys = [], []
            for series in numbers:
                recording = simulate_series(config, subject, series)
                xs.append(filter_bank(recording.signal, config.rate, keep_every))
                ys.append(recording.events[::keep_every])
            sets[name] = np.concatenate(xs), np.concatenate(ys)
        (x, y), (x_test, y_test) = sets["train"], sets["test"]
        mean, deviation = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
        x = ((x - mean) / deviation).astype(np.float32)
        x_test = ((x_test - mean) / deviation).astype(np.float32)
        weights, offsets = _discriminant(x, y)
        scores.append(x_test @ weights + offsets)
        truths.append(y_test)
        table[subject] = [_auc(t, s) for t, s in zip(y_test.T, scores[-1].T, strict=True)]
        if logistic:
            own = []
            for column in y.T:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # not fully converged is close enough here
                    model = LogisticRegression(max_iter=60).fit(x, column)
                own.append(model.decision_function(x_test))
            odds.append(np.array(own).T)
    by_subject = pd.DataFrame(table, index=EVENTS).T
    truth = np.concatenate(truths)

    def pooled(parts: list[Array]) -> float:
        score = np.concatenate(parts)
        return float(np.mean([_auc(truth[:, k], score[:, k]) for k in range(len(EVENTS))]))

    figures = {"AUC of FBL and LDA": pooled(scores)}
    if config.subjects > 1:
        means = by_subject.mean(axis=1)
        figures["AUC of FBL and LDA, worst subject"] = float(means.min())
        figures["AUC of FBL and LDA, best subject"] = float(means.max())
    if logistic:
        figures["AUC of FBL and logistic regression"] = pooled(odds)
    return figures, by_subject


# ---- the table -----------------------------------------------------------------------------------


def window_figures(windows: Windows) -> Figures:
    """All figures that need nothing but windows."""
    groups = (
        amplitude_figures,
        spectrum_figures,
        covariance_figures,
        slow_figures,
        evoked_figures,
        discrimination_figures,
    )
    return {name: value for group in groups for name, value in group(windows).items()}


def is_within(real: float, simulated: float, tolerance: float | str) -> bool:
    """Tell whether a simulated figure is close enough to the real one."""
    if isinstance(tolerance, str):
        factor = float(tolerance.lstrip("x"))
        return real / factor <= simulated <= real * factor
    return abs(simulated - real) <= tolerance


def table_of(figures: Figures) -> str:
    """Compare figures with the real ones, as a Markdown table."""
    lines = ["| quantity | real | simulated | tolerance | within |", "|---|---|---|---|---|"]
    for name, (real, tolerance) in REAL.items():
        if name in figures:
            simulated = figures[name]
            within = "yes" if is_within(real, simulated, tolerance) else "no"
            sign = tolerance if isinstance(tolerance, str) else f"{tolerance:g}"
            lines.append(f"| {name} | {real:.4g} | {simulated:.4g} | {sign} | {within} |")
    return "\n".join(lines)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--snr", type=float, default=1.0)
    parser.add_argument("--logistic", action="store_true")
    parser.add_argument("--no-score", action="store_true")
    options = parser.parse_args()
    config = SimulationConfig(
        seed=options.seed, subjects=options.subjects, rate=options.rate, snr=options.snr
    )
    pairs = [(s, r) for s in range(1, config.subjects + 1) for r in range(1, 9)]
    figures = trial_figures(simulate_trials(config, *pair) for pair in pairs)
    recordings = (simulate_series(config, *pair) for pair in pairs if pair[1] <= 6)
    figures |= window_figures(cut_windows(recordings, config.rate))
    if not options.no_score:
        scores, by_subject = score_figures(
            config, max(1, round(config.rate / 50)), options.logistic
        )
        figures |= scores
        print(by_subject.assign(mean=by_subject.mean(axis=1)).round(3).to_string(), end="\n\n")
    print(table_of(figures))


if __name__ == "__main__":
    main()
