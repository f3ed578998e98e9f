"""The LSTM layer's options, what it shows of itself, and what it says to mistakes."""

from __future__ import annotations

import pytest
import torch

from pipeline.detectors.lstm.cell import GATES
from pipeline.detectors.lstm.layer import LSTM
from tests.test_lstm import CELLS, EXACT, double, randn

# --- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["standard", "peephole", "coupled", "fused"])
def test_forget_bias_is_in_one_of_the_two(cell):
    layer = LSTM(3, 4, 2, cell=cell, forget_bias=1.5)
    start = 4 * GATES[cell].index("f")
    for k in range(2):
        ours, other = layer.get_parameter(f"bias_ih_l{k}"), layer.get_parameter(f"bias_hh_l{k}")
        assert (ours[start : start + 4] == 1.5).all()
        assert (other[start : start + 4] == 0).all()
        rest = [i for i in range(len(ours)) if not start <= i < start + 4]
        assert (ours[rest] != 1.5).all()
        assert (other[rest] != 0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_initial_range(cell):
    torch.manual_seed(0)
    usual = torch.cat([p.flatten() for p in LSTM(40, 100, cell=cell).parameters()])
    asked = torch.cat([p.flatten() for p in LSTM(40, 100, cell=cell, init_range=0.3).parameters()])
    assert 0.099 < usual.abs().max() <= 0.1
    assert 0.299 < asked.abs().max() <= 0.3


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_between_layers_and_in_training_only(cell):
    torch.manual_seed(0)
    layer = LSTM(3, 4, 2, dropout=0.5, cell=cell)
    x = torch.randn(6, 2, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert (layer(x)[0] != 0).all()  # nothing is dropped after the last layer
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
    without = LSTM(3, 4, 2, cell=cell)
    without.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], without(x)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_dropping_all_leaves_the_second_layer_nothing(cell):
    torch.manual_seed(0)
    layer = LSTM(4, 4, 2, dropout=1.0, cell=cell)
    second = LSTM(4, 4, cell=cell)
    second.load_state_dict(
        {k[:-1] + "0": v for k, v in layer.state_dict().items() if k.endswith("1")}
    )
    x = torch.randn(6, 2, 4)
    torch.testing.assert_close(layer(x)[0], second(torch.zeros(6, 2, 4))[0])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gate_activations_are_what_the_output_is_made_of(cell, batch_first):
    torch.manual_seed(0)
    layer = double(3, 4, 2, batch_first=batch_first, cell=cell)
    x, hx = randn(7, 2, 3), (randn(2, 7 if batch_first else 2, 4),) * 2
    hx = (hx[0], randn(*hx[1].shape))
    found = layer.gate_activations(x, hx)
    names = set(GATES[cell]) | {"c", "h"} | ({"i"} if cell == "coupled" else set())
    assert set(found) == {f"{name}_l{k}" for name in names for k in range(2)}
    output, (_, c_n) = layer(x, hx)
    torch.testing.assert_close(found["h_l1"], output.detach(), **EXACT)
    time = 1 if batch_first else 0
    for k in range(2):
        inside = {n: found[f"{n}_l{k}"].movedim(time, 0) for n in names}
        c = torch.cat([hx[1][k][None], inside["c"][:-1]])
        f = inside.get("f", torch.ones_like(c))
        torch.testing.assert_close(inside["c"], f * c + inside["i"] * inside["g"], **EXACT)
        torch.testing.assert_close(inside["h"], inside["o"] * inside["c"].tanh(), **EXACT)
        torch.testing.assert_close(inside["c"][-1], c_n[k].detach(), **EXACT)
    assert layer.gate_activations(x[0])["c_l0"].shape == (x.shape[1], 4)


def test_says_what_it_is():
    layer = LSTM(3, 4, 2, cell="peephole", dropout=0.25)
    assert repr(layer) == "LSTM(3, 4, num_layers=2, dropout=0.25, cell='peephole')"
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (3, 4, 2)


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cell": "gru"}, ValueError, "cell must be one of standard, .*fused, got 'gru'"),
        ({"input_size": 0}, ValueError, "input_size must be greater than zero, got 0"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size should be of type int, got: float"),
        ({"num_layers": 0}, ValueError, "num_layers must be greater than zero"),
        ({"dropout": 1.5}, ValueError, r"dropout should be a number in range \[0, 1\], got 1.5"),
        ({"cell": "vanilla", "forget_bias": 1.0}, ValueError, "vanilla cell has no forget gate"),
        ({"bias": False, "forget_bias": 1.0}, ValueError, "no biases"),
        ({"init_range": -1.0}, ValueError, "init_range must not be negative"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        LSTM(**({"input_size": 3, "hidden_size": 4} | options))


def test_useless_dropout_is_told():
    with pytest.warns(UserWarning, match="acts between layers"):
        LSTM(3, 4, dropout=0.5)


X = torch.zeros(5, 2, 3)
H = torch.zeros(1, 2, 4)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("x", "hx", "error", "message"),
    [
        (X[0, 0], None, ValueError, "Expected input to be 2D or 3D, got 1D"),
        (X[None], None, ValueError, "Expected input to be 2D or 3D, got 4D"),
        (X[..., :2], None, ValueError, "must be equal to input_size. Expected 3, got 2"),
        (X[:0], None, ValueError, "sequence length to be larger than 0"),
        (X.double(), None, ValueError, "input dtype .*float64.* does not match weight dtype"),
        (X.long(), None, ValueError, "input dtype .*int64.* does not match weight dtype"),
        (X.to("meta"), None, RuntimeError, "not at the same device, found input at meta"),
        (X.numpy(), None, TypeError, "input must be a Tensor, got ndarray"),
        (X, H, TypeError, "hx must be a pair"),
        (X, (H, None), TypeError, "hx must be a pair"),
        (X, (H[0], H[0]), ValueError, r"Expected h_0 size \(1, 2, 4\), got \(2, 4\)"),
        (X, (H, H[..., :3]), ValueError, r"Expected c_0 size \(1, 2, 4\), got \(1, 2, 3\)"),
        (X[:, 0], (H, H), ValueError, r"Expected h_0 size \(1, 4\), got \(1, 2, 4\)"),
        (X, (H, H.double()), ValueError, "c_0 dtype .*float64.* does not match weight dtype"),
        (X, (H.to("meta"), H), RuntimeError, "found h_0 at meta"),
    ],
)
def test_wrong_arguments(cell, x, hx, error, message):
    with pytest.raises(error, match=message) as caught:
        LSTM(3, 4, cell=cell)(x, hx)
    assert "\n" not in str(caught.value)


def test_integers_are_refused_under_autocast_too():
    layer = LSTM(3, 4)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match=r"input dtype .*int64"),
    ):
        layer(X.long())
