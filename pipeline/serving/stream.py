"""One series as it is recorded: samples in, chunk by chunk, and probabilities out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import State
from pipeline.features.filter_bank import BankState, FilterBank
from pipeline.results.rows import sigmoid


@dataclass
class StreamState:
    """What a stream remembers from one chunk to the next.

    Parameters
    ----------
    bank : BankState
        The filters' states.
    phases : list of tuple of Tensor
        The LSTM's state, for each of its interleaved phases.
    steps : int
        Feature rows so far.
    logits : ndarray, shape (E,)
        Of the last feature row.
    """

    bank: BankState
    phases: list[State]
    steps: int
    logits: np.ndarray


class Stream:
    """A filter bank and an LSTM, applied to one series chunk by chunk.

    Parameters
    ----------
    bank : FilterBank
        The one whose features the detector learned from.
    detector : LstmDetector
        Trained.
    subject : int or Name
        Whose scaler is used.
    """

    def __init__(self, bank: FilterBank, detector: LstmDetector, subject: Id) -> None:
        self.bank, self.detector, self.subject = bank, detector, subject
        self.state: StreamState | None = None

    @torch.no_grad()
    def push(self, signal: np.ndarray) -> np.ndarray:
        """Take the next samples, and give the probabilities at each of them.

        Parameters
        ----------
        signal : ndarray, shape (n, C)
            The samples that follow those of the call before.

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
