"""The hybrid as a detector: a chain and an LSTM, and another LSTM that reads both and corrects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.lstm.correction import CorrectionDetector
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.notes import tell
from pipeline.detectors.stored import write_tensors

if TYPE_CHECKING:
    from pipeline.config.methods.hybrid import HybridOptions


@dataclass(frozen=True)
class HybridDetector:
    """A chain for every subject, an LSTM, and another LSTM that reads what both say.

    Parameters
    ----------
    chains : SemiMarkovDetector
    network : LstmDetector
    correction : CorrectionDetector
        It reads the chain's logits and the LSTM's, and what it gives is added to the chain's. Its
        step is the LSTM's.
    """

    chains: SemiMarkovDetector
    network: LstmDetector
    correction: CorrectionDetector

    @classmethod
    def fit(cls, data: FitData, options: HybridOptions) -> tuple[HybridDetector, list[Line]]:
        """Fit the chains, train the LSTM, and train what corrects on what is said out of fold.

        A fit that was killed continues with the next subject's chain, or in the training that it
        was killed in.

        Parameters
        ----------
        data : FitData
            Whole trials of any subjects, two series or more of each.
        options : HybridOptions
            The chains' and the LSTM's.

        Returns
        -------
        HybridDetector
        list of dict
            The history of what corrects. The line that is marked best has ``notes``, where
            something is odd about the events; they are reported, too.

        Raises
        ------
        PipelineError
            For a subject without any event or with one series, and where a network cannot be
            trained.
        """
        # Here, because to load and apply a fitted detector needs neither these nor scikit-learn.
        from pipeline.detectors.hybrid.fit import fit_chains, fit_correction, fit_network

        chains, beliefs, notes = fit_chains(data, options.method)
        network, said = fit_network(data, options)
        correction, history = fit_correction(data, options, beliefs, said)
        tell(notes, data.report, history)
        return cls(chains, network, correction), history

    @staticmethod
    def fit_part(name: str, data: FitData, options: HybridOptions) -> None:
        """Make a part of the fit, see `pipeline.detectors.hybrid.fit.fit_part`."""
        from pipeline.detectors.hybrid.fit import fit_part  # likewise

        fit_part(name, data, options)

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        said = [self.beside(features, subject), self.network.predict(features, subject)]
        return self.correction.predict(np.concatenate(said, axis=1), subject)

    def event_scores(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give the chain's, see `SemiMarkovDetector.event_scores`."""
        return self.chains.event_scores(features, subject)

    def beside(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give the chain's logits of one series."""
        return self.chains.predict(features, subject)

    def predict_ends(self, windows: np.ndarray, subject: Id) -> np.ndarray:
        """Predict the last row of each of K windows.

        Parameters
        ----------
        windows : ndarray, shape (K, L, F + E)
            Features, and `beside` them the chain's logits of the whole series: a chain needs more
            than a window to know where in a trial it is.
        subject : int or Name
            Whose.

        Returns
        -------
        ndarray of float32, shape (K, E)
            Logits.
        """
        events = self.network.options["n_events"]
        steps = self.network.predict_steps(windows[..., :-events], subject)
        stride = self.network.stride
        chain = windows[:, (windows.shape[1] - 1) % stride :: stride, -events:]
        step_by_step = replace(self.correction, stride=1)
        return step_by_step.predict_ends(np.concatenate([chain, steps], axis=2), subject)

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row, of all three."""
        return {
            "chain": self.chains.start(subject), "network": self.network.start(subject),
            "correction": self.correction.start(subject),
        }  # fmt: skip

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        believed, chain = self.chains.push(features, state["chain"])
        said, network = self.network.push(features, state["network"])
        together = np.concatenate([believed, said], axis=1)
        logits, correction = self.correction.push(together, state["correction"])
        return logits, {"chain": chain, "network": network, "correction": correction}

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        write_tensors(path, self.packed())

    @classmethod
    def load(cls, path: Path) -> HybridDetector:
        """Read what `save` wrote, onto the CPU."""
        return cls.unpacked(torch.load(path, map_location="cpu", weights_only=True))

    def packed(self) -> dict[str, Any]:
        """Give what `save` writes."""
        return {
            "chains": self.chains.packed(), "network": self.network.packed(),
            "correction": self.correction.packed(),
        }  # fmt: skip

    @classmethod
    def unpacked(cls, stored: dict[str, Any]) -> HybridDetector:
        """Turn what `packed` gave back into a detector."""
        return cls(
            SemiMarkovDetector.unpacked(stored["chains"]),
            LstmDetector.unpacked(stored["network"]),
            CorrectionDetector.unpacked(stored["correction"]),
        )
