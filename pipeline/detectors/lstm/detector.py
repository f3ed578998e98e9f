"""The LSTM as a detector: fit, predict, start, push, save, load."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from pipeline.data.names import Id, identity
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.lstm.network import AnyNetwork, NetworkArguments, make_network, predict
from pipeline.detectors.lstm.scaling import Scalers, deviations, standardise
from pipeline.detectors.stored import write_tensors
from pipeline.features.offset import in_single
from pipeline.work.machine import threads

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
    deviations : dict of int to Tensor
        By subject: the features' standard deviation, (F,). With these the network can be adapted
        to a new person (`pipeline.detectors.adaptation.lstm`); older files lack them.
    """

    network: AnyNetwork
    options: NetworkArguments
    scalers: Scalers
    stride: int
    deviations: dict[Id, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def fit(cls, data: FitData, options: LstmOptions) -> tuple[LstmDetector, list[Line]]:
        """Train; see `pipeline.detectors.lstm.training.train`."""
        # Here, because a process that only predicts needs neither the loop nor the configuration.
        from pipeline.detectors.lstm.training import train

        network, arguments, scalers, history = train(data, options)
        apart = deviations(data.fitted, data.shared)
        return cls(network, arguments, scalers, options.window.stride, apart), history

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

    def predict_ends(self, windows: np.ndarray, subject: Id) -> np.ndarray:
        """Predict the last row of each of K windows, shape (K, L, F), as if it began there.

        Returns
        -------
        ndarray of float32, shape (K, E)
            Logits.
        """
        return self.predict_steps(windows, subject)[:, -1]

    @torch.no_grad()
    def predict_steps(self, windows: np.ndarray, subject: Id) -> np.ndarray:
        """Predict the last row of each of K windows, and every ``stride``-th row before it.

        Parameters
        ----------
        windows : ndarray, shape (K, L, F)
            Each is predicted as if it began there.
        subject : int or Name
            Whose.

        Returns
        -------
        ndarray of float32, shape (K, L / stride, E)
            Logits.
        """
        self.network.eval()
        read = windows[:, (windows.shape[1] - 1) % self.stride :: self.stride]
        ready = self.standardise(read.reshape(-1, read.shape[2]), subject)
        lanes = ready.view(len(read), read.shape[1], -1).to(self.network.device)
        with threads(1):  # as in `predict`
            logits, _ = self.network(lanes, self.network.start(len(lanes)))
        return logits.float().cpu().numpy()

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: zero, for each of the interleaved phases."""
        parts = [part.cpu().numpy() for part in self.network.start(self.stride)]
        return {"subject": subject, "phase": 0, "parts": parts}

    @torch.inference_mode()
    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        if self.network.training:
            self.network.eval()
        device = self.network.device
        mean, matrix = self.scalers[state["subject"]]
        logits = np.empty((len(features), self.options["n_events"]), dtype=np.float32)
        rows, phase = in_single(features, mean.numpy()), state["phase"]
        before = state["parts"]
        lanes: dict[int, list[np.ndarray]] = {}  # after the rows so far, by phase
        for number in range(len(rows)):  # never many at once, see `Detector.push`
            ready = _twice(rows[number : number + 1]) @ matrix
            known, at = (lanes[phase], 0) if phase in lanes else (before, phase)
            lane = tuple(_twice(part[:, at : at + 1]).to(device) for part in known)
            y, after = self.network(ready[:, None].to(device), lane)
            logits[number] = y.float().cpu().numpy()[0, 0]
            lanes[phase] = [part.cpu().numpy() for part in after]
            phase = (phase + 1) % self.stride
        parts = [part.copy() for part in before]
        for own, ends in lanes.items():
            for part, last in zip(parts, ends, strict=True):
                part[:, own] = last[:, 0]
        return logits, state | {"phase": phase, "parts": parts}

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        write_tensors(path, self.packed())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote, onto the CPU."""
        return cls.unpacked(torch.load(path, map_location="cpu", weights_only=True))

    def packed(self) -> dict[str, Any]:
        """Give what `save` writes."""
        return {
            "options": self.options,
            "stride": self.stride,
            "scalers": {str(k): list(v) for k, v in self.scalers.items()},
            "weights": {k: v.cpu() for k, v in self.network.state_dict().items()},
            "deviations": {str(k): v for k, v in self.deviations.items()},
        }

    @classmethod
    def unpacked(cls, stored: dict[str, Any]) -> Self:
        """Turn what `packed` gave back into a detector."""
        network = make_network(**stored["options"])
        network.load_state_dict(stored["weights"])
        network.eval()
        scalers = {identity(k): (v[0], v[1]) for k, v in stored["scalers"].items()}
        apart = {identity(k): v for k, v in stored.get("deviations", {}).items()}
        return cls(network, stored["options"], scalers, stored["stride"], apart)


def _twice(rows: np.ndarray) -> torch.Tensor:
    """Give a row, shape (..., 1, width), twice: one row alone is multiplied in another way.

    The memory is PyTorch's own, which always begins at a multiple of 64 bytes: the last bits of a
    product may depend on that, and NumPy's does not.
    """
    both = torch.empty(*rows.shape[:-2], 2, rows.shape[-1])
    both.numpy()[...] = rows
    return both
