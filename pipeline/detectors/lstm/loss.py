"""What training minimises."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def masked_bce(logits: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """Give the mean binary cross-entropy over the scored rows and all events.

    Parameters
    ----------
    logits : Tensor, shape (B, L, E) or (networks, B, L, E)
        The losses of several networks are added up, so that each learns as if it were alone.
    labels : Tensor, shape (B, L, E)
    scored : Tensor of bool, shape (B, L)
        At least one row is.

    Returns
    -------
    Tensor, a single number
    """
    # Weights, because picking out the scored rows costs more, above all in the backward pass.
    weight = scored.to(logits.dtype)[..., None] / (scored.sum() * logits.shape[-1])
    return F.binary_cross_entropy_with_logits(
        logits, labels.expand_as(logits), weight=weight, reduction="sum"
    )
