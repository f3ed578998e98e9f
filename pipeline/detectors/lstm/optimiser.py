"""The optimiser, and the learning rate over the epochs."""

from __future__ import annotations

from math import cos, floor, pi

import torch
from torch import nn

from pipeline.config.lstm import Optimiser, Schedule, Train


def learning_rate(train: Train, epochs: float) -> float:
    """Give the learning rate after this many epochs.

    Parameters
    ----------
    train : Train
        Its ``schedule`` is one of

        constant
            Always ``learning_rate``.
        onecycle
            Rises along a cosine from a 25th of it over the first 30 % of ``train.epochs``, and
            falls along another to zero (Smith & Topin 2018, as
            `torch.optim.lr_scheduler.OneCycleLR`).
        decay
            Times ``decay``, ``decays_per_epoch`` times per epoch, from epoch ``decay_after`` on.
    epochs : float
        Done so far, whole and part.
    """
    peak = train.learning_rate
    if train.schedule is Schedule.constant:
        return peak
    if train.schedule is Schedule.decay:
        late = epochs - train.decay_after
        decays = floor(late * train.decays_per_epoch + 1e-9) + 1 if late >= 0 else 0
        return peak * train.decay**decays
    progress, rise = epochs / train.epochs, 0.3
    if progress < rise:
        return peak * (0.04 + 0.96 * 0.5 * (1 - cos(pi * progress / rise)))
    return peak * max(1e-4, 0.5 * (1 + cos(pi * (progress - rise) / (1 - rise))))


def make_optimiser(learner: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Make the optimiser that ``train.optimiser`` names.

    Its parameter groups each hold a ``factor`` on the learning rate: ``train.projection_rate`` for
    the linear layers before the LSTM, 1 for the rest.
    """
    named = list(learner.named_parameters())
    groups = [
        {"params": [p for name, p in named if "projection" not in name], "factor": 1.0},
        {
            "params": [p for name, p in named if "projection" in name],
            "factor": train.projection_rate,
        },
    ]
    rate, decay = train.learning_rate, train.weight_decay
    if train.optimiser is Optimiser.rmsprop:
        return torch.optim.RMSprop(groups, lr=rate, alpha=train.smoothing, weight_decay=decay)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups, each times its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
