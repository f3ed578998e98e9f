"""The network of the default recipe against LDA, on event windows of real recordings.

``python -m pipeline.bench.event_windows FILE [overrides]`` reads 300 ms around every event of
series 1-6 of WAY-EEG-GAL (Luciw et al. 2014). Both methods learn from series 1-4 of each subject to
tell five events apart. The table shows how often they are right on series 5-6; it goes into
``docs/recipes.md``. FILE is a NumPy archive with ``s<subject>_r<series>_frame`` (the rows that are
there), ``..._eeg`` (their samples, in the units of Kaggle's files) and ``..._<event>_start`` (each
event's first row). It is not part of this project.

network
    The default recipe's: filter bank, scaler, whitening, LSTM; each window from an empty state, at
    50 Hz, its last row's logits compared.
LDA
    On the means of the window's three thirds, 96 values, standardised.

BothStartLoadPhase is left out, because it often coincides with FirstDigitTouch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from pipeline.bench.document import machine, write_between
from pipeline.bench.recording_figures import Windows
from pipeline.config.compose import compose
from pipeline.config.lstm import LstmOptions
from pipeline.config.options import Config, plain
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description
from pipeline.detectors.base import FitData
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import make_network
from pipeline.detectors.lstm.own_projection import Learner
from pipeline.detectors.lstm.scaling import fit_scalers
from pipeline.detectors.lstm.training import Training, network_arguments
from pipeline.errors import PipelineError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.registry import make_features

DOC = PROJECT / "docs" / "recipes.md"
TRAINING, HELD_OUT = (1, 2, 3, 4), (5, 6)
RESAMPLES = 2000
# Each window counts as a series.
WINDOW = (
    "window=carried", "window.length=15", "window.stride=1", "window.streams=1",
    "window.burn_in=0", "window.batch=16", "train.epochs=12",
)  # fmt: skip


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


def lda_answers(windows: Windows, train: NDArray, test: NDArray) -> NDArray[np.int_]:
    """Give the answers of LDA on three means per window."""
    n, samples, _ = windows.signal.shape
    third = samples // 3
    x = windows.signal[:, : 3 * third].reshape(n, 3, third, -1).mean(2).reshape(n, -1)
    model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    return model.fit(x[train], windows.event[train]).predict(x[test])


def network_answers(
    windows: Windows, train: NDArray, test: NDArray, config: Config
) -> NDArray[np.int_]:
    """Give the answers of the recipe's network, trained as in the recipe."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    bank = make_features(windows.about.rate, {**plain(config.filter), "decimate": 1})
    every = config.filter.decimate
    events = np.unique(windows.event[train])

    def series(index: int) -> FeatureSeries:
        features = bank.transform(windows.signal[index])[0][every - 1 :: every]
        hot = np.repeat((events == windows.event[index])[None], len(features), axis=0)
        return FeatureSeries(1, int(index), features, hot.astype(np.uint8), Moments.of(features))

    fitted = [series(int(index)) for index in np.flatnonzero(train)]
    scalers = fit_scalers(fitted, [], config.train.whiten)
    arguments = network_arguments(config.model, fitted[0].features.shape[1], len(events))
    network = make_network(**arguments)
    options = LstmOptions(config.window, config.model, config.train)
    with tempfile.TemporaryDirectory() as scratch:
        data = FitData(
            name="windows", fitted=fitted, held_out=[], shared=[], seed=config.seed, device="cpu",
            events=tuple(str(event) for event in events), epochs=float(config.train.epochs),
            scratch=Path(scratch), report=lambda progress, news: None,
        )  # fmt: skip
        Training(data, options, Learner(network, None), scalers, torch.device("cpu")).run()
    detector = LstmDetector(network, arguments, scalers, config.window.stride)
    last = [detector.predict(series(int(i)).features, 1)[-1] for i in np.flatnonzero(test)]
    return events[np.argmax(last, axis=1)]


def answers(windows: Windows, subject: int, config: Config) -> tuple[NDArray, NDArray, NDArray]:
    """Say which answers on one subject's held-out windows are right, and give the windows' trials.

    Returns
    -------
    network, lda : ndarray of bool
    trial : ndarray of int
    """
    used = (windows.subject == subject) & ~windows.is_event("BothStartLoadPhase")
    train, test = used & np.isin(windows.series, TRAINING), used & np.isin(windows.series, HELD_OUT)
    right = [
        answer == windows.event[test]
        for answer in (
            network_answers(windows, train, test, config), lda_answers(windows, train, test)
        )
    ]  # fmt: skip
    return right[0], right[1], trials(windows)[test]


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
    config = compose(["experiment=lstm", *WINDOW, *arguments[1:]])
    windows = load_windows(Path(arguments[0]), Description.of(config.dataset))
    subjects = windows.subjects
    work = (delayed(answers)(windows, subject, config) for subject in subjects)
    made = Parallel(n_jobs=config.workers or -1, return_as="generator")(work)
    parts = list(tqdm(made, total=len(subjects), desc="subjects", unit="subject"))
    network, lda, trial = (np.concatenate(side) for side in zip(*parts, strict=True))
    rows = {"network": network, "LDA": lda, "network - LDA": network.astype(float) - lda}
    own = {
        "network": [n.mean() for n, _, _ in parts], "LDA": [right.mean() for _, right, _ in parts]
    }  # fmt: skip
    own["network - LDA"] = [a - b for a, b in zip(own["network"], own["LDA"], strict=True)]
    lines = ["| | right | 95 % over trials | subjects, least to most |", "|---|--:|--:|--:|"]
    for name, right in rows.items():
        mean, low, high = interval(right.astype(float), trial)
        spread = f"{min(own[name]):.3f} to {max(own[name]):.3f}"
        lines.append(f"| {name} | {mean:.4f} | {low:.4f} to {high:.4f} | {spread} |")
    text = "\n".join(lines) + (
        f"\n\n{machine(cpu_count())}; {len(lda):,} held-out windows of {len(subjects)} "
        f"subjects, seed {config.seed}.\n"
    )
    print(text)
    write_between(DOC, "windows", text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
