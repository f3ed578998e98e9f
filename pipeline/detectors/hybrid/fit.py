"""The parts of the hybrid, and what chains and LSTMs say of series that they were not fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from pipeline.config.methods.hybrid import CHAIN, LSTM, WITHOUT, HybridMethod, HybridOptions
from pipeline.data.names import Id, in_file_name, series_name
from pipeline.detectors.base import FitData, Line, Report
from pipeline.detectors.lstm.checkpoint import is_whole
from pipeline.detectors.lstm.correction import CorrectionDetector
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.semi_markov.chain import Chain
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.fit import Whitened
from pipeline.detectors.semi_markov.notes import demand_events, sentences
from pipeline.detectors.semi_markov.timing import find_events
from pipeline.detectors.stored import write_tensors
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.work.files import write_whole

Said = dict[tuple[Id, Id], np.ndarray]
"""By subject and series: logits, float32, shape (T', E)."""

Make = Callable[[Report], dict[str, Any]]
"""Makes a part of a fit, tensors and plain values, and tells its progress."""

# Of a fit's progress, what the trainings of the LSTM are.
MOST = 0.8


def fit_part(name: str, data: FitData, options: HybridOptions) -> None:
    """Make a part of the fit, and keep it where `fit_chains` and `fit_network` look for it.

    Parameters
    ----------
    name : str
        See `HybridMethod.parts`.
    data : FitData
        Of the whole fit.
    options : HybridOptions
        All.

    Raises
    ------
    PipelineError
        See `fit_chains` and `fit_network`.
    """
    found = _chain_parts(data, options.method) | _lstm_parts(data, options)
    _kept(data, name, found[name], _reporter(data, ""))


def fit_chains(data: FitData, options: HybridMethod) -> tuple[SemiMarkovDetector, Said, list[str]]:
    """Fit a chain for each subject, and let chains say what is read by what corrects.

    What is done for a subject is kept, so that a fit that was killed continues with the next one.

    Parameters
    ----------
    data : FitData
        Two series or more of each subject.
    options : HybridMethod
        The chains' options, and how many folds there are.

    Returns
    -------
    SemiMarkovDetector
        Of chains that were fitted to all events.
    Said
        Of each fitted series by a chain that was not fitted to its events; of each held-out series
        by the subject's chain.
    list of str
        What is odd about the events, if anything is.

    Raises
    ------
    DataError
        For a subject with one series only, or without any event.
    """
    own, parts = _by_subject(data.fitted), _chain_parts(data, options)
    chains: dict[Id, SemiMarkovDetector] = {}
    beliefs: Said = {}
    told: dict[Id, Counter[str]] = {}
    for number, (subject, (name, make)) in enumerate(zip(own, parts.items(), strict=True), 1):
        found = _kept(data, name, make, data.report)
        chains[subject] = SemiMarkovDetector.unpacked(found["chain"])
        told[subject] = Counter(found["notes"])
        beliefs |= _said_of(data, found["said"])
        data.report(0.0, {"show": f"chain {number} of {len(own)}"})
    merged = {subject: each.chains[subject] for subject, each in chains.items()}
    (half,) = {each.half for each in chains.values()}
    return SemiMarkovDetector(merged, options.tap_count, half), beliefs, sentences(told)


def fit_network(data: FitData, options: HybridOptions) -> tuple[LstmDetector, Said]:
    """Train the LSTM, and LSTMs without each fold, which say what is read by what corrects.

    Parameters
    ----------
    data : FitData
        Two series or more of each subject.
    options : HybridOptions
        Its LSTM's, and how many folds there are.

    Returns
    -------
    LstmDetector
        Trained on all fitted series.
    Said
        Of each fitted series by an LSTM that was not trained on it; of each held-out series by the
        one that was trained on all.

    Raises
    ------
    PipelineError
        Where an LSTM cannot be trained.
    """
    parts, said = _lstm_parts(data, options), Said()
    networks = {}
    for name, make in parts.items():
        found = _kept(data, name, make, _reporter(data, name, MOST / len(parts)))
        said |= _said_of(data, found["said"])
        networks[name] = found["network"]
    return LstmDetector.unpacked(networks[LSTM]), said


def fit_correction(
    data: FitData, options: HybridOptions, beliefs: Said, said: Said
) -> tuple[CorrectionDetector, list[Line]]:
    """Train what reads the logits of chain and LSTM, and adds to the chain's.

    Parameters
    ----------
    data : FitData
        The same series.
    options : HybridOptions
        See `HybridOptions.correction`.
    beliefs, said : Said
        What `fit_chains` and `fit_network` gave.
    """

    def logits_of(series: FeatureSeries) -> FeatureSeries:
        key = series.subject, series.series
        together = np.concatenate([beliefs[key], said[key]], axis=1)
        return replace(series, features=together, moments=Moments.of(together))

    share = (1 - MOST) * options.train.epochs / options.correction.train.epochs
    learning = replace(
        data, fitted=[logits_of(series) for series in data.fitted],
        held_out=[logits_of(series) for series in data.held_out], shared=[],
        report=_reporter(data, "correction", share, whole=True),
    )  # fmt: skip
    return CorrectionDetector.fit(learning, options.correction)


def _chain_parts(data: FitData, options: HybridMethod) -> dict[str, Make]:
    """Name each subject's chains, and say how they are fitted."""
    own = _by_subject(data.fitted)
    half = _half(own)
    return {
        f"{CHAIN}{in_file_name(subject)}": partial(
            _of_subject, fitted, [s for s in data.held_out if s.subject == subject], half,
            data.events, options, data.channels,
        )
        for subject, fitted in own.items()
    }  # fmt: skip


def _lstm_parts(data: FitData, options: HybridOptions) -> dict[str, Make]:
    """Name the LSTMs, and say how they are trained."""
    own = _by_subject(data.fitted)
    parts: dict[str, Make] = {}
    folds = min(options.method.folds, *map(len, own.values()))
    for fold in range(folds):
        inside = [series for fitted in own.values() for series in fitted[fold::folds]]
        known = {(series.subject, series.series) for series in inside}
        outside = [s for s in data.fitted if (s.subject, s.series) not in known]
        name = f"{WITHOUT}{fold + 1}"
        parts[name] = partial(_trained, data, options, name, inside, outside)
    parts[LSTM] = partial(_trained, data, options, LSTM, data.held_out, data.fitted)
    return parts


def _trained(
    data: FitData,
    options: HybridOptions,
    name: str,
    left_out: list[FeatureSeries],
    others: list[FeatureSeries],
    report: Report,
) -> dict[str, Any]:
    """Train an LSTM on some series, and let it say what it reads in others."""
    learning = replace(
        data, name=f"{data.name}_{name}", fitted=others, held_out=[], epochs=None, report=report,
    )  # fmt: skip
    detector, _ = LstmDetector.fit(learning, options.lstm)
    said = {
        series_name(series.subject, series.series): torch.from_numpy(
            detector.predict(np.asarray(series.features), series.subject)
        )
        for series in left_out
    }
    return {"network": detector.packed(), "said": said}


def _reporter(data: FitData, name: str, share: float = 1.0, whole: bool = False) -> Report:
    """Tell of a training that is a part of the fit; of its scores only if they are the whole's."""

    def report(done: float, news: dict[str, Any]) -> None:
        told = {k: v for k, v in news.items() if whole or k == "show"}
        if name and "show" in told:
            told["show"] = f"{name}: {told['show']}"
        data.report(done * share, told)

    return report


def _by_subject(fitted: list[FeatureSeries]) -> dict[Id, list[FeatureSeries]]:
    """Sort series by whose they are."""
    subjects = sorted({series.subject for series in fitted})
    return {own: [series for series in fitted if series.subject == own] for own in subjects}


def _half(own: dict[Id, list[FeatureSeries]]) -> int:
    """Say how many rows a label reaches before and after its event, and refuse what has none."""
    widths = []
    for subject, fitted in own.items():
        if len(fitted) < 2:
            raise DataError(
                f"subject {subject}: method.kind=hybrid needs two fitted series or more; name more "
                "in dataset.train_series"
            )
        seen = [rows for s in fitted for _, rows in find_events(np.asarray(s.labels))[1]]
        demand_events(subject, seen)
        widths += seen
    return int(np.median(widths)) // 2


def _of_subject(
    fitted: list[FeatureSeries],
    held_out: list[FeatureSeries],
    half: int,
    events: tuple[str, ...],
    options: HybridMethod,
    channels: int,
    report: Report,
) -> dict[str, Any]:
    """Fit one subject's chains."""
    (subject,) = {series.subject for series in fitted}
    found, said = Whitened.of(fitted, options, channels), {}

    chain, order = found.chain(options)

    def say(chain: Chain, series: list[FeatureSeries]) -> SemiMarkovDetector:
        one = SemiMarkovDetector({subject: chain}, options.tap_count, half)
        for each in series:
            logits = one.predict(np.asarray(each.features), subject)
            said[series_name(subject, each.series)] = torch.from_numpy(logits)
        return one

    folds = min(options.folds, len(fitted))
    for fold in range(folds):
        inside = range(fold, len(fitted), folds)
        say(found.chain(options, held_out=inside)[0], fitted[fold::folds])
    whole = say(chain, held_out)
    told = found.notes(order, fitted, events)
    return {"chain": whole.packed(), "said": said, "notes": dict(told)}


def _kept(data: FitData, name: str, make: Make, report: Report) -> dict[str, Any]:
    """Read what an earlier process has made, or make it and write it."""
    path = data.part_file(name)
    if not is_whole(path):
        write_whole(path, lambda hidden: write_tensors(hidden, make(report)))
    return torch.load(path, map_location="cpu", weights_only=True)


def _said_of(data: FitData, found: Mapping[str, torch.Tensor]) -> Said:
    """Give the logits of those series of which something is said."""
    named = {
        series_name(series.subject, series.series): (series.subject, series.series)
        for series in (*data.fitted, *data.held_out)
    }
    return {named[name]: logits.numpy() for name, logits in found.items()}
