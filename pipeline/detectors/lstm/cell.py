r"""A long short-term memory layer, written out from its equations.

A recurrent net holds no magic: it is a feed-forward step that is also fed its own last output,

.. math:: h_t = \tanh(W x_t + U h_{t-1} + b) .

Going back through time its gradient is multiplied by :math:`U` and by a slope below 1 at every
step, so it vanishes. The LSTM adds a second state, :math:`c_t`, which is updated by *addition*,
and gates, which decide what is added, kept and shown. `LSTM` states the equations of each cell;
`equations` is the same thing in code, one line a formula; `_advance` and `_retreat` are the fast
forward and backward passes, which do exactly that with no allocation in their loops.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import _VF, Tensor, nn
from torch.nn import functional as F

State = tuple[Tensor, Tensor]

# The gates of each cell in the order in which the weights are stacked: PyTorch's.
# All but the last act on the new state c_t; the last, o, acts on the output only.
GATES = {
    "standard": "ifgo",
    "vanilla": "igo",
    "peephole": "ifgo",
    "coupled": "fgo",
    "fused": "ifgo",
}


BLOCK = 64  # steps that the backward pass takes at a time


def equations(
    cell: str,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    peep: Tensor | None,
    h: Tensor,
    c: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer as its formulas stand, leaving the gradient to PyTorch.

    It is here to be read, and it is what a second derivative goes through. `LSTM` computes the
    same several times faster.

    Parameters
    ----------
    cell : str
        A key of `GATES`.
    x : Tensor, shape (L, B, I)
        Input.
    weight_ih, weight_hh : Tensor, shapes (G*H, I) and (G*H, H)
        W and U of the G gates, stacked in the order of ``GATES[cell]``.
    bias : Tensor, shape (G*H,), optional
        The sum of the two bias vectors.
    peep : Tensor, shape (3*H,), optional
        Peephole weights of i, f and o.
    h, c : Tensor, shape (B, H)
        Output and state before the first step.

    Returns
    -------
    output, h_n, c_n : Tensor, shapes (L, B, H), (B, H), (B, H)
    """
    output = []
    if peep is not None:
        p_i, p_f, p_o = peep.chunk(3)
    for x_t in x.unbind(0):
        z = F.linear(x_t, weight_ih, bias) + F.linear(h, weight_hh)
        z = z.to(c.dtype)
        if cell == "vanilla":
            i, g, o = z.chunk(3, -1)
            c = c + i.sigmoid() * g.tanh()
            o = o.sigmoid()
        elif cell == "coupled":
            f, g, o = z.chunk(3, -1)
            f = f.sigmoid()
            c = f * c + (1 - f) * g.tanh()
            o = o.sigmoid()
        elif cell == "peephole":
            i, f, g, o = z.chunk(4, -1)
            i, f = (i + p_i * c).sigmoid(), (f + p_f * c).sigmoid()
            c = f * c + i * g.tanh()
            o = (o + p_o * c).sigmoid()
        else:
            i, f, g, o = z.chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            o = o.sigmoid()
        h = o * c.tanh()
        output.append(h)
    return torch.stack(output), h, c


def _gates(cell: str, z: Tensor) -> dict[str, Tensor]:
    """Return views of the stacked gates: each (L, B, H)."""
    names = GATES[cell]
    return dict(zip(names, z.chunk(len(names), -1), strict=True))


def _advance(
    cell: str, z: Tensor, weight_hh: Tensor, peep: Tensor | None, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Go forward through time.

    ``z`` (L, B, G*H) comes in as ``W x + b`` of all steps, and is left holding the gates. Returns
    h_1 ... h_L, c_0 ... c_L and tanh(c_1) ... tanh(c_L), time first.
    """
    steps, batch, width = z.shape
    hidden = h.shape[-1]
    hs = z.new_empty(steps, batch, hidden)
    cs = z.new_empty(steps + 1, batch, hidden)
    tanh_cs = torch.empty_like(hs)
    cs[0] = c
    c = cs[0]
    recurrent = weight_hh.t().contiguous()  # so laid out, small products take half the time
    gate = {name: view.unbind(0) for name, view in _gates(cell, z).items()}
    # Neighbouring sigmoid gates are squashed by one call.
    squash = z[..., : width - 2 * hidden].unbind(0)  # i and f, or the only one of them
    p_if = p_o = None
    if peep is not None:
        p_if = peep[: 2 * hidden].view(2, hidden)
        p_o = peep[2 * hidden :]
    outputs = (hs.unbind(0), cs[1:].unbind(0), tanh_cs.unbind(0))
    loop = zip(z.unbind(0), squash, gate["g"], gate["o"], *outputs, strict=True)
    for t, (z_t, s_t, g, o, h_t, c_t, tanh_c) in enumerate(loop):
        torch.addmm(z_t, h, recurrent, out=z_t)
        if p_if is not None:
            s_t.view(batch, 2, hidden).addcmul_(p_if, c.unsqueeze(1))
        s_t.sigmoid_()
        g.tanh_()
        if cell == "vanilla":
            torch.addcmul(c, s_t, g, out=c_t)  # c + i g
        elif cell == "coupled":
            torch.lerp(g, c, s_t, out=c_t)  # f c + (1 - f) g
        else:
            torch.mul(gate["f"][t], c, out=c_t)
            c_t.addcmul_(gate["i"][t], g)  # f c + i g
        if p_o is not None:
            o.addcmul_(p_o, c_t)
        o.sigmoid_()
        torch.tanh(c_t, out=tanh_c)
        torch.mul(o, tanh_c, out=h_t)
        h, c = h_t, c_t
    return hs, cs, tanh_cs


def _retreat(
    cell: str,
    z: Tensor,
    cs: Tensor,
    tanh_cs: Tensor,
    weight_hh: Tensor,
    peep: Tensor | None,
    d_hs: Tensor | None,
    dh: Tensor,
    dc: Tensor,
) -> Tensor:
    """Go back through some steps: return the gradient by every gate's argument, (L, B, G*H).

    ``dh`` and ``dc`` come in as what later steps ask of the last output and state, and are left
    holding what these steps ask of the state before them. The chain rule is the same for all the
    cells; each step is ::

        dh += d_hs[t]                          what the output itself is asked for
        dc += dh * through                     through = dc_t by dh_t
        dz  = (factor * dc, factor_o * dh)     the gates before o act on c_t, o on h_t
        dc  = dc * keep                        keep = dc_t by dc_{t-1}: the carousel
        dh  = dz U

    and the cells differ in the factors only. Those depend on nothing that is found on the way, so
    they are computed for all the steps at once.
    """
    steps, _, width = z.shape
    hidden = weight_hh.shape[-1]
    gate = _gates(cell, z)
    dz = torch.empty_like(z)  # holds the factors until the loop multiplies them in place
    factor = _gates(cell, dz)
    g, o, c_before = gate["g"], gate["o"], cs[:-1]

    _sigmoid_slope(tanh_cs, o, factor["o"])
    if cell == "coupled":
        _sigmoid_slope(c_before - g, gate["f"], factor["f"])
        _tanh_slope(1 - gate["f"], g, factor["g"])
    else:
        _sigmoid_slope(g, gate["i"], factor["i"])
        _tanh_slope(gate["i"], g, factor["g"])
        if cell != "vanilla":
            _sigmoid_slope(c_before, gate["f"], factor["f"])
    through = torch.empty_like(tanh_cs)
    _tanh_slope(o, tanh_cs, through)
    keep = gate.get("f")
    if peep is not None and keep is not None:
        p_i, p_f, p_o = peep.chunk(3)
        through.addcmul_(factor["o"], p_o)
        keep = torch.addcmul(keep, factor["i"], p_i).addcmul_(factor["f"], p_f)

    to_state = dz[..., : width - hidden].unflatten(-1, (-1, hidden))
    dc_wide = dc.unsqueeze(1)
    keep_t = None if keep is None else keep.unbind(0)
    d_hs_t = None if d_hs is None else d_hs.unbind(0)
    rows = (dz.unbind(0), to_state.unbind(0), factor["o"].unbind(0), through.unbind(0))
    loop = list(zip(*rows, strict=True))
    if d_hs_t is not None:
        dh += d_hs_t[-1]
    for t in range(steps - 1, -1, -1):
        dz_t, to_state_t, to_output_t, through_t = loop[t]
        dc.addcmul_(dh, through_t)
        to_state_t.mul_(dc_wide)
        to_output_t.mul_(dh)
        if keep_t is not None:
            dc.mul_(keep_t[t])
        if t and d_hs_t is not None:
            torch.addmm(d_hs_t[t - 1], dz_t, weight_hh, out=dh)
        else:
            torch.mm(dz_t, weight_hh, out=dh)
    return dz


def _sigmoid_slope(grad: Tensor, y: Tensor, out: Tensor) -> None:
    """Write ``grad * y * (1 - y)``: the gradient through ``y = sigmoid(z)``."""
    torch.ops.aten.sigmoid_backward.grad_input(grad, y, grad_input=out)


def _tanh_slope(grad: Tensor, y: Tensor, out: Tensor) -> None:
    """Write ``grad * (1 - y * y)``: the gradient through ``y = tanh(z)``."""
    torch.ops.aten.tanh_backward.grad_input(grad, y, grad_input=out)


class _Layer(torch.autograd.Function):
    """One layer with a backward pass written by hand; arguments as those of `equations`."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None,
        peep: Tensor | None,
        h: Tensor,
        c: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.cell = cell
        ctx.set_materialize_grads(False)
        z = _transform(x, weight_ih, bias, weight_hh.dtype)
        hs, cs, tanh_cs = _advance(cell, z, weight_hh, peep, h, c)
        ctx.save_for_backward(x, weight_ih, weight_hh, bias, peep, h, c, z, hs, cs, tanh_cs)
        return hs, hs[-1].clone(), cs[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight_ih, weight_hh, bias, peep, h, c, z, hs, cs, tanh_cs = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated too
            return (None, *_differentiable(ctx, (x, weight_ih, weight_hh, bias, peep, h, c), grads))
        d_hs, d_h, d_c = grads
        dh, dc = torch.zeros_like(cs[:2])
        if d_h is not None:
            dh += d_h
        if d_c is not None:
            dc += d_c
        sums = (weight_ih, weight_hh, bias, peep)
        d_ih, d_hh, d_bias, d_peep = (
            torch.zeros_like(weight) if need else None
            for weight, need in zip(sums, ctx.needs_input_grad[2:6], strict=True)
        )
        d_x = weight_ih.new_empty(x.shape) if ctx.needs_input_grad[1] else None
        # A block of steps at a time, so that what is computed here stays in the cache.
        for start in range((len(z) - 1) // BLOCK * BLOCK, -1, -BLOCK):
            steps = slice(start, min(start + BLOCK, len(z)))
            states = cs[start : steps.stop + 1]
            d_out = None if d_hs is None else d_hs[steps]
            dz = _retreat(
                ctx.cell, z[steps], states, tanh_cs[steps], weight_hh, peep, d_out, dh, dc
            )
            flat = dz.flatten(0, 1)
            if d_x is not None:
                torch.mm(flat, weight_ih, out=d_x[steps].flatten(0, 1))
            if d_ih is not None:
                d_ih.addmm_(flat.t(), x[steps].reshape(len(flat), -1).to(flat.dtype))
            if d_hh is not None:
                first = h if start == 0 else hs[start - 1]
                d_hh.addmm_(dz[0].t(), first)
                d_hh.addmm_(dz[1:].flatten(0, 1).t(), hs[start : steps.stop - 1].flatten(0, 1))
            if d_bias is not None:
                d_bias += flat.sum(0)
            if d_peep is not None:
                d = _gates(ctx.cell, dz)
                seen = {"i": states[:-1], "f": states[:-1], "o": states[1:]}
                d_peep += torch.cat([(d[name] * seen[name]).sum((0, 1)) for name in "ifo"])
        return None, d_x, d_ih, d_hh, d_bias, d_peep, dh, dc


def _transform(x: Tensor, weight_ih: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``W x + b`` of all steps in one product; a new (L, B, G*H) tensor of the given dtype."""
    z = F.linear(x.reshape(-1, x.shape[-1]), weight_ih, bias)
    return z.view(*x.shape[:-1], len(weight_ih)).to(dtype)


def _differentiable(ctx: Any, inputs: tuple[Any, ...], grads: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the gradients as PyTorch derives them from `equations`, so that they have some too."""
    wanted = [t for t, need in zip(inputs, ctx.needs_input_grad[1:], strict=True) if need]
    outputs = equations(ctx.cell, *inputs)
    pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
    found = iter(
        torch.autograd.grad(
            [out for out, _ in pairs],
            wanted,
            [grad for _, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    for need in ctx.needs_input_grad[1:]:
        yield next(found) if need else None


@functools.cache
def _layer(device_type: str) -> Any:
    """`_Layer` for one kind of device: its backward pass runs under the autocast of its forward."""
    forward = torch.amp.custom_fwd(_Layer.forward, device_type=device_type)
    backward = torch.amp.custom_bwd(_Layer.backward, device_type=device_type)
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("_Layer", (_Layer,), members)


class LSTM(nn.Module):
    r"""A long short-term memory layer with the interface of `torch.nn.LSTM` and five cells.

    With :math:`\sigma` the logistic function and :math:`\odot` the product element by element,
    the ``standard`` cell [2]_ has three gates, an input transform, an additive update and a gated
    output:

    .. math::

        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i)  && \text{input gate: what is let in} \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f)  && \text{forget gate: what is kept} \\
        g_t &= \tanh (W_g x_t + U_g h_{t-1} + b_g)  && \text{input transform} \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o)  && \text{output gate: what is shown} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t    && \text{state} \\
        h_t &= o_t \odot \tanh(c_t)                 && \text{output}

    The others change single lines of it:

    ``vanilla``
        The cell of 1997 [1]_, without a forget gate: :math:`c_t = c_{t-1} + i_t \odot g_t`. Its
        state is fed back with a constant weight of 1, the constant error carousel.
    ``peephole``
        The gates see the state [3]_: :math:`p_i \odot c_{t-1}`, :math:`p_f \odot c_{t-1}` and
        :math:`p_o \odot c_t` are added to the arguments of i, f and o.
    ``coupled``
        What is forgotten is replaced [4]_: :math:`c_t = f_t \odot c_{t-1} + (1 - f_t) \odot g_t`.
    ``fused``
        The standard cell, computed by PyTorch's own kernel.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H: the widths of the input and of the state.
    num_layers : int
        Layers; each reads the output of the one before it.
    bias : bool
        Whether the gates have biases (two vectors a gate, which add up, as in PyTorch).
    batch_first : bool
        Whether input and output are (B, L, ...) rather than (L, B, ...). States never are.
    dropout : float
        Share of the outputs set to zero between layers, in training.
    cell : {"standard", "vanilla", "peephole", "coupled", "fused"}
        Which equations.
    forget_bias : float, optional
        What the forget gate's bias starts at: positive values make the cell remember at first.
        It is put into ``bias_ih``; the forget part of ``bias_hh`` is set to zero, so that the sum
        is what was asked for. By default both are drawn like the rest.
    init_range : float, optional
        All parameters are drawn from U(-init_range, init_range); by default, as PyTorch does,
        from U(-1/sqrt(H), 1/sqrt(H)).
    device, dtype : optional
        Of the parameters.

    Attributes
    ----------
    weight_ih_l{k} : Parameter, shape (G*H, I), or (G*H, H) for k > 0
        W of the G gates, in the order of ``GATES[cell]``: i, f, g, o without those a cell lacks.
    weight_hh_l{k} : Parameter, shape (G*H, H)
        U of the G gates.
    bias_ih_l{k}, bias_hh_l{k} : Parameter, shape (G*H,)
        Their sum is b.
    weight_peep_l{k} : Parameter, shape (3*H,)
        Peephole weights of i, f and o; only where ``cell="peephole"``.

    Raises
    ------
    ValueError
        An unknown cell, a size below 1, a dropout outside [0, 1], or a forget bias where there is
        no forget gate or no bias.
    TypeError
        A size that is no whole number.

    Notes
    -----
    The ``state_dict`` of the standard and fused cells is that of `torch.nn.LSTM`.

    Under autocast the input transform runs in the lower precision; the recurrence, its state, the
    output and all gradients stay in the parameters' dtype, because rounding errors would add up
    from step to step (`torch.amp.custom_fwd` and ``custom_bwd`` keep that so in a backward pass
    that is called elsewhere). The fused cell does what `torch.nn.LSTM` does. The vanilla cell
    forgets no rounding error: over hundreds of steps its state strays far further than the
    others', and under autocast it may end anywhere.

    Gradients can be differentiated again (``create_graph=True``), slowly: the second derivative
    goes through `equations`.

    References
    ----------
    .. [1] Hochreiter, S. and Schmidhuber, J. (1997). Long short-term memory. Neural Computation
       9(8), 1735-1780.
    .. [2] Gers, F. A., Schmidhuber, J. and Cummins, F. (2000). Learning to forget: continual
       prediction with LSTM. Neural Computation 12(10), 2451-2471.
    .. [3] Gers, F. A. and Schmidhuber, J. (2000). Recurrent nets that time and count. IJCNN 2000,
       vol. 3, 189-194.
    .. [4] Greff, K. et al. (2017). LSTM: a search space odyssey. IEEE Transactions on Neural
       Networks and Learning Systems 28(10), 2222-2232.

    Examples
    --------
    >>> lstm = LSTM(32, 64, batch_first=True)
    >>> output, (h, c) = lstm(torch.zeros(8, 500, 32))
    >>> output.shape, h.shape, c.shape
    (torch.Size([8, 500, 64]), torch.Size([1, 8, 64]), torch.Size([1, 8, 64]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        cell: str = "standard",
        forget_bias: float | None = None,
        init_range: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size < 1:
                raise ValueError(f"{name} must be greater than zero, got {size}")
        if cell not in GATES:
            raise ValueError(f"cell must be one of {', '.join(GATES)}, got {cell!r}")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout should be a number in range [0, 1], got {dropout!r}")
        if forget_bias is not None and "f" not in GATES[cell]:
            raise ValueError(f"forget_bias: the {cell} cell has no forget gate")
        if forget_bias is not None and not bias:
            raise ValueError("forget_bias: the layer has no biases (bias=False)")
        if init_range is not None and not init_range >= 0:
            raise ValueError(f"init_range must not be negative, got {init_range}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout acts between layers, so dropout={dropout} does nothing with num_layers=1",
                stacklevel=2,
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.cell = cell
        self.forget_bias = forget_bias
        self.init_range = init_range

        def register(name: str, *shape: int) -> None:
            empty = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty))

        width = len(GATES[cell]) * hidden_size
        for layer in range(num_layers):
            register(f"weight_ih_l{layer}", width, hidden_size if layer else input_size)
            register(f"weight_hh_l{layer}", width, hidden_size)
            if bias:
                register(f"bias_ih_l{layer}", width)
                register(f"bias_hh_l{layer}", width)
            if cell == "peephole":
                register(f"weight_peep_l{layer}", 3 * hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew; with one seed, the same as `torch.nn.LSTM` draws."""
        bound = 1 / math.sqrt(self.hidden_size) if self.init_range is None else self.init_range
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        if self.forget_bias is None:
            return
        start = GATES[self.cell].index("f") * self.hidden_size
        forget = slice(start, start + self.hidden_size)
        with torch.no_grad():
            for layer in range(self.num_layers):
                self.get_parameter(f"bias_ih_l{layer}")[forget] = self.forget_bias
                self.get_parameter(f"bias_hh_l{layer}")[forget] = 0.0

    def extra_repr(self) -> str:
        """Sizes first, then what differs from the defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "cell": "standard",
            "forget_bias": None,
            "init_range": None,
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

    def _weights(self, layer: int) -> list[Tensor | None]:
        """Return weight_ih, weight_hh, the sum of the biases and the peepholes of a layer."""
        parameters = self._parameters
        bias = None
        if self.bias:
            bias = self.get_parameter(f"bias_ih_l{layer}") + self.get_parameter(f"bias_hh_l{layer}")
        return [
            parameters[f"weight_ih_l{layer}"],
            parameters[f"weight_hh_l{layer}"],
            bias,
            parameters.get(f"weight_peep_l{layer}"),
        ]

    def _prepare(self, x: Tensor, hx: State | None) -> tuple[Tensor, Tensor, Tensor]:
        """Check the arguments; return x as (L, B, I), and both states as (num_layers, B, H)."""
        weight = self.get_parameter("weight_ih_l0")
        if not isinstance(x, Tensor):
            raise TypeError(f"LSTM: input must be a Tensor, got {type(x).__name__}")
        if x.dim() not in (2, 3):
            raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {x.dim()}D instead")
        if x.shape[-1] != self.input_size:
            raise ValueError(
                "input.size(-1) must be equal to input_size."
                f" Expected {self.input_size}, got {x.shape[-1]}"
            )
        batched = x.dim() == 3
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        if len(x) == 0:
            raise ValueError("Expected sequence length to be larger than 0 in LSTM")
        _check_tensor("input", x, weight)
        shape = (self.num_layers, x.shape[1], self.hidden_size)
        if hx is None:
            zeros = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
            return x, zeros, zeros
        pair = isinstance(hx, tuple | list) and len(hx) == 2
        if not pair or not all(isinstance(state, Tensor) for state in hx):
            raise TypeError("LSTM: hx must be a pair of tensors (h_0, c_0)")
        for name, state in zip(("h_0", "c_0"), hx, strict=True):
            _check_tensor(name, state, weight)
            expected = shape if batched else (shape[0], shape[2])
            if tuple(state.shape) != expected:
                raise ValueError(f"Expected {name} size {expected}, got {tuple(state.shape)}")
        h, c = (state if batched else state.unsqueeze(1) for state in hx)
        return x, h.to(weight.dtype), c.to(weight.dtype)

    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """Run over a sequence.

        Parameters
        ----------
        input : Tensor, shape (L, B, I), with ``batch_first`` (B, L, I), or unbatched (L, I)
            The sequence; it need not be contiguous.
        hx : (h_0, c_0), each of shape (num_layers, B, H), or unbatched (num_layers, H), optional
            Output and state before the first step; zeros by default.

        Returns
        -------
        output : Tensor, shape (L, B, H), with ``batch_first`` (B, L, H), or unbatched (L, H)
            The last layer's h_t for every t.
        (h_n, c_n) : tuple of Tensor, shaped like ``hx``
            After the last step: as the next call's ``hx`` they continue the sequence.

        Raises
        ------
        ValueError
            Shapes or dtypes that do not fit the layer, or a sequence of length 0.
        RuntimeError
            Tensors on another device than the parameters.
        TypeError
            An input that is no tensor (packed sequences are not supported), or a state that is
            no pair.
        """
        x, h_0, c_0 = self._prepare(input, hx)
        batched = input.dim() == 3
        if self.cell == "fused":
            output, h_n, c_n = _VF.lstm(
                x,
                (h_0, c_0),
                list(self.parameters()),
                self.bias,
                self.num_layers,
                self.dropout,
                self.training,
                False,
                False,
            )
        else:
            run = _layer(x.device.type).apply
            finals = []
            output = x
            for layer in range(self.num_layers):
                if layer:
                    output = F.dropout(output, self.dropout, self.training)
                output, h, c = run(self.cell, output, *self._weights(layer), h_0[layer], c_0[layer])
                finals.append((h, c))
            h_n, c_n = (torch.stack(states) for states in zip(*finals, strict=True))
        if not batched:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return output.transpose(0, 1) if self.batch_first else output, (h_n, c_n)

    @torch.no_grad()
    def gate_activations(self, x: Tensor, hx: State | None = None) -> dict[str, Tensor]:
        """Look inside: what every gate does at every step.

        Dropout is not applied, and no gradient is recorded.

        Parameters
        ----------
        x, hx
            As in `forward`.

        Returns
        -------
        dict of str to Tensor, each of the output's shape
            For every layer k, ``i_l{k}``, ``f_l{k}``, ``g_l{k}`` and ``o_l{k}`` as far as the cell
            has them (for ``coupled``, i is 1 - f), the state ``c_l{k}`` and the output ``h_l{k}``.

        Raises
        ------
        ValueError, RuntimeError, TypeError
            As in `forward`.
        """
        found: dict[str, Tensor] = {}
        output, h_0, c_0 = self._prepare(x, hx)
        for layer in range(self.num_layers):
            weight_ih, weight_hh, bias, peep = self._weights(layer)
            assert weight_ih is not None
            assert weight_hh is not None
            z = _transform(output, weight_ih, bias, weight_hh.dtype)
            output, cs, _ = _advance(self.cell, z, weight_hh, peep, h_0[layer], c_0[layer])
            inside = _gates(self.cell, z) | {"c": cs[1:], "h": output}
            if self.cell == "coupled":
                inside["i"] = 1 - inside["f"]
            for name, value in inside.items():
                if x.dim() == 2:
                    value = value.squeeze(1)
                elif self.batch_first:
                    value = value.transpose(0, 1)
                found[f"{name}_l{layer}"] = value
        return found


def _check_tensor(name: str, tensor: Tensor, weight: Tensor) -> None:
    """Refuse a tensor on another device, or of another dtype where autocast would not cast it."""
    if tensor.device != weight.device:
        raise RuntimeError(
            "Input and parameter tensors are not at the same device,"
            f" found {name} at {tensor.device} and parameters at {weight.device}"
        )
    autocast = torch.is_autocast_enabled(weight.device.type) and tensor.is_floating_point()
    if tensor.dtype != weight.dtype and not autocast:
        raise ValueError(
            f"LSTM: {name} dtype ({tensor.dtype}) does not match weight dtype ({weight.dtype})"
        )
