"""The options of an LSTM that corrects a stack's first member: those of the LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.methods.lstm import LstmMethod


@dataclass
class LstmCorrectionMethod(LstmMethod):
    """An LSTM over a stack's members, which starts from the first member's logits."""

    ADAPTS = False

    kind: str = "lstm_correction"
