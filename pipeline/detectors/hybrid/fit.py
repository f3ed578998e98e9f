"""The chains of all subjects, and what chains say of series that they were not fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config.methods.hybrid import HybridMethod
from pipeline.data.names import Id
from pipeline.detectors.base import FitData
from pipeline.detectors.lstm.checkpoint import is_whole
from pipeline.detectors.semi_markov.chain import Chain
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.fit import Whitened
from pipeline.detectors.semi_markov.notes import demand_events, sentences
from pipeline.detectors.semi_markov.timing import find_events
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries
from pipeline.work.files import write_whole

Beliefs = dict[tuple[Id, Id], np.ndarray]
"""By subject and series: the chain's logits, float32, shape (T', E)."""


def fit_chains(
    data: FitData, options: HybridMethod
) -> tuple[SemiMarkovDetector, Beliefs, list[str]]:
    """Fit a chain for each subject, and let chains say what the LSTM reads.

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
    Beliefs
        Of each fitted series by a chain that was not fitted to its events; of each held-out series
        by the subject's chain.
    list of str
        What is odd about the events, if anything is.

    Raises
    ------
    DataError
        For a subject with one series only, or without any event.
    """
    own = {
        subject: [series for series in data.fitted if series.subject == subject]
        for subject in sorted({series.subject for series in data.fitted})
    }
    half = _half(own)
    chains: dict[Id, SemiMarkovDetector] = {}
    beliefs: Beliefs = {}
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
