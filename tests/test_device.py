"""Devices, numbers of threads, and dropout: what all networks share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.detectors.device import choose_device
from pipeline.detectors.dropout import Dropout
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import Network
from pipeline.errors import ConfigError
from pipeline.work.machine import threads
from tests.test_training import MODEL, OWN, CutError, features, how, logits, on

__all__ = ["features"]  # a fixture


def test_unknown_devices_are_refused():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda"}
    for name in ("gpu", "cuda:99", "meta", "mps:7", ""):
        with pytest.raises(ConfigError, match=f"device={name}"):
            choose_device(name)


@pytest.fixture
def any_threads():
    """Give PyTorch its number of threads back after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_number_of_threads_is_set_and_given_back(any_threads):
    def fail():
        with threads(3):
            assert torch.get_num_threads() == 3
            raise CutError

    torch.set_num_threads(2)
    with pytest.raises(CutError):
        fail()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("model", [MODEL, OWN], ids=["plain", "own"])
def test_predictions_are_the_same_bytes_with_any_number_of_threads(
    features, tmp_path, monkeypatch, any_threads, model
):
    own = model is OWN
    detector, _ = LstmDetector.fit(
        on(features, tmp_path), how(model=model, own_projection=own, epochs=1)
    )
    used = []
    plain = Network.forward
    monkeypatch.setattr(
        Network,
        "forward",
        lambda self, x, state=None: used.append(torch.get_num_threads()) or plain(self, x, state),
    )
    found = {}
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        found[count] = logits(detector, features)
        assert torch.get_num_threads() == count
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_array_equal(found[1], found[4])
    assert set(used) == {1}


def test_dropout_drops_its_share_keeps_the_mean_and_does_nothing_in_prediction():
    torch.manual_seed(0)
    layer, x = Dropout(0.3), torch.ones(200, 500, requires_grad=True)
    y = layer(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.mean().item() == pytest.approx(1.0, abs=0.01)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())  # the same mask on the way back
    assert layer.eval()(x) is x
