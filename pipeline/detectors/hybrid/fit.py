"""The chains of all subjects, kept one by one, so that a fit that was killed continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.config.methods.hybrid import HybridMethod
from pipeline.data.names import Id
from pipeline.detectors.base import FitData
from pipeline.detectors.lstm.checkpoint import is_whole
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector, fit_subject
from pipeline.detectors.semi_markov.notes import sentences
from pipeline.work.files import write_whole


def fit_chains(data: FitData, options: HybridMethod) -> tuple[SemiMarkovDetector, list[str]]:
    """Fit a chain for each subject.

    What is done for a subject is kept in ``data.scratch``, so that a fit that was killed continues
    with the next one.

    Parameters
    ----------
    data : FitData
        Whole trials of any subjects.
    options : HybridMethod
        The chains' options.

    Returns
    -------
    SemiMarkovDetector
        Of all subjects.
    list of str
        What is odd about the events, if anything is.

    Raises
    ------
    DataError
        For a subject without any event.
    """
    subjects = sorted({series.subject for series in data.fitted})
    parts: list[SemiMarkovDetector] = []
    told: dict[Id, Counter[str]] = {}
    for number, subject in enumerate(subjects, 1):
        own = [series for series in data.fitted if series.subject == subject]

        def fit() -> dict[str, Any]:
            chain, notes = fit_subject(own, data.events, options)  # noqa: B023
            return {"chain": chain.packed(), "notes": dict(notes)}

        found = _kept(data.scratch / f"{data.name}_chain_{subject}.pt", fit)
        parts.append(SemiMarkovDetector.unpacked(found["chain"]))
        told[subject] = Counter(found["notes"])
        data.report(0.0, {"show": f"chain {number} of {len(subjects)}"})
    return SemiMarkovDetector.joined(parts), sentences(told)


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read what an earlier process has made, or make it and write it."""
    if not is_whole(path):
        write_whole(path, lambda hidden: torch.save(make(), hidden))
    return torch.load(path, map_location="cpu", weights_only=True)
