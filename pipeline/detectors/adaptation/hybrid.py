"""The hybrid for a new person: his chain, and his layer before the LSTM, each adapted alone.

What reads the logits of both is the others'. It standardises the LSTM's as theirs are on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from pipeline.data.names import Id
from pipeline.detectors.adaptation import lstm, semi_markov
from pipeline.detectors.base import FitData, Line
from pipeline.detectors.hybrid.detector import HybridDetector
from pipeline.detectors.scaling import Scaler

if TYPE_CHECKING:
    from pipeline.config.methods.hybrid import HybridOptions


def scalers(known: Sequence[HybridDetector]) -> list[Scaler]:
    """Give the scaler of each person whom the detectors were fitted on."""
    return semi_markov.scalers([each.chains for each in known])


def adapted(
    known: Sequence[HybridDetector], data: FitData, subject: Id, options: HybridOptions
) -> tuple[HybridDetector, list[Line]]:
    """Fit a new person's chain and layer; see `pipeline.detectors.adaptation.adapt.adapt`."""
    others = [each.chains for each in known]
    quiet = replace(data, report=lambda *_: None)  # the LSTM's training tells how far it is
    chain, _ = semi_markov.adapted(others, quiet, subject, options.method)
    networks = [each.network for each in known]
    network, history = lstm.adapted(networks, data, subject, options.lstm)
    correction = known[0].correction
    mean, matrix = zip(*correction.scalers.values(), strict=True)
    usual = {subject: (torch.stack(mean).mean(dim=0), torch.stack(matrix).mean(dim=0))}
    return HybridDetector(chain, network, replace(correction, scalers=usual)), history
