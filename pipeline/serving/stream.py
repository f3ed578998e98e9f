"""The same detector, fed in chunks as the samples come, with every step's state carried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.detectors.lstm.network import Detector, State, sigmoid
from pipeline.features.filter_bank import BankState, FilterBank


@dataclass
class StreamState:
    """What a stream remembers: the filters', each phase's (h, c), and the last logits."""

    bank: BankState
    phases: list[State]
    steps: int
    logits: np.ndarray


class Stream:
    """Applies a filter bank and a detector to one series, chunk by chunk.

    Parameters
    ----------
    bank : FilterBank
        The one whose features the detector learned from.
    detector : Detector
        Trained.
    subject : int
        Whose scaler is used.
    """

    def __init__(self, bank: FilterBank, detector: Detector, subject: int) -> None:
        self.bank, self.detector, self.subject = bank, detector, subject
        self.state: StreamState | None = None

    @torch.no_grad()
    def push(self, signal: np.ndarray) -> np.ndarray:
        """Take the next samples, and give the probabilities at each of them.

        Parameters
        ----------
        signal : ndarray, shape (n, C)
            Samples that follow those of the call before.

        Returns
        -------
        ndarray of float64, shape (n, E)
            Row t depends on samples up to t only, however the series is cut.
        """
        network, stride = self.detector.network, self.detector.stride
        events = self.detector.options["n_events"]
        if not len(signal):
            return np.empty((0, events))
        network.eval()
        if self.state is None:
            fresh = [network.start(1) for _ in range(stride)]
            self.state = StreamState(self.bank.start(signal[0]), fresh, 0, np.zeros(events))
        state = self.state
        begun = state.bank.rows
        features, state.bank = self.bank.transform(signal, state.bank)
        x = self.detector.standardise(features, self.subject)
        logits = np.empty((len(x), events))
        for phase in range(min(stride, len(x))):
            which = (state.steps + phase) % stride
            y, state.phases[which] = network(x[None, phase::stride], state.phases[which])
            logits[phase::stride] = y[0].numpy()
        state.steps += len(x)
        # Row t holds the logits of the last feature row at or before it.
        held = np.concatenate([state.logits[None], logits])
        every = self.bank.every
        row = np.arange(begun, begun + len(signal)) // every - (begun - 1) // every
        state.logits = held[-1]
        return sigmoid(held[row])
