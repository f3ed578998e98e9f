"""The network: features in, one logit per event out, with its state passed in and out."""

from __future__ import annotations

from typing import TypedDict, cast

import numpy as np
import torch
from torch import nn

from pipeline.detectors.dropout import Dropout
from pipeline.detectors.lstm.layer import LSTM
from pipeline.work.machine import threads

State = tuple[torch.Tensor, ...]  # h and c, then the convolution's past; lanes along axis 1

# Rows that the network is given at a time when it predicts: always the same number, because the
# last bits of a matrix product depend on its size.
CHUNK = 512

# Another detector's logits, as the LSTM reads them: of about unit variance.
BESIDE_SCALE = 0.25
# Where other logits are corrected, the correction starts so many times smaller than logits would.
FIRST_CORRECTION = 0.1


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
    linear layer to the logits. With logits of another detector beside the features, the network
    reads them, too, and what it gives is added to them: it learns to correct them.

    Parameters
    ----------
    n_features, n_events : int
        F and E.
    hidden, layers : int
        Units per layer, and layers.
    projection : int
        Width of the linear layer before the LSTM; 0 for none.
    kernel : int
        Rows that the convolution reads, 2 or more; 0 for none.
    dropout : float
        Between the LSTM's layers and before the output.
    input_dropout : float
        Of the features.
    beside : int
        So many columns after the features, E or more, are another detector's: first its E logits,
        which the network corrects, then others that it reads. They are neither dropped nor
        projected. 0 for none.
    cell : str
        Which LSTM cell, see `pipeline.detectors.lstm.cell`.
    forget_bias, init_range : float, optional
        See `pipeline.detectors.lstm.layer.LSTM`; ``init_range`` holds for every parameter of the
        network.
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
        beside: int = 0,
        cell: str = "fused",
        forget_bias: float | None = None,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.input_dropout = Dropout(input_dropout)
        self.projection = nn.Linear(n_features, projection) if projection else nn.Identity()
        self.convolution = CausalConvolution(projection or n_features, kernel) if kernel else None
        self.lstm = LSTM(
            (projection or n_features) + beside,
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
        self.gain = nn.Parameter(torch.ones(n_events)) if beside else None
        if beside:  # it starts near the logits that it corrects
            with torch.no_grad():
                self.output.weight.mul_(FIRST_CORRECTION)

    def forward(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : Tensor, shape (B, L, F) or (B, L, F + beside)
            Standardised features, and what stands beside them.
        state : tuple of Tensor, optional
            After the rows before: h and c, each (layers, B, hidden), and with a convolution its
            past, (K - 1, B, P); zero when not given.

        Returns
        -------
        logits : Tensor, shape (B, L, E)
        state : tuple of Tensor
        """
        h, c, *pasts = self.start(len(x)) if state is None else state
        x, others = x[..., : self.n_features], x[..., self.n_features :]
        x = self.projection(self.input_dropout(x) if self.training else x)
        if self.convolution is not None:
            x, past = self.convolution(x, pasts[0])
            pasts = [past]
        if self.gain is not None:
            x = torch.cat([x, BESIDE_SCALE * others], dim=-1)
        if self.training:
            y, (h, c) = self.lstm(x, (h, c))
            logits = self.output(self.dropout(y))
        else:
            # For a stream's single rows, checks and dropout that does nothing take a tenth of the
            # time.
            y, h, c = self.lstm.run(x.transpose(0, 1), h, c)
            logits = self.output(y.transpose(0, 1))
        if self.gain is not None:
            logits = logits + self.gain * others[..., : logits.shape[-1]]
        return logits, (h, c, *pasts)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.output.weight.device

    def start(self, lanes: int) -> State:
        """Give a state of zero for this many lanes."""
        layer = self.lstm
        shapes = [(layer.num_layers, lanes, layer.hidden_size)] * 2
        if self.convolution is not None:
            width = self.convolution.filters.in_channels
            shapes.append((self.convolution.before, lanes, width))
        return tuple(self.output.weight.new_zeros(shape) for shape in shapes)


class Committee(nn.Module):
    """Networks that learn side by side, each from its own start, and whose logits are averaged.

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
            Of all networks, one after another along the first axis.

        Returns
        -------
        logits : Tensor, shape (B, L, E)
            The mean over the networks; in training, where each learns for itself,
            (networks, B, L, E).
        state : tuple of Tensor
        """
        state = self.start(len(x)) if state is None else state
        parts = zip(*(each.chunk(len(self.networks)) for each in state), strict=True)
        votes, after = [], []
        for network, own in zip(self.networks, parts, strict=True):
            logits, own = network(x, own)
            votes.append(logits)
            after.append(own)
        together = torch.stack(votes)
        joined = tuple(torch.cat(parts) for parts in zip(*after, strict=True))
        return (together if self.training else together.mean(dim=0)), joined

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return cast(Network, self.networks[0]).device

    def start(self, lanes: int) -> State:
        """Give a state of zero for this many lanes."""
        every = [cast(Network, network).start(lanes) for network in self.networks]
        return tuple(torch.cat(parts) for parts in zip(*every, strict=True))


AnyNetwork = Network | Committee


class NetworkArguments(TypedDict):
    """The arguments of `make_network`, as a detector keeps and saves them."""

    n_features: int
    n_events: int
    cell: str
    hidden: int
    layers: int
    projection: int
    kernel: int
    dropout: float
    input_dropout: float
    networks: int
    forget_bias: float | None
    init_range: float | None
    beside: int


def make_network(
    n_features: int,
    n_events: int,
    *,
    hidden: int,
    layers: int,
    projection: int = 0,
    kernel: int = 0,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    beside: int = 0,
    networks: int = 1,
    cell: str = "fused",
    forget_bias: float | None = None,
    init_range: float | None = None,
) -> AnyNetwork:
    """Make one network, or several whose logits are averaged.

    Parameters
    ----------
    n_features, n_events : int
        F and E.
    networks : int
        How many.
    hidden, layers, projection, kernel, dropout, input_dropout, beside
        As in `Network`.
    cell, forget_bias, init_range
        As in `Network`.
    """
    members = [
        Network(
            n_features, n_events, hidden=hidden, layers=layers, projection=projection,
            kernel=kernel, dropout=dropout, input_dropout=input_dropout, beside=beside, cell=cell,
            forget_bias=forget_bias, init_range=init_range,
        )
        for _ in range(networks)
    ]  # fmt: skip
    return members[0] if networks == 1 else Committee(members)


def start_at_base_rates(network: AnyNetwork, labels: np.ndarray) -> None:
    """Set the output's bias to the events' log-odds, so that no update is spent on learning them.

    With events as rare as these, that is worth more than any later tuning of a stack. Where the
    network corrects other logits, these have the base rates already, and the bias is zero.

    Parameters
    ----------
    network : Network or Committee
        Changed in place.
    labels : ndarray, shape (T', E)
        Of all training series.
    """
    odds = (labels.sum(axis=0) + 0.5) / (len(labels) - labels.sum(axis=0) + 0.5)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, Network):
                start = np.log(odds) if part.gain is None else np.zeros_like(odds)
                part.output.bias.copy_(torch.from_numpy(start))


@torch.no_grad()
def predict(network: AnyNetwork, features: torch.Tensor, stride: int) -> np.ndarray:
    """Predict one whole series, in one direction.

    The ``stride`` phases run side by side, each with its own state, and are interleaved again.
    The result is the same, to the last bit, for any number of threads that the process has.

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
    device = network.device
    rows, width = features.shape
    steps = -(-rows // stride)
    padded = features.new_zeros(steps * stride, width)
    padded[:rows] = features
    phases = padded.view(steps, stride, width).transpose(0, 1)
    state, parts = network.start(stride), []
    with threads(1):
        for begin in range(0, steps, CHUNK):
            logits, state = network(phases[:, begin : begin + CHUNK].to(device), state)
            parts.append(logits.float().cpu())
    together = torch.cat(parts, dim=1).transpose(0, 1).reshape(steps * stride, -1)
    return together[:rows].numpy()
