"""One line per method: which class learns with it, and what that class can do.

The options of each stand in `pipeline.config.methods`. A class is imported when it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from pipeline.detectors.base import Detector


@dataclass(frozen=True)
class Entry:
    """A method.

    Parameters
    ----------
    module, name : str
        The detector's class.
    gpu : bool
        Whether it uses a GPU where there is one.
    resumable : bool
        Whether a fit that was killed continues from its checkpoint.
    random : bool
        Whether the recipe's seed changes what is learned.
    adaptation : str, optional
        The module that fits it to a new person, see `pipeline.detectors.adaptation.adapt`.
    """

    module: str
    name: str
    gpu: bool = False
    resumable: bool = False
    random: bool = False
    adaptation: str | None = None

    def load(self) -> type[Detector]:
        """Import the detector's class."""
        return getattr(import_module(self.module), self.name)


# By ``method.kind``.
METHODS = {
    "lstm": Entry(
        "pipeline.detectors.lstm.detector",
        "LstmDetector",
        gpu=True,
        resumable=True,
        random=True,
        adaptation="pipeline.detectors.adaptation.lstm",
    ),
    "lda": Entry(
        "pipeline.detectors.linear",
        "LinearDetector",
        adaptation="pipeline.detectors.adaptation.linear",
    ),
    "lstm_correction": Entry(
        "pipeline.detectors.lstm.correction",
        "CorrectionDetector",
        gpu=True,
        resumable=True,
        random=True,
    ),
    "lr": Entry("pipeline.detectors.linear", "LinearDetector"),
    "gru": Entry("pipeline.detectors.tap_networks", "TapNetworkDetector", gpu=True, random=True),
    "cnn": Entry("pipeline.detectors.tap_networks", "TapNetworkDetector", gpu=True, random=True),
    "semi_markov": Entry(
        "pipeline.detectors.semi_markov.detector",
        "SemiMarkovDetector",
        adaptation="pipeline.detectors.adaptation.semi_markov",
    ),
    "hybrid": Entry(
        "pipeline.detectors.hybrid.detector",
        "HybridDetector",
        gpu=True,
        resumable=True,
        random=True,
        adaptation="pipeline.detectors.adaptation.hybrid",
    ),
}
