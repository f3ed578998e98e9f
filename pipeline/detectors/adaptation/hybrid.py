"""The hybrid for a new person: his chain, and his layer before the LSTM that corrects chains.

What the layer is trained on is what a chain says of rows to whose events it was not fitted, as for
everybody else: the chain of his other series. If there is only one, it is cut into two halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.names import Id, Name
from pipeline.detectors.adaptation import lstm, semi_markov
from pipeline.detectors.base import FitData, Line
from pipeline.detectors.hybrid.detector import HybridDetector
from pipeline.detectors.scaling import Scaler
from pipeline.detectors.semi_markov.chain import Chain
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.features.feature_series import FeatureSeries, Moments

if TYPE_CHECKING:
    from pipeline.config.methods.hybrid import HybridOptions


def scalers(known: Sequence[HybridDetector]) -> list[Scaler]:
    """Give the scaler of each person whom the detectors were fitted on."""
    return semi_markov.scalers([each.chains for each in known])


def adapted(
    known: Sequence[HybridDetector], data: FitData, subject: Id, options: HybridOptions
) -> tuple[HybridDetector, list[Line]]:
    """Fit a new person's chain and layer; see `pipeline.detectors.adaptation.adapt.adapt`."""
    others = semi_markov.Others.of([each.chains for each in known], options.method)
    networks = [each.network for each in known]

    def detector_of(chain: Chain) -> SemiMarkovDetector:
        return SemiMarkovDetector({subject: chain}, options.method.tap_count, others.half)

    if not data.fitted:
        network, history = lstm.adapted(networks, data, subject, options.lstm)
        return HybridDetector(detector_of(others.chain), network), history
    semi_markov.refuse_no_events(subject, data.fitted)
    whole = detector_of(semi_markov.fit_own(others, data.fitted, options.method))
    parts = data.fitted if len(data.fitted) > 1 else halves(data.fitted[0])
    beside = {}
    folds = min(options.method.folds, len(parts))
    for fold in range(folds):
        rest = [part for number, part in enumerate(parts) if number % folds != fold]
        chain = detector_of(semi_markov.fit_own(others, rest, options.method))
        for part in parts[fold::folds]:
            said = chain.predict(np.asarray(part.features), subject)
            beside[subject, part.series] = said
    for series in data.held_out:
        beside[subject, series.series] = whole.predict(np.asarray(series.features), subject)
    learning = replace(data, fitted=list(parts))
    network, history = lstm.adapted(networks, learning, subject, options.lstm, beside)
    return HybridDetector(whole, network), history


def halves(series: FeatureSeries) -> list[FeatureSeries]:
    """Cut a series into its first rows and its last, as if they were two."""
    middle = len(series.features) // 2
    return [
        replace(
            series, series=Name(f"{series.series} {half}"),
            features=np.asarray(series.features)[part], labels=np.asarray(series.labels)[part],
            moments=Moments.of(np.asarray(series.features)[part]),
        )
        for half, part in (("a", slice(middle)), ("b", slice(middle, None)))
    ]  # fmt: skip
