"""Dropout that is cheap on a CPU."""

from __future__ import annotations

import torch
from torch import nn


class Dropout(nn.Module):
    """`torch.nn.Dropout`, more than twice as fast on a CPU.

    One comparison in place draws the mask. PyTorch's own layer took nearly half of a training step
    on a wide filter bank (``docs/design.md``).

    Parameters
    ----------
    p : float
        Share of the values that are set to zero in training.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop values and scale the others to keep the mean; in prediction, return ``x``."""
        if not self.training or not self.p:
            return x
        return x * torch.rand_like(x).lt_(1 - self.p).mul_(1 / (1 - self.p))
