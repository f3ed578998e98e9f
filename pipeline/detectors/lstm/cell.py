r"""The equations of the LSTM cells, and fast passes through time that compute exactly them.

A recurrent network is a feed-forward step that is also fed its own last output,

.. math:: h_t = \tanh(W x_t + U h_{t-1} + b) .

Going back through time, its gradient is multiplied by :math:`U` and by a slope below 1 at every
step, so it vanishes. The LSTM adds a second state, :math:`c_t`, which is updated by *addition*,
and gates, which decide what is added, kept and shown.

With :math:`\sigma` the logistic function and :math:`\odot` the product element by element, the
``standard`` cell [2]_ has three gates, an input transform, an additive update and a gated output:

.. math::

    i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i)  && \text{input gate: what is let in} \\
    f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f)  && \text{forget gate: what is kept} \\
    g_t &= \tanh (W_g x_t + U_g h_{t-1} + b_g)  && \text{input transform} \\
    o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o)  && \text{output gate: what is shown} \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t    && \text{state} \\
    h_t &= o_t \odot \tanh(c_t)                 && \text{output}

The other cells change single lines of it:

``vanilla``
    The cell of 1997 [1]_, without a forget gate: :math:`c_t = c_{t-1} + i_t \odot g_t`. Its state
    is fed back with a constant weight of 1, the constant error carousel.
``peephole``
    The gates see the state [3]_: :math:`p_i \odot c_{t-1}`, :math:`p_f \odot c_{t-1}` and
    :math:`p_o \odot c_t` are added to the arguments of i, f and o.
``coupled``
    New content replaces what is forgotten [4]_:
    :math:`c_t = f_t \odot c_{t-1} + (1 - f_t) \odot g_t`.
``fused``
    The standard cell, computed by PyTorch's own kernel.

`equations` is the same thing in code, one line per formula. `advance` and `retreat` are the fast
forward and backward passes; their loops allocate no memory.

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
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# The gates of each cell in the order in which the weights are stacked: PyTorch's.
# All but the last act on the new state c_t; the last, o, acts on the output only.
GATES = {
    "standard": "ifgo",
    "vanilla": "igo",
    "peephole": "ifgo",
    "coupled": "fgo",
    "fused": "ifgo",
}


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
    """Run one layer as its formulas stand, and leave the gradient to PyTorch.

    This is the version to read, and the one that second derivatives go through.
    `pipeline.detectors.lstm.layer.LSTM` computes the same several times faster.

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


def gates_of(cell: str, z: Tensor) -> dict[str, Tensor]:
    """Give views of the stacked gates, by name: each (L, B, H)."""
    names = GATES[cell]
    return dict(zip(names, z.chunk(len(names), -1), strict=True))


def transform(x: Tensor, weight_ih: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Compute ``W x + b`` of all steps in one product: (L, B, G*H), of the given dtype."""
    z = F.linear(x.reshape(-1, x.shape[-1]), weight_ih, bias)
    return z.view(*x.shape[:-1], len(weight_ih)).to(dtype)


def advance(
    cell: str, z: Tensor, weight_hh: Tensor, peep: Tensor | None, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Go forward through time.

    Parameters
    ----------
    cell : str
        A key of `GATES`.
    z : Tensor, shape (L, B, G*H)
        ``W x + b`` of all steps, from `transform`. It is overwritten with the gates.
    weight_hh, peep
        As in `equations`.
    h, c : Tensor, shape (B, H)
        Output and state before the first step.

    Returns
    -------
    hs : Tensor, shape (L, B, H)
        h_1 ... h_L.
    cs : Tensor, shape (L + 1, B, H)
        c_0 ... c_L.
    tanh_cs : Tensor, shape (L, B, H)
        tanh(c_1) ... tanh(c_L).
    """
    steps, batch, width = z.shape
    hidden = h.shape[-1]
    hs = z.new_empty(steps, batch, hidden)
    cs = z.new_empty(steps + 1, batch, hidden)
    tanh_cs = torch.empty_like(hs)
    cs[0] = c
    c = cs[0]
    recurrent = weight_hh.t().contiguous()  # laid out so, small products take half the time
    gate = {name: view.unbind(0) for name, view in gates_of(cell, z).items()}
    # One call applies the sigmoid to neighbouring gates.
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


def retreat(
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
    """Go back through some steps.

    The chain rule is the same for all cells. Each step is ::

        dh += d_hs[t]                          the gradient by the output itself
        dc += dh * through                     through = dh_t by dc_t
        dz  = (factor * dc, factor_o * dh)     the gates before o act on c_t, o on h_t
        dc  = dc * keep                        keep = dc_t by dc_{t-1}: the carousel
        dh  = dz U

    and the cells differ in the factors only. These depend on nothing that the loop finds, so they
    are computed for all steps at once.

    Parameters
    ----------
    cell, weight_hh, peep
        As in `advance`.
    z, cs, tanh_cs : Tensor
        What `advance` left: the gates, and the states of these steps (with the one before them).
    d_hs : Tensor, shape (L, B, H), optional
        The gradient by the outputs.
    dh, dc : Tensor, shape (B, H)
        The gradient by the last output and state from later steps. They are overwritten with the
        gradient by the output and state before these steps.

    Returns
    -------
    Tensor, shape (L, B, G*H)
        The gradient by the argument of every gate.
    """
    steps, _, width = z.shape
    hidden = weight_hh.shape[-1]
    dz, through, keep = _factors(cell, z, cs, tanh_cs, peep)
    to_state = dz[..., : width - hidden].unflatten(-1, (-1, hidden))
    dc_wide = dc.unsqueeze(1)
    keep_t = None if keep is None else keep.unbind(0)
    d_hs_t = None if d_hs is None else d_hs.unbind(0)
    to_output = dz[..., width - hidden :]
    rows = (dz.unbind(0), to_state.unbind(0), to_output.unbind(0), through.unbind(0))
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


def _factors(
    cell: str, z: Tensor, cs: Tensor, tanh_cs: Tensor, peep: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Compute what `retreat` multiplies by: ``factor`` and ``factor_o``, ``through``, ``keep``.

    The factors are stacked as the gates are, (L, B, G*H); the loop turns them into ``dz`` in place.
    ``keep`` is None where it is 1: in the cell without a forget gate.
    """
    gate = gates_of(cell, z)
    dz = torch.empty_like(z)
    factor = gates_of(cell, dz)
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
    return dz, through, keep


def _sigmoid_slope(grad: Tensor, y: Tensor, out: Tensor) -> None:
    """Write ``grad * y * (1 - y)``: the gradient through ``y = sigmoid(z)``."""
    torch.ops.aten.sigmoid_backward.grad_input(grad, y, grad_input=out)


def _tanh_slope(grad: Tensor, y: Tensor, out: Tensor) -> None:
    """Write ``grad * (1 - y * y)``: the gradient through ``y = tanh(z)``."""
    torch.ops.aten.tanh_backward.grad_input(grad, y, grad_input=out)
