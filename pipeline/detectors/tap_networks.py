"""Networks that predict a row from a window of earlier ones, with no state between predictions.

``gru_taps``
    The level-1 recurrent net of the competition's winners, a GRU over 40 rows of a filter bank in
    the last 8 s (github.com/alexandrebarachant/Grasp-and-lift-EEG-challenge,
    lvl1/genPreds_RNN.py and models/RNN_FB_delay4000.yml).
``hochberg_cnn``
    Tim Hochberg's convolutional net, published in the competition's forum, as the winners used it:
    spatial filters on 500 rows of the last 8 s of low-passed EEG, then dense layers
    (lvl1/genPreds_CNN_Tim.py and models/cnn_script_1D_30Hz.yml).

Both learn from random windows by stochastic gradient descent with Nesterov's momentum.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.detectors.lstm.network import Dropout
from pipeline.detectors.lstm.training import choose_device
from pipeline.detectors.taps import Scalers, back, fit_scalers, pack, standardise, unpack
from pipeline.errors import PipelineError
from pipeline.features.filter_bank import FeatureSeries
from pipeline.work.tasks import Report

# Rows predicted at a time: always the same number, because the last bits of a matrix product
# depend on its size.
CHUNK = 512
TOLD = 20  # lines of the history, and reports of the loss
# Beside `pipeline.detectors.taps.READS`, of the group ``method``.
READS = (
    "tap_count", "tap_every", "units", "filters", "input_dropout", "dropout", "batch", "updates",
    "learning_rate", "momentum",
)  # fmt: skip


class TapGRU(nn.Module):
    """Dropout, a GRU whose last state goes on, a dense layer, dropout, and the logits.

    Parameters
    ----------
    n_features, n_events, count : int
        F, E, and the window's rows.
    units : int
        Of the GRU and of the dense layer.
    input_dropout, dropout : float
        Of the features; before the output.
    """

    def __init__(
        self, n_features: int, n_events: int, count: int, *, units: int, input_dropout: float,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_dropout = Dropout(input_dropout)
        self.gru = nn.GRU(n_features, units, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(units, units), nn.ReLU(), Dropout(dropout), nn.Linear(units, n_events)
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn windows, shape (B, count, F), into logits, shape (B, E)."""
        _, last = self.gru(self.input_dropout(windows))
        return self.head(last[0])


class SpatialCNN(nn.Module):
    """Dropout, spatial filters, and two dense layers over all of the window.

    Parameters
    ----------
    n_features, n_events, count : int
        Channels, E, and the window's rows.
    units : int
        Of each dense layer.
    filters : int
        Weighted sums of the channels, the same at each row, with a rectifier: convolutions of
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

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn windows, shape (B, count, F), into logits, shape (B, E)."""
        return self.head(torch.relu(self.spatial(self.input_dropout(windows))).flatten(1))


def build(method: dict[str, Any], n_features: int, n_events: int) -> nn.Module:
    """Make the network that the group ``method`` names."""
    shape = n_features, n_events, method["tap_count"]
    chosen = {key: method[key] for key in ("units", "input_dropout", "dropout")}
    if method["kind"] == "gru":
        return TapGRU(*shape, **chosen)
    return SpatialCNN(*shape, filters=method["filters"], **chosen)


@dataclass(frozen=True)
class WindowedDetector:
    """A trained network with what it needs to be applied.

    Parameters
    ----------
    network : Module
        From windows, shape (B, count, F), to logits, shape (B, E).
    options : dict
        ``n_features``, ``n_events`` and ``method``, of which `build` makes the network anew.
    scalers : dict of int to (ndarray, ndarray)
        By subject: the features' mean and standard deviation, each (F,).
    """

    network: nn.Module
    options: dict[str, Any]
    scalers: Scalers

    @torch.no_grad()
    def predict(self, features: np.ndarray, subject: int) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        self.network.eval()
        device = next(self.network.parameters()).device
        ready = torch.from_numpy(standardise(features, self.scalers[subject])).float().to(device)
        method, parts = self.options["method"], []
        for begin in range(0, len(ready), CHUNK):
            rows = np.minimum(np.arange(begin, begin + CHUNK), len(ready) - 1)
            taps = torch.from_numpy(back(rows, method["tap_count"], method["tap_every"]))
            parts.append(self.network(ready[taps.to(device)]).float().cpu().numpy())
        return np.concatenate(parts)[: len(ready)]

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        stored = {
            "options": self.options,
            "scalers": pack(self.scalers),
            "weights": {k: v.cpu() for k, v in self.network.state_dict().items()},
        }
        torch.save(stored, path)

    @classmethod
    def load(cls, path: Path) -> WindowedDetector:
        """Read what `save` wrote, onto the CPU."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        options = stored["options"]
        network = build(options["method"], options["n_features"], options["n_events"])
        network.load_state_dict(stored["weights"])
        return cls(network, options, unpack(stored["scalers"]))


def fit(
    fitted: list[FeatureSeries], method: dict[str, Any], report: Report
) -> tuple[WindowedDetector, list[dict[str, float]]]:
    """Fit one network on random windows.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Each subject is standardised for itself.
    method : dict
        The group ``method``, its ``kind`` gru or cnn, and beside it ``seed`` and ``device``.
    report : callable
        Told the progress and the loss.

    Returns
    -------
    WindowedDetector
    list of dict
        The history: loss and learning rate, `TOLD` times.

    Raises
    ------
    PipelineError
        When the loss is no longer finite.
    """
    names = " ".join(f"{series.subject}-{series.series}" for series in fitted)
    seed = zlib.crc32(f"{method['seed']} {names}".encode())
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    device = choose_device(method["device"])
    scalers = fit_scalers(fitted)
    x = torch.cat(
        [
            torch.from_numpy(standardise(np.asarray(s.features), scalers[s.subject])).float()
            for s in fitted
        ]
    ).to(device)
    y = torch.from_numpy(np.concatenate([np.asarray(s.labels) for s in fitted])).float().to(device)
    lengths = [len(series.features) for series in fitted]
    first = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)  # of each row's series
    candidates = np.flatnonzero((np.arange(len(first)) - first) % method["fit_every"] == 0)

    kept = {key: value for key, value in method.items() if key not in ("seed", "device")}
    options = {"n_features": x.shape[1], "n_events": y.shape[1], "method": kept}
    network = build(method, x.shape[1], y.shape[1]).to(device)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=method["learning_rate"], momentum=method["momentum"], nesterov=True
    )
    updates, history, loss_sum = method["updates"], [], 0.0
    stops = {round(updates * (i + 1) / TOLD) for i in range(TOLD)} - {0}
    since = 0
    for update in range(1, updates + 1):
        rows = random.choice(candidates, method["batch"])
        taps = torch.from_numpy(back(rows, method["tap_count"], method["tap_every"], first[rows]))
        logits = network(x[taps.to(device)])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss_sum, since = loss_sum + loss.item(), since + 1
        if update in stops:
            if not np.isfinite(loss_sum):
                raise PipelineError(
                    f"subject {fitted[0].subject}: the loss is no longer finite after {update} "
                    "updates; lower method.learning_rate"
                )
            history.append(
                {
                    "epoch": update / updates, "step": update, "loss": loss_sum / since,
                    "learning_rate": method["learning_rate"],
                }
            )  # fmt: skip
            report(since / updates, {"show": f"loss {loss_sum / since:.4f}"})
            loss_sum, since = 0.0, 0
    return WindowedDetector(network, options, scalers), history
