"""The LSTM: it reads the groups ``window``, ``model`` and ``train`` (`pipeline.config.lstm`)."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.methods.base import Method


@dataclass
class LstmMethod(Method):
    """An LSTM over sequences of features."""

    GROUPS = ("window", "model", "train")

    kind: str = "lstm"
