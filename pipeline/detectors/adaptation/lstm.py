"""One LSTM for all, for a new person: the network stays, and the layer before it becomes his own.

Each person whom the network was fitted on has a linear layer of his own before it. For standardised
features these layers are alike in what they hand on, because one network reads them all; so their
mean is the layer of somebody unknown. From his own series he gets his own scaler, and the layer is
trained further, with the network as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line
from pipeline.detectors.device import choose_device
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import make_network
from pipeline.detectors.lstm.own_projection import Learner, OwnProjection
from pipeline.detectors.lstm.scaling import Scalers, fit_scalers
from pipeline.detectors.lstm.training import Training
from pipeline.detectors.scaling import Scaler
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.config.lstm import LstmOptions

# Epochs of the layer's training: many over few series, fewer over more, so that it takes no longer.
MOST_EPOCHS, SERIES_EPOCHS = 20, 40


def scalers(known: Sequence[LstmDetector]) -> list[Scaler]:
    """Give the scaler of each person whom the detectors were fitted on."""
    found: list[Scaler] = []
    for each in known:
        for subject, (mean, _) in each.scalers.items():
            apart = deviation(each, subject)
            found.append((mean.numpy()[: len(apart)], apart))
    return found


def deviation(detector: LstmDetector, subject: Id) -> np.ndarray:
    """Give the standard deviations of a subject's features, (F,).

    Raises
    ------
    DataError
        The model's file lacks them.
    """
    if subject not in detector.deviations:
        raise DataError(
            "the fitted recipe is of an earlier version, and cannot be adapted; fit it again"
        )
    return detector.deviations[subject].numpy()


def mean_layer(detector: LstmDetector) -> torch.Tensor:
    """Give what the layers of all subjects are on average, (F, P), for standardised features."""
    layers = []
    for subject, (_, matrix) in detector.scalers.items():
        apart = torch.from_numpy(deviation(detector, subject))
        layers.append(apart[:, None] * matrix)
    return torch.stack(layers).mean(dim=0)


def adapted(
    known: Sequence[LstmDetector],
    data: FitData,
    subject: Id,
    options: LstmOptions,
) -> tuple[LstmDetector, list[Line]]:
    """Fit a new person's layer; see `pipeline.detectors.adaptation.adapt.adapt`.

    Parameters
    ----------
    known : sequence of LstmDetector
        One, of all others.
    data : FitData
        The new person's series.
    subject : int or Name
        He.
    options : LstmOptions
        The network's and the training's.

    Raises
    ------
    DataError
        There is one network per subject: none of them is for anybody else.
    """
    if len(known) != 1:
        raise DataError(
            "the fitted recipe has one network per subject, which says nothing of a new one; fit "
            "one for all subjects (train.scope=global)"
        )
    base, layer = known[0], mean_layer(known[0])
    network = make_network(**base.options)
    network.load_state_dict(base.network.state_dict())
    width = len(layer)
    if not data.fitted:
        scaler = torch.zeros(width, dtype=torch.float64), layer
        network.eval()
        return LstmDetector(network, base.options, {subject: scaler}, base.stride), [{"best": True}]
    own = fit_scalers(data.fitted, [], options.train.whiten)
    history: list[Line] = [{"best": True}]
    if options.train.own_projection:
        own, history = _train_layer(base, network, layer, own, data, options)
    network.eval()
    return LstmDetector(network, base.options, own, base.stride), history


def _train_layer(
    base: LstmDetector,
    network: torch.nn.Module,
    layer: torch.Tensor,
    own: Scalers,
    data: FitData,
    options: LstmOptions,
) -> tuple[Scalers, list[Line]]:
    """Train the layer, starting from the others' mean; give the scaler that holds it."""
    torch.manual_seed(zlib.crc32(f"{data.seed} {data.name}".encode()))
    ((subject, (_, matrix)),) = own.items()
    n_features, columns = layer.shape
    projection = OwnProjection(own, n_features, columns, options.model.input_dropout)
    # The layer reads standardised features; here they are whitened.
    plain = fit_scalers(data.fitted, [], whiten=False)[subject][1]
    turn = torch.linalg.solve(matrix.double(), plain.double())
    with torch.no_grad():
        projection.weight.copy_((turn @ layer.double())[None])
    network.requires_grad_(False)
    device = choose_device(data.device)
    learner = Learner(network, projection).to(device)  # type: ignore[arg-type]
    epochs = min(MOST_EPOCHS, max(1, round(SERIES_EPOCHS / len(data.fitted))))
    longer = replace(options, train=replace(options.train, epochs=epochs))
    history = Training(data, longer, learner, own, device).run()
    network.requires_grad_(True)
    network.to("cpu")
    return projection.folded(own), history
