"""What a GPU computes is what the CPU computes. Skipped where there is no GPU."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.detectors.device import choose_device
from pipeline.detectors.lstm.autograd import BLOCK
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.layer import LSTM
from pipeline.detectors.lstm.network import predict
from tests.conftest import tapped_series
from tests.test_lstm import CELLS, assert_same, run
from tests.test_tap_networks import fit, method
from tests.test_training import MODEL, OWN, cut_off_and_resume, features, how, logits, on

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
__all__ = ["features"]  # a fixture

GPU = "cuda"


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """cuDNN rounds the factors of products to ten bits unless it is told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_auto_takes_the_gpu():
    assert choose_device("auto").type == GPU


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_gives_the_same_outputs_states_and_gradients(cell):
    torch.manual_seed(0)
    layer = LSTM(5, 7, 2, cell=cell, dtype=torch.float64)
    x = torch.randn(2 * BLOCK + 3, 3, 5, dtype=torch.float64)
    hx = tuple(torch.randn(2, 3, 7, dtype=torch.float64) for _ in range(2))
    on_cpu = run(layer, x, hx)
    results, grads = run(copy.deepcopy(layer).to(GPU), x.to(GPU), tuple(s.to(GPU) for s in hx))
    assert all(r.device.type == GPU for r in results)
    back = [r.cpu() for r in results], {name: grad.cpu() for name, grad in grads.items()}
    assert_same(back, on_cpu, rtol=1e-9, atol=1e-10)


def test_a_fused_cell_s_weights_lie_side_by_side():
    """Else PyTorch warns, at every call, that it has to copy them."""
    layer = LSTM(5, 7, 2, cell="fused").to(GPU)
    layer.load_state_dict(LSTM(5, 7, 2, cell="fused").state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.zeros(3, 2, 5, device=GPU))


@pytest.mark.parametrize("cell", CELLS)
def test_autocast_stays_close_to_full_precision(cell):
    torch.manual_seed(0)
    layer = LSTM(16, 32, cell=cell).to(GPU)
    x = torch.randn(40, 8, 16, device=GPU)
    exact = layer(x)[0]
    with torch.autocast(GPU, dtype=torch.bfloat16):
        rough = layer(x)[0]
    rough.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
    torch.testing.assert_close(rough.float(), exact, rtol=0.0, atol=0.05)


@pytest.mark.parametrize("model", [MODEL, OWN], ids=["plain", "committee"])
def test_a_training_without_dropout_ends_where_the_cpu_s_does(features, tmp_path, model):
    still = how(model=replace(model, dropout=0.0, input_dropout=0.0))
    found = []
    for device in ("cpu", GPU):
        (tmp_path / device).mkdir()
        detector, _ = LstmDetector.fit(on(features, tmp_path / device, device=device), still)
        found.append(logits(detector, features))
    np.testing.assert_allclose(*found, atol=0.05)  # Adam divides small differences by small ones


@pytest.mark.parametrize("recipe", ["streams", "joined", "own"])
def test_cut_off_and_resumed_draws_the_same_dropout(features, tmp_path, monkeypatch, recipe):
    detectors = cut_off_and_resume(features, tmp_path, monkeypatch, 40, recipe, GPU)
    found = [logits(detector, features) for detector in detectors]
    np.testing.assert_allclose(*found, atol=1e-2)  # a GPU adds in an order of its own


@pytest.mark.parametrize("name", ["gru_taps", "hochberg_cnn"])
def test_a_network_over_taps_predicts_the_same_on_both(name):
    series = [tapped_series(1, n) for n in (1, 2, 3)]
    fitted = fit(series, method(name), device=GPU)[0]
    assert next(fitted.network.parameters()).device.type == GPU
    new = tapped_series(1, 9).features
    on_gpu = fitted.predict(new, 1)
    on_cpu = replace(fitted, network=copy.deepcopy(fitted.network).cpu()).predict(new, 1)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-3)


def test_a_series_in_pieces_carries_its_state_on_the_gpu(features, tmp_path):
    detector, _ = LstmDetector.fit(on(features, tmp_path, device=GPU), how())
    found = logits(detector, features)
    detector.save(tmp_path / "model.pt")
    kept = LstmDetector.load(tmp_path / "model.pt")
    x = kept.standardise(np.load(features / "subj1_series3_features.npy"), 1)
    on_cpu = predict(kept.network, x, kept.stride)
    on_gpu = predict(kept.network.to(GPU), x, kept.stride)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)
    np.testing.assert_allclose(on_gpu, found, atol=1e-4)
