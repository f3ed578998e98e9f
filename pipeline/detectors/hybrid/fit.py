"""The parts of the hybrid, and what chains and LSTMs say of series that they were not fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config.methods.hybrid import HybridMethod, HybridOptions
from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line, Report
from pipeline.detectors.lstm.checkpoint import is_whole
from pipeline.detectors.lstm.correction import CorrectionDetector
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.semi_markov.chain import Chain
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.fit import Whitened
from pipeline.detectors.semi_markov.notes import demand_events, sentences
from pipeline.detectors.semi_markov.timing import find_events
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.work.files import write_whole

Said = dict[tuple[Id, Id], np.ndarray]
"""By subject and series: logits, float32, shape (T', E)."""

# Of a fit's progress, what the trainings of the LSTM are.
MOST = 0.8


def fit_chains(data: FitData, options: HybridMethod) -> tuple[SemiMarkovDetector, Said, list[str]]:
    """Fit a chain for each subject, and let chains say what is read by what corrects.

    What is done for a subject is kept in ``data.scratch``, so that a fit that was killed continues
    with the next one.

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
    own = _by_subject(data.fitted)
    half = _half(own)
    chains: dict[Id, SemiMarkovDetector] = {}
    beliefs: Said = {}
    told: dict[Id, Counter[str]] = {}
    for number, (subject, fitted) in enumerate(own.items(), 1):
        held_out = [series for series in data.held_out if series.subject == subject]
        found = _kept(
            data.scratch / f"{data.name}_chain_{subject}.pt",
            lambda: _of_subject(fitted, held_out, half, data.events, options),  # noqa: B023
        )
        chains[subject] = SemiMarkovDetector.unpacked(found["chain"])
        told[subject] = Counter(found["notes"])
        for series in [*fitted, *held_out]:
            beliefs[subject, series.series] = found["beliefs"][str(series.series)].numpy()
        data.report(0.0, {"show": f"chain {number} of {len(own)}"})
    merged = {subject: each.chains[subject] for subject, each in chains.items()}
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
    own = _by_subject(data.fitted)
    folds = min(options.method.folds, *map(len, own.values()))
    said: Said = {}
    share = MOST / (folds + 1)

    def trained(
        name: str, left_out: list[FeatureSeries], others: list[FeatureSeries]
    ) -> LstmDetector:
        learning = replace(
            data, name=f"{data.name}_{name}", fitted=others, held_out=[], epochs=None,
            report=_part(data, "LSTM" if name == "lstm" else f"LSTM {name}", share),
        )  # fmt: skip
        detector, _ = LstmDetector.fit(learning, options.lstm)
        for series in left_out:
            logits = detector.predict(np.asarray(series.features), series.subject)
            said[series.subject, series.series] = logits
        return detector

    for fold in range(folds):
        inside = [series for fitted in own.values() for series in fitted[fold::folds]]
        known = {(series.subject, series.series) for series in inside}
        outside = [s for s in data.fitted if (s.subject, s.series) not in known]
        trained(f"without{fold + 1}", inside, outside)
    return trained("lstm", data.held_out, data.fitted), said


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
        report=_part(data, "correction", share, whole=True),
    )  # fmt: skip
    return CorrectionDetector.fit(learning, options.correction)


def _part(data: FitData, name: str, share: float, whole: bool = False) -> Report:
    """Tell of a training that is a part of the fit; of its scores only if they are the whole's."""

    def report(done: float, news: dict[str, Any]) -> None:
        told = {k: v for k, v in news.items() if whole or k == "show"}
        if "show" in told:
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
) -> dict[str, Any]:
    """Fit one subject's chains: tensors and plain values."""
    (subject,) = {series.subject for series in fitted}
    found, beliefs = Whitened.of(fitted, options), {}

    chain, order = found.chain(options)

    def say(chain: Chain, series: list[FeatureSeries]) -> SemiMarkovDetector:
        one = SemiMarkovDetector({subject: chain}, options.tap_count, half)
        for each in series:
            logits = one.predict(np.asarray(each.features), subject)
            beliefs[str(each.series)] = torch.from_numpy(logits)
        return one

    folds = min(options.folds, len(fitted))
    for fold in range(folds):
        inside = range(fold, len(fitted), folds)
        say(found.chain(options, held_out=inside)[0], fitted[fold::folds])
    whole = say(chain, held_out)
    told = found.notes(order, fitted, events)
    return {"chain": whole.packed(), "beliefs": beliefs, "notes": dict(told)}


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read what an earlier process has made, or make it and write it."""
    if not is_whole(path):
        write_whole(path, lambda hidden: torch.save(make(), hidden))
    return torch.load(path, map_location="cpu", weights_only=True)
