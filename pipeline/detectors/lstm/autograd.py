"""The LSTM layer as PyTorch's autograd sees it: forward and backward pass of one layer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pipeline.detectors.lstm.cell import advance, equations, gates_of, retreat, transform

BLOCK = 64  # steps that the backward pass takes at a time


class CellFunction(torch.autograd.Function):
    """One layer with a backward pass written by hand; its arguments are those of `equations`."""

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
        """Run the layer; what the backward pass needs is kept in ``ctx``."""
        ctx.cell = cell
        ctx.set_materialize_grads(False)
        z = transform(x, weight_ih, bias, weight_hh.dtype)
        hs, cs, tanh_cs = advance(cell, z, weight_hh, peep, h, c)
        ctx.save_for_backward(x, weight_ih, weight_hh, bias, peep, h, c, z, hs, cs, tanh_cs)
        return hs, hs[-1].clone(), cs[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Give the gradient by each argument, None for those that need none."""
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
        # A block of steps at a time, so that what is computed here stays in the processor's cache.
        for start in range((len(z) - 1) // BLOCK * BLOCK, -1, -BLOCK):
            steps = slice(start, min(start + BLOCK, len(z)))
            states = cs[start : steps.stop + 1]
            d_out = None if d_hs is None else d_hs[steps]
            dz = retreat(ctx.cell, z[steps], states, tanh_cs[steps], weight_hh, peep, d_out, dh, dc)
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
                d = gates_of(ctx.cell, dz)
                seen = {"i": states[:-1], "f": states[:-1], "o": states[1:]}
                d_peep += torch.cat([(d[name] * seen[name]).sum((0, 1)) for name in "ifo"])
        return None, d_x, d_ih, d_hh, d_bias, d_peep, dh, dc


def _differentiable(ctx: Any, inputs: tuple[Any, ...], grads: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the gradients as PyTorch derives them from `equations`: they have gradients, too."""
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
def function_for(device_type: str) -> Any:
    """Give `CellFunction` for one kind of device.

    Its backward pass runs under the same autocast settings as its forward pass, wherever it is
    called.
    """
    forward = torch.amp.custom_fwd(CellFunction.forward, device_type=device_type)
    backward = torch.amp.custom_bwd(CellFunction.backward, device_type=device_type)
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("CellFunction", (CellFunction,), members)
