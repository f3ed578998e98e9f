"""Networks that predict a row from its taps, with no state from one prediction to the next.

``gru_taps``
    The level-1 recurrent net of the competition's winners, a GRU over 40 rows of a filter bank in
    the last 8 s (github.com/alexandrebarachant/Grasp-and-lift-EEG-challenge,
    lvl1/genPreds_RNN.py and models/RNN_FB_delay4000.yml).
``hochberg_cnn``
    Tim Hochberg's convolutional net, published in the competition's forum, as the winners used it:
    spatial filters on 500 rows of the last 8 s of low-passed EEG, then dense layers
    (lvl1/genPreds_CNN_Tim.py and models/cnn_script_1D_30Hz.yml).

Both learn from random rows by stochastic gradient descent with Nesterov's momentum.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pipeline.data.names import Id
from pipeline.detectors import taps
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.device import choose_device
from pipeline.detectors.dropout import Dropout
from pipeline.detectors.scaling import Scalers, fit_scalers, pack, standardise, unpack
from pipeline.detectors.stored import write_tensors
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.config.methods.tap_networks import CnnMethod, GruMethod

# Rows predicted at a time: always the same number, because the last bits of a matrix product
# depend on its size.
CHUNK = 512
LINES = 20  # of the history: so many times the mean loss is told


class TapGRU(nn.Module):
    """Dropout, a GRU of which the last state is used, a dense layer, dropout, and the logits.

    Parameters
    ----------
    n_features, n_events : int
        F and E.
    units : int
        Of the GRU and of the dense layer.
    input_dropout, dropout : float
        Of the features; before the output.
    """

    def __init__(
        self, n_features: int, n_events: int, *, units: int, input_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.input_dropout = Dropout(input_dropout)
        self.gru = nn.GRU(n_features, units, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(units, units), nn.ReLU(), Dropout(dropout), nn.Linear(units, n_events)
        )

    def forward(self, taps: torch.Tensor) -> torch.Tensor:
        """Turn the taps of B rows, shape (B, count, F), into logits, shape (B, E)."""
        _, last = self.gru(self.input_dropout(taps))
        return self.head(last[0])


class SpatialCNN(nn.Module):
    """Dropout, spatial filters, and two dense layers over all taps.

    Parameters
    ----------
    n_features, n_events, count : int
        Channels, E, and taps per row.
    units : int
        Of each dense layer.
    filters : int
        Weighted sums of the channels, the same for each tap, with a rectifier: convolutions of
        width 1.
    input_dropout, dropout : float
        Of the samples; after each dense layer.
    """

    def __init__(
        self, n_features: int, n_events: int, count: int, *, units: int, filters: int,
        input_dropout: float, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_dropout = Dropout(input_dropout)
        self.spatial = nn.Linear(n_features, filters)
        self.head = nn.Sequential(
            nn.Linear(count * filters, units), nn.ReLU(), Dropout(dropout),
            nn.Linear(units, units), nn.ReLU(), Dropout(dropout), nn.Linear(units, n_events),
        )  # fmt: skip

    def forward(self, taps: torch.Tensor) -> torch.Tensor:
        """Turn the taps of B rows, shape (B, count, C), into logits, shape (B, E)."""
        return self.head(torch.relu(self.spatial(self.input_dropout(taps))).flatten(1))


def make_network(method: GruMethod | CnnMethod, n_features: int, n_events: int) -> nn.Module:
    """Make the network that the options describe.

    Parameters
    ----------
    method : GruMethod or CnnMethod
        The options.
    n_features, n_events : int
        F and E.
    """
    from pipeline.config.methods.tap_networks import CnnMethod

    dropouts = {"input_dropout": method.input_dropout, "dropout": method.dropout}
    if isinstance(method, CnnMethod):
        return SpatialCNN(
            n_features, n_events, method.tap_count, units=method.units, filters=method.filters,
            **dropouts,
        )  # fmt: skip
    return TapGRU(n_features, n_events, units=method.units, **dropouts)


@dataclass(frozen=True)
class TapNetworkDetector:
    """A trained network with what is needed to apply it.

    Parameters
    ----------
    network : Module
        From taps, shape (B, count, F), to logits, shape (B, E).
    method : GruMethod or CnnMethod
        The options that it was made from.
    n_features, n_events : int
        F and E.
    scalers : dict of int to (ndarray, ndarray)
        By subject, see `pipeline.detectors.scaling`.
    """

    network: nn.Module
    method: GruMethod | CnnMethod
    n_features: int
    n_events: int
    scalers: Scalers

    @classmethod
    def fit(
        cls, data: FitData, options: GruMethod | CnnMethod
    ) -> tuple[TapNetworkDetector, list[Line]]:
        """Train one network on random rows; each subject is standardised for itself.

        Parameters
        ----------
        data : FitData
            On what; it is told the progress and the loss.
        options : GruMethod or CnnMethod
            Of the network and of the descent.

        Returns
        -------
        TapNetworkDetector
        list of dict
            `LINES` lines, or one per update if there are fewer: the mean loss since the line
            before. The last one is the best: nothing is chosen.

        Raises
        ------
        PipelineError
            When the loss is no longer finite.
        """
        names = " ".join(f"{series.subject}-{series.series}" for series in data.fitted)
        seed = zlib.crc32(f"{data.seed} {names}".encode())
        torch.manual_seed(seed)
        scalers = fit_scalers(data.fitted)
        rows = _Rows.of(data, scalers, options, np.random.default_rng(seed))
        n_features, n_events = rows.x.shape[1], rows.y.shape[1]
        network = make_network(options, n_features, n_events).to(rows.x.device)
        lines = _descend(network, rows, options, data)
        return cls(network, options, n_features, n_events, scalers), lines

    @torch.no_grad()
    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        self.network.eval()
        device = next(self.network.parameters()).device
        ready = torch.from_numpy(standardise(features, self.scalers[subject])).to(device)
        count, every, parts = self.method.tap_count, self.method.tap_every, []
        for begin in range(0, len(ready), CHUNK):
            rows = np.minimum(np.arange(begin, begin + CHUNK), len(ready) - 1)
            read = torch.from_numpy(taps.back(rows, count, every)).to(device)
            parts.append(self.network(ready[read]).float().cpu().numpy())
        return np.concatenate(parts)[: len(ready)]

    @torch.no_grad()
    def predict_ends(self, windows: np.ndarray, subject: Id) -> np.ndarray:
        """Predict the last row of each of K windows, shape (K, L, F): logits, shape (K, E)."""
        self.network.eval()
        device, last = next(self.network.parameters()).device, np.array([windows.shape[1] - 1])
        read = windows[:, taps.back(last, self.method.tap_count, self.method.tap_every)[0]]
        parts = []
        for begin in range(0, len(read), CHUNK):
            some = read[begin : begin + CHUNK]
            ready = standardise(some.reshape(-1, some.shape[2]), self.scalers[subject])
            rows = torch.from_numpy(ready.reshape(some.shape)).to(device)
            parts.append(self.network(rows).float().cpu().numpy())
        return np.concatenate(parts)

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: no taps yet."""
        return taps.start(self.method.tap_count, self.method.tap_every, self.n_features, subject)

    @torch.inference_mode()
    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F), and the taps before them."""
        self.network.eval()
        device = next(self.network.parameters()).device
        ready = standardise(features, self.scalers[state["subject"]])
        read, after = taps.follow(ready, state, self.method.tap_count, self.method.tap_every)
        logits = np.empty((len(read), self.n_events), dtype=np.float32)
        for number in range(len(read)):  # never many at once, see `Detector.push`
            row = torch.from_numpy(read[number : number + 1]).to(device)
            logits[number] = self.network(row)[0].float().cpu().numpy()
        return logits, after

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "options": {
                "n_features": self.n_features, "n_events": self.n_events,
                "method": asdict(self.method),
            },
            "scalers": pack(self.scalers),
            "weights": {k: v.cpu() for k, v in self.network.state_dict().items()},
        }  # fmt: skip
        write_tensors(path, stored)

    @classmethod
    def load(cls, path: Path) -> TapNetworkDetector:
        """Read what `save` wrote, onto the CPU."""
        from pipeline.config.methods.tap_networks import CnnMethod, GruMethod

        stored = torch.load(path, map_location="cpu", weights_only=True)
        options = stored["options"]
        kept = options["method"]
        kind = CnnMethod if kept["kind"] == "cnn" else GruMethod
        # Older files also hold options of other methods.
        method = kind(**{k: v for k, v in kept.items() if k in kind.__dataclass_fields__})
        network = make_network(method, options["n_features"], options["n_events"])
        network.load_state_dict(stored["weights"])
        scalers = unpack(stored["scalers"])
        return cls(network, method, options["n_features"], options["n_events"], scalers)


@dataclass(frozen=True)
class _Rows:
    """All fitted series end to end, from which random rows are drawn with their taps.

    Parameters
    ----------
    x, y : Tensor, shape (N, F) and (N, E)
        Standardised features and labels.
    first : ndarray of int, shape (N,)
        Where each row's series begins.
    candidates : ndarray of int
        The rows that may be drawn.
    count, every : int
        The taps, see `pipeline.detectors.taps.back`.
    random : Generator
        Draws.
    """

    x: torch.Tensor
    y: torch.Tensor
    first: np.ndarray
    candidates: np.ndarray
    count: int
    every: int
    random: np.random.Generator

    @classmethod
    def of(
        cls, data: FitData, scalers: Scalers, options: GruMethod | CnnMethod,
        random: np.random.Generator,
    ) -> _Rows:  # fmt: skip
        """Lay the series end to end, on the device."""
        device = choose_device(data.device)
        ready = [
            torch.from_numpy(standardise(np.asarray(s.features), scalers[s.subject]))
            for s in data.fitted
        ]
        labels = np.concatenate([np.asarray(s.labels) for s in data.fitted])
        lengths = [len(series.features) for series in data.fitted]
        first = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
        candidates = np.flatnonzero((np.arange(len(first)) - first) % options.fit_every == 0)
        return cls(
            torch.cat(ready).to(device), torch.from_numpy(labels).float().to(device), first,
            candidates, options.tap_count, options.tap_every, random,
        )  # fmt: skip

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw so many rows: their taps, shape (B, count, F), and their labels, shape (B, E)."""
        rows = self.random.choice(self.candidates, count)
        read = torch.from_numpy(taps.back(rows, self.count, self.every, self.first[rows]))
        return self.x[read.to(self.x.device)], self.y[rows]


def _descend(
    network: nn.Module, rows: _Rows, options: GruMethod | CnnMethod, data: FitData
) -> list[Line]:
    """Update the weights ``options.updates`` times; give the history."""
    optimiser = torch.optim.SGD(
        network.parameters(), lr=options.learning_rate, momentum=options.momentum, nesterov=True
    )
    updates = options.updates
    stops = {round(updates * (i + 1) / LINES) for i in range(LINES)} - {0}
    lines: list[Line] = []
    loss_sum, since = 0.0, 0
    for update in range(1, updates + 1):
        read, labels = rows.draw(options.batch)
        loss = nn.functional.binary_cross_entropy_with_logits(network(read), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss_sum, since = loss_sum + loss.item(), since + 1
        if update not in stops:
            continue
        if not np.isfinite(loss_sum):
            raise PipelineError(
                f"{data.name}: the loss is no longer finite after {update} updates; "
                "lower method.learning_rate"
            )
        line: dict[str, Any] = {
            "epoch": update / updates, "step": update, "loss": loss_sum / since,
            "learning_rate": options.learning_rate, "best": update == updates,
        }  # fmt: skip
        lines.append(line)
        data.report(since / updates, {"show": f"loss {loss_sum / since:.4f}"})
        loss_sum, since = 0.0, 0
    return lines
