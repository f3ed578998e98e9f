"""The hybrid as a detector: a chain's logits beside the features, and an LSTM that reads both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.scaling import deviations
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.notes import tell

if TYPE_CHECKING:
    from pipeline.config.methods.hybrid import HybridOptions


@dataclass(frozen=True)
class HybridDetector:
    """A chain for every subject, and an LSTM that corrects what they say.

    Parameters
    ----------
    chains : SemiMarkovDetector
        Its logits of a row are the LSTM's last columns.
    network : LstmDetector
        The LSTM.
    """

    chains: SemiMarkovDetector
    network: LstmDetector

    @classmethod
    def fit(cls, data: FitData, options: HybridOptions) -> tuple[HybridDetector, list[Line]]:
        """Fit the chains, then train the LSTM on what other chains say of the fitted series.

        A fit that was killed continues with the next subject's chain, or in the LSTM's training.

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
            The LSTM's history. The line that is marked best has ``notes``, where something is odd
            about the events; they are reported, too.

        Raises
        ------
        PipelineError
            For a subject without any event or with one series, and where the LSTM cannot be
            trained.
        """
        # Here, because to load and apply a fitted detector needs neither these nor scikit-learn.
        from pipeline.detectors.hybrid.fit import fit_chains
        from pipeline.detectors.lstm.training import train

        chains, beliefs, notes = fit_chains(data, options.method)
        network, arguments, scalers, history = train(data, options.lstm, beliefs)
        tell(notes, data.report, history)
        apart = deviations(data.fitted, data.shared)
        stride = options.window.stride
        return cls(chains, LstmDetector(network, arguments, scalers, stride, apart)), history

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        said = self.beside(features, subject)
        return self.network.predict(np.concatenate([features, said], axis=1), subject)

    def event_scores(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give the chain's, see `SemiMarkovDetector.event_scores`."""
        return self.chains.event_scores(features, subject)

    def beside(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give what the LSTM reads beside the features of one series: the chain's logits."""
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
        return self.network.predict_ends(windows, subject)

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: the chain's and the LSTM's."""
        return {"chain": self.chains.start(subject), "network": self.network.start(subject)}

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        said, chain = self.chains.push(features, state["chain"])
        together = np.concatenate([features, said], axis=1)
        logits, network = self.network.push(together, state["network"])
        return logits, {"chain": chain, "network": network}

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        torch.save(self.packed(), path)

    @classmethod
    def load(cls, path: Path) -> HybridDetector:
        """Read what `save` wrote, onto the CPU."""
        return cls.unpacked(torch.load(path, map_location="cpu", weights_only=True))

    def packed(self) -> dict[str, Any]:
        """Give what `save` writes."""
        return {"chains": self.chains.packed(), "network": self.network.packed()}

    @classmethod
    def unpacked(cls, stored: dict[str, Any]) -> HybridDetector:
        """Turn what `packed` gave back into a detector."""
        return cls(
            SemiMarkovDetector.unpacked(stored["chains"]), LstmDetector.unpacked(stored["network"])
        )
