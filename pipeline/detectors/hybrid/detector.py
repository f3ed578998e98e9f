"""The hybrid as a detector: a chain per subject and an LSTM, whose logits are joined."""

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
    """A chain for every subject, and an LSTM that has learned the same task without it.

    Their logits are averaged with fixed weights: a logarithmic opinion pool (Genest & Zidek 1986,
    Statistical Science 1:114-135).

    Parameters
    ----------
    chains : SemiMarkovDetector
    network : LstmDetector
    share : float
        The weight of the LSTM's logits; that of the chain's is ``1 - share``.
    """

    chains: SemiMarkovDetector
    network: LstmDetector
    share: float

    @classmethod
    def fit(cls, data: FitData, options: HybridOptions) -> tuple[HybridDetector, list[Line]]:
        """Fit the chains, then train the LSTM.

        A fit that was killed continues with the next subject's chain, or in the LSTM's training.

        Parameters
        ----------
        data : FitData
            Whole trials of any subjects.
        options : HybridOptions
            The chains' and the LSTM's.

        Returns
        -------
        HybridDetector
        list of dict
            The LSTM's history, without its own scores on held-out series. The line that is marked
            best has ``notes``, where something is odd about the events; they are reported, too.

        Raises
        ------
        PipelineError
            For a subject without any event, and where the LSTM cannot be trained.
        """
        # Here, because to load and apply a fitted detector needs neither these nor scikit-learn.
        from pipeline.detectors.hybrid.fit import fit_chains
        from pipeline.detectors.lstm.training import train

        chains, notes = fit_chains(data, options.method)
        network, arguments, scalers, history = train(data, options.lstm)
        alone = [{k: v for k, v in line.items() if not k.startswith("valid_")} for line in history]
        tell(notes, data.report, alone)
        apart = deviations(data.fitted, data.shared)
        lstm = LstmDetector(network, arguments, scalers, options.window.stride, apart)
        return cls(chains, lstm, options.method.share), alone

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        chain = self.beside(features, subject)
        return self._joined(chain, self.network.predict(features, subject))

    def event_scores(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give the chain's, see `SemiMarkovDetector.event_scores`."""
        return self.chains.event_scores(features, subject)

    def beside(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give the chain's logits of one series, with which the LSTM's are joined."""
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
        features, chain = windows[..., :-events], windows[:, -1, -events:]
        return self._joined(chain, self.network.predict_ends(features, subject))

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: the chain's and the LSTM's."""
        return {"chain": self.chains.start(subject), "network": self.network.start(subject)}

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        said, chain = self.chains.push(features, state["chain"])
        logits, network = self.network.push(features, state["network"])
        return self._joined(said, logits), {"chain": chain, "network": network}

    def _joined(self, chain: np.ndarray, network: np.ndarray) -> np.ndarray:
        """Average logits, float32."""
        share = np.float32(self.share)
        return (np.float32(1) - share) * chain + share * network

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        torch.save(self.packed(), path)

    @classmethod
    def load(cls, path: Path) -> HybridDetector:
        """Read what `save` wrote, onto the CPU."""
        return cls.unpacked(torch.load(path, map_location="cpu", weights_only=True))

    def packed(self) -> dict[str, Any]:
        """Give what `save` writes."""
        return {
            "chains": self.chains.packed(), "network": self.network.packed(), "share": self.share,
        }  # fmt: skip

    @classmethod
    def unpacked(cls, stored: dict[str, Any]) -> HybridDetector:
        """Turn what `packed` gave back into a detector."""
        chains = SemiMarkovDetector.unpacked(stored["chains"])
        return cls(chains, LstmDetector.unpacked(stored["network"]), stored["share"])
