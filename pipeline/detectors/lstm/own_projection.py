"""One LSTM for all subjects behind a linear layer of each subject's own, while they learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from pipeline.data.names import Id
from pipeline.detectors.dropout import Dropout
from pipeline.detectors.lstm.network import AnyNetwork, State, predict
from pipeline.detectors.lstm.scaling import Scalers
from pipeline.work.machine import threads


class OwnProjection(nn.Module):
    """The linear layer before the LSTM, one for each subject, while one LSTM for all learns.

    Every head conducts in its own way, but what hands do next is much the same for all subjects.
    So the features of each subject pass through a layer of its own into one LSTM that learns from
    all subjects' trials. The layer is linear, so it ends as part of a scaler's matrix: see
    `folded`. The network that predicts knows nothing of it.

    Parameters
    ----------
    subjects : iterable of int or Name
        Each gets a layer.
    n_features, width : int
        F and P.
    dropout : float
        Of the features.
    """

    def __init__(self, subjects: Iterable[Id], n_features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.rows = {subject: row for row, subject in enumerate(sorted(subjects))}
        weight = torch.empty(len(self.rows), n_features, width)
        self.weight = nn.Parameter(weight.uniform_(-1, 1) / n_features**0.5)  # nn.Linear's start
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, subjects: np.ndarray) -> torch.Tensor:
        """Project a batch of sequences, (B, L, F), of as many subjects, (B,).

        What stands beside the features, from column F on, is handed on as it is.
        """
        rows = torch.tensor([self.rows[s] for s in subjects], device=x.device)
        width = self.weight.shape[1]
        if x.shape[2] == width:
            return torch.bmm(self.dropout(x), self.weight[rows])
        features, others = x[..., :width], x[..., width:]
        return torch.cat([torch.bmm(self.dropout(features), self.weight[rows]), others], dim=2)

    @torch.no_grad()
    def project(self, features: torch.Tensor, subject: Id) -> torch.Tensor:
        """Project one series of a subject, (T', F), on the CPU; see `forward`."""
        width = self.weight.shape[1]
        with threads(1):  # the same bytes for any number of threads
            projected = features[:, :width] @ self.weight[self.rows[subject]].cpu()
        return torch.cat([projected, features[:, width:]], dim=1)

    @torch.no_grad()
    def folded(self, scalers: Scalers) -> Scalers:
        """Give scalers that standardise and project at once: means, (F,), matrices, (F, P)."""
        weight = self.weight.cpu()
        return {s: (mean, matrix @ weight[self.rows[s]]) for s, (mean, matrix) in scalers.items()}


class Learner(nn.Module):
    """All that learns: the network, and the subjects' own projections where there are some.

    Parameters
    ----------
    network : Network or Committee
        Reads what the projections give, or the features themselves.
    own_projection : OwnProjection, optional
        One layer per subject.
    """

    network: AnyNetwork
    own_projection: OwnProjection | None

    def __init__(self, network: AnyNetwork, own_projection: OwnProjection | None) -> None:
        super().__init__()
        self.network = network
        self.own_projection = own_projection

    def forward(
        self, x: torch.Tensor, subjects: np.ndarray, state: State
    ) -> tuple[torch.Tensor, State]:
        """Run over a batch of sequences, (B, L, F), of as many subjects, (B,)."""
        if self.own_projection is not None:
            x = self.own_projection(x, subjects)
        return self.network(x, state)

    def predict(self, features: torch.Tensor, subject: Id, stride: int) -> np.ndarray:
        """Predict one series of a subject, (T', F): logits, (T', E)."""
        if self.own_projection is not None:
            features = self.own_projection.project(features, subject)
        return predict(self.network, features, stride)
