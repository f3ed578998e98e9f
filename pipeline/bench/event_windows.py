"""Networks against linear discriminants (LDA), on event windows of real recordings.

``python -m pipeline.bench.event_windows FILE [overrides]`` reads 300 ms around every event of
series 1-6 of WAY-EEG-GAL (Luciw et al. 2014). All methods learn from series 1-4 of each subject to
tell five events apart. The table shows how often they are right on series 5-6; it goes into
``docs/recipes.md``. FILE is a NumPy archive with ``s<subject>_r<series>_frame`` (the rows that are
there), ``..._eeg`` (their samples, in the units of Kaggle's files) and ``..._<event>_start`` (each
event's first row). It is not part of this project.

What is read of a window (`READINGS`):

filter bank
    The features of `lstm`, at 50 Hz: 15 rows.
means in turn
    The means of the window's three thirds, one after the other: three rows of 32 values.
means at once
    The same means side by side: one row of 96 values.

The network is the recipe `lstm`'s (scaler, whitening, LSTM), each window from an empty state; its
last row's logits are compared. LDA reads the last row, standardised. The network that corrects LDA
reads the logits of an LDA that was fitted to other series, beside the row, and learns what to add
to them.

BothStartLoadPhase is left out, because it often coincides with FirstDigitTouch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from pipeline.bench.arguments import run_command
from pipeline.bench.document import machine, write_between
from pipeline.bench.recording_figures import Windows
from pipeline.config.compose import compose
from pipeline.config.lstm import LstmOptions
from pipeline.config.options import Config, plain
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description
from pipeline.detectors.base import FitData
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.training import Beside
from pipeline.detectors.lstm.training import train as train_network
from pipeline.errors import PipelineError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.registry import make_features

DOC = PROJECT / "docs" / "recipes.md"
TRAINING, HELD_OUT = (1, 2, 3, 4), (5, 6)
RESAMPLES = 2000
# Each window counts as a series.
WINDOW = (
    "window=carried", "window.stride=1", "window.streams=1", "window.burn_in=0", "window.batch=16",
    "train.epochs=12",
)  # fmt: skip
READINGS = {"filter bank": 15, "means in turn": 3, "means at once": 1}
"""What is read of a window, and how many rows it is."""
# A row of 96 values needs no narrow layer before the LSTM, and none of them left out. Chosen on
# series 4 after 1-3.
MEANS = ("model.projection=0", "model.input_dropout=0")
NETWORKS = {
    "network, filter bank": ("filter bank", ()),
    "network, means in turn": ("means in turn", ()),
    "network, means at once": ("means at once", MEANS),
    "network that corrects LDA, means at once": ("means at once", MEANS),
}
"""Reading and further overrides of each network."""
DISCRIMINANTS = {
    "LDA, filter bank's last row": "filter bank", "LDA, means at once": "means at once"
}  # fmt: skip
JUDGE = "LDA, means at once"


def load_windows(path: Path, about: Description) -> Windows:
    """Read the windows that are complete.

    Parameters
    ----------
    path : Path
        The archive.
    about : Description
        Channels, events and rate of the recordings that the windows come from.

    Raises
    ------
    PipelineError
        If the file does not exist or holds something else.
    """
    parts = []
    try:
        with np.load(path) as stored:
            for subject in range(1, 13):
                for series in range(1, 7):
                    name = f"s{subject}_r{series}"
                    frame, eeg = stored[f"{name}_frame"], stored[f"{name}_eeg"]
                    for number, event in enumerate(about.events):
                        starts = np.array(stored[f"{name}_{event}_start"])
                        at = np.searchsorted(frame, starts)
                        inside = at + 149 < len(frame)
                        at, starts = at[inside], starts[inside]
                        whole = (frame[at] == starts) & (frame[at + 149] == starts + 149)
                        at, starts = at[whole], starts[whole]
                        cut = eeg[at[:, None] + np.arange(150)].astype(np.float32)
                        same = np.full_like(starts, 1)
                        where = same * subject, same * series, same * number, starts
                        parts.append(Windows(cut, *where, about=about))
    except (OSError, KeyError, ValueError) as error:
        raise PipelineError(
            f"{path}: not the archive of event windows that this command reads ({error})"
        ) from error
    return Windows.joined(parts)


def trials(windows: Windows) -> NDArray[np.int_]:
    """Give the number of each window's trial: that of the last HandStart before it."""
    result = np.zeros(len(windows.event), dtype=int)
    key = windows.subject * 100 + windows.series
    for one in np.unique(key):
        mine = key == one
        hands = np.sort(windows.start[mine & windows.is_event("HandStart")])
        result[mine] = one * 1000 + np.searchsorted(hands, windows.start[mine], side="right")
    return result


def read(windows: Windows, reading: str, config: Config) -> NDArray[np.float32]:
    """Read all windows.

    Parameters
    ----------
    windows : Windows
        N of them.
    reading : str
        One of `READINGS`.
    config : Config
        Its filter is that of the bank.

    Returns
    -------
    ndarray of float32, shape (N, rows, values)
    """
    signal, rows = windows.signal, READINGS[reading]
    if reading == "filter bank":
        bank = make_features(windows.about.rate, {**plain(config.filter), "decimate": 1})
        every = config.filter.decimate
        return np.stack([bank.transform(each)[0][every - 1 :: every] for each in signal])
    third = signal.shape[1] // 3
    means = signal[:, : 3 * third].reshape(len(signal), 3, third, -1).mean(axis=2)
    return means.reshape(len(signal), rows, -1).astype(np.float32)


def discriminant() -> Pipeline:
    """LDA on standardised values."""
    return make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())


def said_by_lda(
    windows: Windows, features: NDArray, train: NDArray, test: NDArray
) -> NDArray[np.float32]:
    """Give each window's log-odds by an LDA that was not fitted to its series.

    Returns
    -------
    ndarray of float32, shape (N, 1, events); nan for windows that are neither
    """
    last = features[:, -1]
    said = np.full((len(last), 1, len(np.unique(windows.event[train]))), np.nan, np.float32)
    for series in np.unique(windows.series[train]):
        held_out = train & (windows.series == series)
        others = train & ~held_out
        model = discriminant().fit(last[others], windows.event[others])
        said[held_out, 0] = log_odds(model.predict_proba(last[held_out]))
    model = discriminant().fit(last[train], windows.event[train])
    said[test, 0] = log_odds(model.predict_proba(last[test]))
    return said


def log_odds(probabilities: NDArray) -> NDArray:
    """Give log-odds, of 1e-6 at least and at most 1 - 1e-6."""
    return logit(np.clip(probabilities, 1e-6, 1 - 1e-6))


def network_answers(
    windows: Windows,
    features: NDArray[np.float32],
    train: NDArray,
    test: NDArray,
    config: Config,
    beside: NDArray[np.float32] | None = None,
) -> NDArray[np.int_]:
    """Give the answers of the recipe's network, trained as in the recipe."""
    torch.set_num_threads(1)
    events = np.unique(windows.event[train])

    def series(index: int) -> FeatureSeries:
        rows = features[index]
        hot = np.repeat((events == windows.event[index])[None], len(rows), axis=0)
        return FeatureSeries(1, int(index), rows, hot.astype(np.uint8), Moments.of(rows))

    indices = [int(index) for index in np.flatnonzero(train)]
    fitted = [series(index) for index in indices]
    corrected: Beside | None = None
    if beside is not None:
        corrected = {(1, index): beside[index] for index in indices}
    options = LstmOptions(config.window, config.model, config.train)
    with tempfile.TemporaryDirectory() as scratch:
        data = FitData(
            name="windows", fitted=fitted, held_out=[], shared=[], seed=config.seed, device="cpu",
            events=tuple(str(event) for event in events), epochs=float(config.train.epochs),
            scratch=Path(scratch), report=lambda progress, news: None,
            channels=windows.signal.shape[2],
        )  # fmt: skip
        network, arguments, scalers, _ = train_network(data, options, corrected)
    detector = LstmDetector(network, arguments, scalers, config.window.stride)
    asked = features if beside is None else np.concatenate([features, beside], axis=2)
    last = [detector.predict(asked[index], 1)[-1] for index in np.flatnonzero(test)]
    return events[np.argmax(last, axis=1)]


def answers(
    windows: Windows, subject: int, overrides: Sequence[str]
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.int_]]:
    """Say which answers on one subject's held-out windows are right, and give the windows' trials.

    Returns
    -------
    dict of str to ndarray of bool
        By the name of the method.
    ndarray of int
    """
    windows = windows.chosen((windows.subject == subject) & ~windows.is_event("BothStartLoadPhase"))
    train, test = (np.isin(windows.series, each) for each in (TRAINING, HELD_OUT))
    plain_recipe = composed("filter bank", (), overrides)
    features = {reading: read(windows, reading, plain_recipe) for reading in READINGS}
    given = {}
    for name, (reading, more) in NETWORKS.items():
        mine = features[reading]
        beside = said_by_lda(windows, mine, train, test) if "corrects" in name else None
        config = composed(reading, more, overrides)
        given[name] = network_answers(windows, mine, train, test, config, beside)
    for name, reading in DISCRIMINANTS.items():
        last = features[reading][:, -1]
        given[name] = discriminant().fit(last[train], windows.event[train]).predict(last[test])
    right = {name: answer == windows.event[test] for name, answer in given.items()}
    return right, trials(windows)[test]


def composed(reading: str, more: Sequence[str], overrides: Sequence[str]) -> Config:
    """Compose the recipe for a reading; what the command line says counts most."""
    length = f"window.length={READINGS[reading]}"
    return compose(["experiment=lstm", *WINDOW, length, *more, *overrides])


def interval(right: NDArray[np.float64], trial: NDArray[np.int_]) -> tuple[float, float, float]:
    """Give the mean and its 95 % interval, from drawing trials again and again (bootstrap)."""
    _, place = np.unique(trial, return_inverse=True)
    total, count = np.bincount(place, right), np.bincount(place)
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(count), (RESAMPLES, len(count)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(right.mean()), float(low), float(high)


def main(arguments: list[str]) -> None:
    """Compare, print the table and write it.

    Parameters
    ----------
    arguments : list of str
        The file, then overrides as on the pipeline's command line.
    """
    if not arguments or "=" in arguments[0]:
        raise PipelineError("name the archive of event windows: make bench-windows FILE=...")
    overrides = arguments[1:]
    config = composed("filter bank", (), overrides)
    windows = load_windows(Path(arguments[0]), Description.of(config.dataset))
    subjects = [each for each in windows.subjects if each in (config.dataset.subjects or [each])]
    work = (delayed(answers)(windows, subject, overrides) for subject in subjects)
    made = Parallel(n_jobs=config.workers or -1, return_as="generator")(work)
    parts = list(tqdm(made, total=len(subjects), desc="subjects", unit="subject"))
    trial = np.concatenate([trials for _, trials in parts])
    lines = [
        f"| | right | 95 % over trials | subjects, least to most | more than {JUDGE} |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in (*NETWORKS, *DISCRIMINANTS):
        own = [right[name].astype(float) for right, _ in parts]
        judge = np.concatenate([right[JUDGE] for right, _ in parts])
        mean, low, high = interval(np.concatenate(own), trial)
        spread = f"{min(map(np.mean, own)):.3f} to {max(map(np.mean, own)):.3f}"
        more, least, most = interval(np.concatenate(own) - judge, trial)
        gain = "" if name == JUDGE else f"{more:+.4f} ({least:+.4f} to {most:+.4f})"
        lines.append(f"| {name} | {mean:.4f} | {low:.4f} to {high:.4f} | {spread} | {gain} |")
    text = "\n".join(lines) + (
        f"\n\n{machine(cpu_count())}; {len(trial):,} held-out windows of {len(subjects)} "
        f"subjects, seed {config.seed}.\n"
    )
    print(text)
    write_between(DOC, "windows", text)


if __name__ == "__main__":
    run_command(main)
