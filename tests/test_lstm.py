"""The LSTM layer against torch.nn.LSTM, against ONNX's operator, and against its equations."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.detectors.lstm import autograd
from pipeline.detectors.lstm.autograd import BLOCK
from pipeline.detectors.lstm.cell import GATES, equations
from pipeline.detectors.lstm.layer import LSTM, layer_weights

pytestmark = pytest.mark.slow

CELLS = list(GATES)
OURS = [cell for cell in CELLS if cell != "fused"]
EXACT = {"rtol": 0.0, "atol": 1e-12}


def randn(*shape: int, grad: bool = False) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def double(*sizes: int, **options) -> LSTM:
    return LSTM(*sizes, **options, dtype=torch.float64)


def run(layer, x, hx=None, weights=None):
    """Outputs, both states, and the gradients of a loss that weighs all of them."""
    layer.zero_grad()
    x = x.detach().requires_grad_()
    hx = None if hx is None else tuple(s.detach().requires_grad_() for s in hx)
    output, (h, c) = layer(x, hx)
    results = [output, h, c]
    weights = weights or [torch.linspace(-1, 1, r.numel()).to(r).view(r.shape) for r in results]
    sum((w * r).sum() for w, r in zip(weights, results, strict=True)).backward()
    grads = {name: p.grad.clone() for name, p in layer.named_parameters()}
    grads["input"] = x.grad
    if hx is not None:
        grads["h_0"], grads["c_0"] = hx[0].grad, hx[1].grad
    return [r.detach() for r in results], grads


def assert_same(ours, theirs, **tolerance):
    for a, b in zip(ours[0], theirs[0], strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    assert ours[1].keys() == theirs[1].keys()
    for name, grad in ours[1].items():
        torch.testing.assert_close(grad, theirs[1][name], **tolerance, msg=lambda m, n=name: n + m)


def embed(small: LSTM, **gates: torch.Tensor) -> dict[str, torch.Tensor]:
    """The parameters of a small cell as a standard cell's; ``gates`` gives a missing gate's."""
    hidden = small.hidden_size
    state = {}
    for name, value in small.state_dict().items():
        parts = dict(zip(GATES[small.cell], value.split(hidden), strict=True))
        missing = {g: torch.zeros_like(parts["o"]) for g in "ifgo"}
        if name.startswith("bias_ih"):
            missing |= {g: torch.full_like(parts["o"], v) for g, v in gates.items()}
        state[name] = torch.cat([(missing | parts)[g] for g in "ifgo"])
    return state


def test_a_fused_cell_s_weights_are_laid_side_by_side_wherever_they_are_moved(monkeypatch):
    """On a GPU PyTorch does it (tests/test_gpu.py); here it is only seen which weights it gets."""
    laid = []
    monkeypatch.setattr(
        nn.LSTM, "flatten_parameters", lambda lstm: laid.append(list(lstm.parameters()))
    )
    layer = LSTM(3, 4, 2, cell="fused")
    random = torch.get_rng_state()
    for move in (lambda: None, lambda: nn.Sequential(layer).to("cpu"), layer.double):
        move()
        weights = laid[-1]
        laid.clear()
        assert [id(each) for each in weights] == [id(each) for each in layer.parameters()]
    assert torch.equal(torch.get_rng_state(), random)
    LSTM(3, 4, cell="standard").double()
    assert not laid


# --- the standard cell is PyTorch's ----------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 4),
    steps=st.sampled_from([1, 2, 3, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 3]),
    inputs=st.integers(1, 5),
    hidden=st.integers(1, 6),
    layers=st.integers(1, 3),
    bias=st.booleans(),
    batch_first=st.booleans(),
    given_state=st.booleans(),
    strided=st.booleans(),
    unbatched=st.booleans(),
    cell=st.sampled_from(["standard", "fused"]),
    seed=st.integers(0, 10**6),
)
def test_standard_and_fused_equal_torch(
    batch,
    steps,
    inputs,
    hidden,
    layers,
    bias,
    batch_first,
    given_state,
    strided,
    unbatched,
    cell,
    seed,
):
    torch.manual_seed(seed)
    theirs = nn.LSTM(inputs, hidden, layers, bias, batch_first).double()
    ours = double(inputs, hidden, layers, bias, batch_first, cell=cell)
    ours.load_state_dict(theirs.state_dict())
    middle = () if unbatched else (batch,)
    shape = (*middle, steps, inputs) if batch_first else (steps, *middle, inputs)
    x = randn(*shape)
    if strided:
        x = randn(*shape[:-1], 2 * inputs)[..., ::2]
    hx = (randn(layers, *middle, hidden), randn(layers, *middle, hidden)) if given_state else None
    assert_same(run(ours, x, hx), run(theirs, x, hx), **EXACT)


def test_non_contiguous_input_state_and_gradient():
    torch.manual_seed(0)
    theirs = nn.LSTM(3, 4, 2).double()
    ours = double(3, 4, 2)
    ours.load_state_dict(theirs.state_dict())
    x = randn(3, 5, 9).permute(2, 1, 0)
    hx = tuple(randn(4, 5, 2).permute(2, 1, 0) for _ in range(2))
    weights = [randn(4, 5, 9).permute(2, 1, 0), *(randn(4, 5, 2).permute(2, 1, 0),) * 2]
    assert not any(t.is_contiguous() for t in (x, *hx, *weights))
    assert_same(run(ours, x, hx, weights), run(theirs, x, hx, weights), **EXACT)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_gradient_of_one_result_alone(used):
    torch.manual_seed(0)
    theirs = nn.LSTM(3, 4, 2).double()
    ours = double(3, 4, 2)
    ours.load_state_dict(theirs.state_dict())
    x = randn(6, 2, 3)
    grads = []
    for layer in (ours, theirs):
        output, (h, c) = layer(x)
        grads.append(torch.autograd.grad((output, h, c)[used].sum(), layer.parameters()))
    torch.testing.assert_close(*grads, **EXACT)


def test_parameters_start_as_torch_s():
    torch.manual_seed(1)
    theirs = nn.LSTM(3, 4, 2).state_dict()
    torch.manual_seed(1)
    ours = LSTM(3, 4, 2).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("cell", ["standard", "fused"])
def test_state_dict_goes_both_ways(cell):
    torch.manual_seed(0)
    x = torch.randn(5, 2, 3)
    ours, theirs = LSTM(3, 4, 2, cell=cell), nn.LSTM(3, 4, 2)
    assert not torch.allclose(ours(x)[0], theirs(x)[0])
    theirs.load_state_dict(ours.state_dict(), strict=True)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    back = LSTM(3, 4, 2, cell=cell)
    back.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(back(x)[0], theirs(x)[0])


# --- gradients -------------------------------------------------------------------------------


def as_function(layer: LSTM):
    names = [name for name, _ in layer.named_parameters()]

    def call(x, h, c, *values):
        parameters = dict(zip(names, values, strict=True))
        output, states = torch.func.functional_call(layer, parameters, (x, (h, c)))
        return output, *states

    return call


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck(cell, bias):
    torch.manual_seed(0)
    layer = double(2, 3, 2, bias, cell=cell)
    inputs = (randn(4, 2, 2, grad=True), randn(2, 2, 3, grad=True), randn(2, 2, 3, grad=True))
    assert torch.autograd.gradcheck(as_function(layer), (*inputs, *layer.parameters()))


@pytest.mark.parametrize("cell", OURS)
def test_gradgradcheck(cell):
    torch.manual_seed(0)
    layer = double(2, 2, 1, cell=cell)
    inputs = (randn(3, 1, 2, grad=True), randn(1, 1, 2, grad=True), randn(1, 1, 2, grad=True))
    assert torch.autograd.gradgradcheck(as_function(layer), (*inputs, *layer.parameters()))


@pytest.mark.parametrize("cell", OURS)
def test_fast_pass_equals_the_equations(cell):
    torch.manual_seed(0)
    layer = double(3, 4, cell=cell)
    x, h, c = randn(2 * BLOCK + 5, 2, 3, grad=True), randn(2, 4, grad=True), randn(2, 4, grad=True)
    fast = layer(x, (h[None], c[None]))
    plain = equations(cell, x, *layer_weights(layer, 0), h, c)
    results = []
    for output, h_n, c_n in ((fast[0], fast[1][0][0], fast[1][1][0]), plain):
        loss = output.square().sum() + h_n.sum() - (3 * c_n).cos().sum()
        grads = torch.autograd.grad(loss, (x, h, c, *layer.parameters()))
        results.append((output, h_n, c_n, *grads))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", OURS)
def test_first_gradient_takes_the_fast_pass_only(cell, monkeypatch):
    def refuse(*_):
        raise AssertionError("the slow path")

    monkeypatch.setattr(autograd, "equations", refuse)
    layer = LSTM(2, 3, cell=cell)
    layer(torch.randn(4, 2, 2))[0].sum().backward()
    loss = layer(torch.randn(4, 2, 2))[0].sum()
    with pytest.raises(AssertionError, match="slow path"):
        torch.autograd.grad(loss, layer.parameters(), create_graph=True)


def test_frozen_weights_and_repeated_backward():
    torch.manual_seed(0)
    layer = double(2, 3)
    x = randn(4, 2, 2, grad=True)
    loss = layer(x)[0].square().sum()
    (full,) = torch.autograd.grad(loss, x, retain_graph=True)
    (again,) = torch.autograd.grad(loss, x)
    layer.requires_grad_(False)
    (frozen,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
    assert torch.equal(full, again)
    assert torch.equal(full, frozen)
    assert not layer(x.detach())[0].requires_grad


def test_changing_the_output_in_place_is_noticed():
    layer = LSTM(2, 3)
    output, _ = layer(torch.randn(4, 2, 2))
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


# --- the other cells -------------------------------------------------------------------------


def test_peephole_of_zero_is_standard():
    torch.manual_seed(0)
    peephole, standard = double(3, 4, 2, cell="peephole"), double(3, 4, 2)
    for layer in range(2):
        peephole.get_parameter(f"weight_peep_l{layer}").data.zero_()
    shared = {k: v for k, v in peephole.state_dict().items() if "peep" not in k}
    standard.load_state_dict(shared)
    x, hx = randn(9, 2, 3), (randn(2, 2, 4), randn(2, 2, 4))
    ours, theirs = run(peephole, x, hx), run(standard, x, hx)
    for layer in range(2):
        assert ours[1].pop(f"weight_peep_l{layer}").abs().max() > 1e-3
    assert_same(ours, theirs, **EXACT)


@pytest.mark.parametrize("cell", ["peephole", "standard"])
def test_equals_onnx(cell):
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 7, 3, 4, 5
    layer = double(inputs, hidden, cell=cell, init_range=1.0)
    x, h, c = randn(steps, batch, inputs), randn(1, batch, hidden), randn(1, batch, hidden)

    def stacked(name, order):  # ours is i, f, g, o; ONNX wants i, o, f, c
        parts = dict(zip("ifgo", layer.get_parameter(name).detach().split(hidden), strict=False))
        return torch.cat([parts[gate] for gate in order])[None].numpy()

    bias = np.concatenate([stacked("bias_ih_l0", "iofg"), stacked("bias_hh_l0", "iofg")], axis=1)
    feeds = {
        "X": x.numpy(),
        "W": stacked("weight_ih_l0", "iofg"),
        "R": stacked("weight_hh_l0", "iofg"),
        "B": bias,
        "h": h.numpy(),
        "c": c.numpy(),
        "P": np.zeros((1, 3 * hidden)),
    }
    if cell == "peephole":
        i, f, o = layer.weight_peep_l0.detach().numpy().reshape(3, hidden)
        feeds["P"] = np.concatenate([i, o, f])[None]
    node = onnx.helper.make_node(
        "LSTM", ["X", "W", "R", "B", "", "h", "c", "P"], ["Y", "Y_h", "Y_c"], hidden_size=hidden
    )
    kind = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [onnx.helper.make_tensor_value_info(k, kind, v.shape) for k, v in feeds.items()],
        [onnx.helper.make_tensor_value_info(k, kind, None) for k in ("Y", "Y_h", "Y_c")],
    )
    theirs = onnx.reference.ReferenceEvaluator(onnx.helper.make_model(graph)).run(None, feeds)
    output, (h_n, c_n) = layer(x, (h, c))
    for a, b in zip((output, h_n, c_n), theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.reshape(a.shape), rtol=0, atol=1e-12)


def test_coupled_is_a_loop_with_i_tied_to_f():
    torch.manual_seed(0)
    layer = double(3, 4, cell="coupled")
    x, h, c = randn(8, 2, 3), randn(2, 4), randn(2, 4)
    output, _ = layer(x, (h[None], c[None]))
    for t, x_t in enumerate(x):
        z = x_t @ layer.weight_ih_l0.T + h @ layer.weight_hh_l0.T
        z = z + layer.bias_ih_l0 + layer.bias_hh_l0
        i = 1 - torch.sigmoid(z[:, 0:4])
        f = 1 - i
        c = f * c + i * torch.tanh(z[:, 4:8])
        h = torch.sigmoid(z[:, 8:12]) * torch.tanh(c)
        torch.testing.assert_close(output[t], h, **EXACT)


def test_vanilla_is_standard_with_an_open_forget_gate():
    torch.manual_seed(0)
    vanilla, standard = double(3, 4, 2, cell="vanilla"), double(3, 4, 2)
    standard.load_state_dict(embed(vanilla, f=1e3))  # sigmoid(1000) is 1
    x, hx = randn(9, 2, 3), (randn(2, 2, 4), randn(2, 2, 4))
    ours, theirs = run(vanilla, x, hx), run(standard, x, hx)
    for name in vanilla.state_dict():
        i, f, g, o = theirs[1][name].split(4)
        assert not f.any()
        theirs[1][name] = torch.cat([i, g, o])
    assert_same(ours, theirs, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_carousel_keeps_the_gradient_exactly(dtype):
    """Without the detour over h, dc_t by dc_0 is 1 to the last bit, over any number of steps."""
    torch.manual_seed(0)
    slopes = {}
    for cell in ("vanilla", "standard"):
        layer = LSTM(3, 4, cell=cell, dtype=dtype)
        layer.weight_hh_l0.data.zero_()
        state = torch.randn(1, 2, 4, dtype=dtype, requires_grad=True)
        _, (_, c) = layer(torch.randn(300, 2, 3, dtype=dtype), (torch.zeros_like(state), state))
        (slopes[cell],) = torch.autograd.grad(c.sum(), state)
    assert torch.equal(slopes["vanilla"], torch.ones_like(slopes["vanilla"]))
    assert slopes["standard"].abs().max() < 1e-20


# --- time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_causal_to_the_last_bit(cell):
    torch.manual_seed(0)
    layer = LSTM(5, 8, 2, cell=cell)
    x = torch.randn(50, 3, 5)
    before, _ = layer(x)
    for t in (0, 1, 24, 48):
        changed = x.clone()
        changed[t + 1 :] = 100 * torch.randn_like(changed[t + 1 :])
        after, _ = layer(changed)
        assert torch.equal(before[: t + 1], after[: t + 1])
        assert not torch.equal(before[t + 1], after[t + 1])


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_with_carried_state_are_the_whole(cell):
    torch.manual_seed(0)
    layer = double(3, 4, 2, cell=cell)
    x = randn(BLOCK + 30, 2, 3)
    whole, (h, c) = layer(x)
    expected = torch.autograd.grad(whole.square().sum() + c.sum(), layer.parameters())
    state, pieces = None, []
    for chunk in x.split([1, 40, BLOCK - 41, 30]):
        output, state = layer(chunk, state)
        pieces.append(output)
    joined = torch.cat(pieces)
    torch.testing.assert_close((joined, *state), (whole, h, c), **EXACT)
    found = torch.autograd.grad(joined.square().sum() + state[1].sum(), layer.parameters())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_within_a_chunk(cell):
    """With the carried state detached, a chunk's gradient is that of the chunk alone."""
    torch.manual_seed(0)
    layer = double(3, 4, 2, cell=cell)
    x = randn(20, 2, 3, grad=True)
    _, state = layer(x[:12])
    state = tuple(s.detach() for s in state)
    output, _ = layer(x[12:], state)
    (found,) = torch.autograd.grad(output.sum(), x)
    assert not found[:12].any()
    assert found[12:].any(dim=(1, 2)).all()
    (whole,) = torch.autograd.grad(layer(x)[0][12:].sum(), x)
    torch.testing.assert_close(found[12:], whole[12:], **EXACT)
    assert whole[:12].any()
