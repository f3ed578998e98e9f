"""The LSTM: it reads the groups ``window``, ``model`` and ``train`` (`pipeline.config.lstm`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.config.lstm import LstmOptions
from pipeline.config.methods.base import Method


@dataclass
class LstmMethod(Method):
    """An LSTM over sequences of features."""

    GROUPS = ("window", "model", "train")
    ADAPTS = True

    kind: str = "lstm"

    def joined(self, **groups: Any) -> LstmOptions:
        """Give what the LSTM reads: the groups alone."""
        return LstmOptions(**groups)
