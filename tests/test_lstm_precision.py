"""The LSTM layer in float32, in bfloat16 and under autocast, on any processor."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch

from pipeline.config.paths import PROJECT
from pipeline.detectors.lstm import layer as module
from pipeline.detectors.lstm.layer import LSTM, fused_kernel_runs
from tests.test_lstm import CELLS, OURS, assert_same, run


@pytest.mark.parametrize("cell", CELLS)
def test_errors_of_float32_and_autocast_are_bounded(cell):
    """40 steps, the usual initialisation; gradients relative to the largest."""
    torch.manual_seed(0)
    layer = LSTM(16, 32, cell=cell)
    x = torch.randn(40, 8, 16)
    single = run(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        half = run(layer, x)
    exact = run(copy.deepcopy(layer).double(), x.double())
    largest = max(grad.abs().max() for grad in exact[1].values())

    def errors(found):
        outputs = max((a - b).abs().max() for a, b in zip(found[0], exact[0], strict=True))
        grads = max((found[1][k] - exact[1][k]).abs().max() for k in exact[1])
        return float(outputs), float(grads / largest)

    output, grad = errors(single)
    assert output < (5e-6 if cell == "vanilla" else 1e-6)
    assert grad < 1e-5
    output, grad = errors(half)
    if cell == "fused" and not fused_kernel_runs(torch.bfloat16):
        assert output < 1e-6  # this processor has no such kernel: it ran in float32
        return
    assert 1e-5 < output < (0.3 if cell == "vanilla" else 0.03)  # 1e-5: it did run in bfloat16
    assert grad < (0.1 if cell == "vanilla" else 0.03)


def test_without_a_kernel_the_fused_cell_runs_in_the_parameters_precision(monkeypatch):
    monkeypatch.setattr(module, "fused_kernel_runs", lambda dtype: False)
    lstm = LSTM(3, 4, 2, cell="fused")
    x = torch.randn(6, 2, 3)
    exact = run(lstm, x)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(lstm, x)
        assert torch.is_autocast_enabled("cpu")
        assert lstm(x.bfloat16())[0].dtype == torch.float32
    assert_same(found, exact, rtol=0.0, atol=0.0)


AUTOCAST = """
import torch
from pipeline.detectors.lstm.layer import LSTM, fused_kernel_runs
torch.manual_seed(0)
drawn = torch.randn(1)
torch.manual_seed(0)
for dtype in (torch.bfloat16, torch.float16):
    print(fused_kernel_runs(dtype))
assert torch.equal(torch.randn(1), drawn)  # trying it out draws no random number
layer = LSTM(16, 32, 2, cell="fused")
for dtype in (torch.bfloat16, torch.float16):
    with torch.autocast("cpu", dtype):
        output, _ = layer(torch.randn(40, 8, 16))
        output.float().square().sum().backward()
assert all(p.grad.isfinite().all() for p in layer.parameters())
"""


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "DEFAULT"])
def test_the_fused_cell_runs_under_autocast_on_any_processor(instructions):
    told = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-c", AUTOCAST]
    done = subprocess.run(command, cwd=PROJECT, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if instructions != "DEFAULT":
        assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("cell", OURS)
def test_autocast_keeps_the_state_in_full_precision(cell):
    layer = LSTM(3, 4, 2, cell=cell)
    x = torch.randn(5, 2, 3, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output, state = layer(x, (torch.zeros(2, 2, 4, dtype=torch.bfloat16), torch.zeros(2, 2, 4)))
    assert {t.dtype for t in (output, *state)} == {torch.float32}
    output.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_parameters(cell):
    torch.manual_seed(0)
    layer = LSTM(3, 4, cell=cell, dtype=torch.bfloat16)
    x = torch.randn(6, 2, 3, dtype=torch.bfloat16)
    output, _ = layer(x)
    output.float().square().sum().backward()
    exact, _ = layer.double()(x.double())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.double(), exact, rtol=0, atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates_stay_finite(cell, dtype):
    torch.manual_seed(0)
    layer = LSTM(3, 8, 2, cell=cell, dtype=dtype)
    x = 1e4 * torch.randn(50, 4, 3, dtype=dtype).sign()
    results, grads = run(layer, x)
    for value in (*results, *grads.values()):
        assert value.isfinite().all()
    assert results[0].abs().max() <= 1
