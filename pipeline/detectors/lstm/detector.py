"""The LSTM as a detector: fit, predict, start, push, save, load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.data.names import Id, identity
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.lstm.network import AnyNetwork, NetworkArguments, make_network, predict
from pipeline.detectors.lstm.scaling import Scalers, centre, standardise

if TYPE_CHECKING:
    from pipeline.config.lstm import LstmOptions


@dataclass(frozen=True)
class LstmDetector:
    """A trained network with what it needs to be applied: its arguments and its scalers.

    Parameters
    ----------
    network : Network or Committee
        With its weights.
    options : NetworkArguments
        `make_network` makes the network anew from them.
    scalers : dict of int to (Tensor, Tensor)
        By subject: the features' mean, (F,), and the matrix, (F, F), that standardises them; or
        (F, P), where it holds the subject's own projection, too.
    stride : int
        The network's step, in rows.
    """

    network: AnyNetwork
    options: NetworkArguments
    scalers: Scalers
    stride: int

    @classmethod
    def fit(cls, data: FitData, options: LstmOptions) -> tuple[LstmDetector, list[Line]]:
        """Train; see `pipeline.detectors.lstm.training.train`."""
        # Here, because a process that only predicts needs neither the loop nor the configuration.
        from pipeline.detectors.lstm.training import train

        network, arguments, scalers, history = train(data, options)
        return cls(network, arguments, scalers, options.window.stride), history

    def standardise(self, features: np.ndarray, subject: Id) -> torch.Tensor:
        """Standardise features, shape (T', F), as this subject's training series were."""
        return standardise(features, self.scalers[subject])

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series.

        The result is the same, to the last bit, for any number of threads that the process has.

        Parameters
        ----------
        features : ndarray, shape (T', F)
            Of one series, from its start.
        subject : int or Name
            One that was learned from.

        Returns
        -------
        ndarray of float32, shape (T', E)
            Logits.
        """
        return predict(self.network, self.standardise(features, subject), self.stride)

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: zero, for each of the interleaved phases."""
        parts = [part.cpu().numpy() for part in self.network.start(self.stride)]
        return {"subject": subject, "phase": 0, "parts": parts}

    @torch.inference_mode()
    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        if self.network.training:
            self.network.eval()
        device = next(self.network.parameters()).device
        mean, matrix = self.scalers[state["subject"]]
        parts = [torch.from_numpy(part.copy()).to(device) for part in state["parts"]]
        logits = np.empty((len(features), self.options["n_events"]), dtype=np.float32)
        rows, phase = centre(features, mean), state["phase"]
        for number in range(len(rows)):  # never many at once, see `Detector.push`
            ready = rows[[number, number]] @ matrix
            lane = tuple(part[:, [phase, phase]] for part in parts)
            y, lane = self.network(ready[:, None].to(device), lane)
            for part, after in zip(parts, lane, strict=True):
                part[:, phase] = after[:, 0]
            logits[number] = y[0, 0].float().cpu().numpy()
            phase = (phase + 1) % self.stride
        return logits, state | {"phase": phase, "parts": [part.cpu().numpy() for part in parts]}

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "options": self.options,
            "stride": self.stride,
            "scalers": {str(k): list(v) for k, v in self.scalers.items()},
            "weights": {k: v.cpu() for k, v in self.network.state_dict().items()},
        }
        torch.save(stored, path)

    @classmethod
    def load(cls, path: Path) -> LstmDetector:
        """Read what `save` wrote, onto the CPU."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        network = make_network(**stored["options"])
        network.load_state_dict(stored["weights"])
        network.eval()
        scalers = {identity(k): (v[0], v[1]) for k, v in stored["scalers"].items()}
        return cls(network, stored["options"], scalers, stored["stride"])
