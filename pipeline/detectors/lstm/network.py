"""The network: features in, one logit an event out, with its state explicit in and out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from pipeline.detectors.lstm.cell import LSTM

State = tuple[torch.Tensor, ...]  # h and c, then the convolution's past; lanes along axis 1
Scalers = dict[int, tuple[torch.Tensor, torch.Tensor]]  # by subject: mean and matrix

# Rows that the network is given at a time when it predicts: always the same number, because the
# last bits of a matrix product depend on its size.
CHUNK = 512


class Dropout(nn.Module):
    """`torch.nn.Dropout`, three times as fast on a CPU.

    The mask is drawn by one comparison in place, where PyTorch's own draws Bernoulli numbers one at
    a time, which took nearly half of a training step on a wide filter bank.

    Parameters
    ----------
    p : float
        Share of the values that are set to zero in training.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop values, and scale the others to keep the mean."""
        if not self.training or not self.p:
            return x
        return x * torch.rand_like(x).lt_(1 - self.p).mul_(1 / (1 - self.p))


class CausalConvolution(nn.Module):
    """A convolution over time that sees no later row, and an ELU.

    Parameters
    ----------
    width : int
        P, in and out.
    kernel : int
        K, rows that each result reads: its own and those before it.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.before = kernel - 1
        self.filters = nn.Conv1d(width, width, kernel)

    def forward(self, x: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : Tensor, shape (B, L, P)
        past : Tensor, shape (K - 1, B, P)
            The rows before.

        Returns
        -------
        Tensor, shape (B, L, P), and the last K - 1 rows, shape (K - 1, B, P)
        """
        rows = torch.cat([past.transpose(0, 1), x], dim=1)
        y = nn.functional.elu(self.filters(rows.transpose(1, 2))).transpose(1, 2)
        return y, rows[:, rows.shape[1] - self.before :].transpose(0, 1)


class Network(nn.Module):
    """A many-to-many LSTM.

    Dropout, an optional linear projection, an optional causal convolution, the LSTM, dropout, and a
    linear layer to the logits.

    Parameters
    ----------
    n_features, n_events : int
        F and E.
    hidden, layers : int
        Units a layer, and layers.
    projection : int
        Width of the linear layer before the LSTM; 0 for none.
    kernel : int
        Rows that the convolution reads, 2 or more; 0 for none.
    dropout : float
        Between the LSTM's layers and before the output.
    input_dropout : float
        Of the features.
    cell : str
        Which LSTM cell, see `pipeline.detectors.lstm.cell.LSTM`.
    forget_bias, init_range : float, optional
        See there; ``init_range`` holds for every parameter of the network.
    """

    def __init__(
        self,
        n_features: int,
        n_events: int,
        *,
        hidden: int,
        layers: int,
        projection: int = 0,
        kernel: int = 0,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        cell: str = "fused",
        forget_bias: float | None = None,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        self.input_dropout = Dropout(input_dropout)
        self.projection = nn.Linear(n_features, projection) if projection else nn.Identity()
        self.convolution = CausalConvolution(projection or n_features, kernel) if kernel else None
        self.lstm = LSTM(
            projection or n_features,
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            cell=cell,
            forget_bias=forget_bias,
            init_range=init_range,
        )
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(hidden, n_events)
        if init_range is not None:
            for linear in (self.projection, self.output):
                for parameter in linear.parameters():
                    nn.init.uniform_(parameter, -init_range, init_range)

    def forward(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : Tensor, shape (B, L, F)
            Standardised features.
        state : tuple of Tensor, optional
            What the rows before left: h and c, each (layers, B, hidden), and with a convolution
            its past, (K - 1, B, P); zero when not given.

        Returns
        -------
        logits : Tensor, shape (B, L, E)
        state : tuple of Tensor
        """
        h, c, *pasts = self.start(len(x)) if state is None else state
        x = self.projection(self.input_dropout(x))
        if self.convolution is not None:
            x, past = self.convolution(x, pasts[0])
            pasts = [past]
        y, (h, c) = self.lstm(x, (h, c))
        return self.output(self.dropout(y)), (h, c, *pasts)

    def start(self, lanes: int) -> State:
        """Give a state of zero for so many lanes."""
        layer = self.lstm
        shapes = [(layer.num_layers, lanes, layer.hidden_size)] * 2
        if self.convolution is not None:
            shapes.append((self.convolution.before, lanes, layer.input_size))
        return tuple(self.output.weight.new_zeros(shape) for shape in shapes)


class Committee(nn.Module):
    """Networks that learn beside one another, each from its own start, and vote.

    Parameters
    ----------
    networks : list of Network
        All alike.
    """

    def __init__(self, networks: list[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : Tensor, shape (B, L, F)
            Standardised features.
        state : tuple of Tensor, optional
            Of all the networks, one after the other along the first axis.

        Returns
        -------
        logits : Tensor, shape (B, L, E)
            Their mean; in training, where each is to learn for itself, (networks, B, L, E).
        state : tuple of Tensor
        """
        state = self.start(len(x)) if state is None else state
        theirs = zip(*(part.chunk(len(self.networks)) for part in state), strict=True)
        votes, after = [], []
        for network, own in zip(self.networks, theirs, strict=True):
            logits, own = network(x, own)
            votes.append(logits)
            after.append(own)
        together = torch.stack(votes)
        joined = tuple(torch.cat(parts) for parts in zip(*after, strict=True))
        return (together if self.training else together.mean(dim=0)), joined

    def start(self, lanes: int) -> State:
        """Give a state of zero for so many lanes."""
        every = [cast(Network, network).start(lanes) for network in self.networks]
        return tuple(torch.cat(parts) for parts in zip(*every, strict=True))


AnyNetwork = Network | Committee


def make_network(
    n_features: int, n_events: int, *, networks: int = 1, **options: Any
) -> AnyNetwork:
    """Make one network, or several that vote.

    Parameters
    ----------
    n_features, n_events : int
        F and E.
    networks : int
        How many.
    **options
        Of `Network`.
    """
    members = [Network(n_features, n_events, **options) for _ in range(networks)]
    return members[0] if networks == 1 else Committee(members)


@torch.no_grad()
def predict(network: AnyNetwork, features: torch.Tensor, stride: int) -> np.ndarray:
    """Predict one whole series, in one direction.

    The phases of ``stride`` are run side by side, each with its own state, and interleaved again.

    Parameters
    ----------
    network : Network or Committee
        Trained; its dropout is switched off here.
    features : Tensor, shape (T', F)
        One series, standardised.
    stride : int
        The network's step, in rows.

    Returns
    -------
    ndarray of float32, shape (T', E)
        Logits.
    """
    network.eval()
    device = next(network.parameters()).device
    rows, width = features.shape
    steps = -(-rows // stride)
    padded = features.new_zeros(steps * stride, width)
    padded[:rows] = features
    phases = padded.view(steps, stride, width).transpose(0, 1)
    state, parts = network.start(stride), []
    for begin in range(0, steps, CHUNK):
        logits, state = network(phases[:, begin : begin + CHUNK].to(device), state)
        parts.append(logits.float().cpu())
    together = torch.cat(parts, dim=1).transpose(0, 1).reshape(steps * stride, -1)
    return together[:rows].numpy()


@dataclass(frozen=True)
class Detector:
    """A trained network with what it needs to be applied: its options and its scalers.

    Parameters
    ----------
    network : Network or Committee
        The weights.
    options : dict
        ``n_features``, ``n_events`` and the keyword arguments of `make_network`.
    scalers : dict of int to (Tensor, Tensor)
        By subject: the features' mean, (F,), and the matrix, (F, F), that standardises them; or
        (F, P), where it holds the subject's own projection, too.
    stride : int
        The network's step, in rows.
    """

    network: AnyNetwork
    options: dict[str, Any]
    scalers: Scalers
    stride: int

    def standardise(self, features: np.ndarray, subject: int) -> torch.Tensor:
        """Standardise features, shape (T', F), as this subject's training series were."""
        mean, matrix = self.scalers[subject]
        return (torch.from_numpy(np.array(features, dtype=np.float32)) - mean) @ matrix

    def predict(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        return predict(self.network, self.standardise(features, subject), self.stride)

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "options": self.options,
            "stride": self.stride,
            "scalers": {str(k): list(v) for k, v in self.scalers.items()},
            "weights": {k: v.cpu() for k, v in self.network.state_dict().items()},
        }
        torch.save(stored, path)

    @classmethod
    def load(cls, path: Path) -> Detector:
        """Read what `save` wrote, onto the CPU."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        network = make_network(**stored["options"])
        network.load_state_dict(stored["weights"])
        network.eval()
        scalers = {int(k): (v[0], v[1]) for k, v in stored["scalers"].items()}
        return cls(network, stored["options"], scalers, stored["stride"])


def hold(values: np.ndarray, every: int, rows: int) -> np.ndarray:
    """Spread predictions at every ``every``-th row over all rows, each held until the next.

    Parameters
    ----------
    values : ndarray, shape (T', E)
        Row k belongs to the recording's row ``k * every``.
    every : int
        The recording's rows to a prediction.
    rows : int
        T, the recording's rows.

    Returns
    -------
    ndarray, shape (T, E)
    """
    return np.repeat(values, every, axis=0)[:rows]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits to probabilities, in float64."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
