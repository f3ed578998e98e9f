"""A long short-term memory layer: the cells of `pipeline.detectors.lstm.cell` as a module."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.detectors.lstm.autograd import function_for
from pipeline.detectors.lstm.cell import GATES, advance, gates_of, transform

State = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """A long short-term memory layer with the interface of `torch.nn.LSTM` and five cells.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H: the widths of the input and of the state.
    num_layers : int
        Layers; each reads the output of the one before it.
    bias : bool
        Whether the gates have biases (two vectors per gate, which add up, as in PyTorch).
    batch_first : bool
        Whether input and output are (B, L, ...) rather than (L, B, ...). States never are.
    dropout : float
        Share of the outputs set to zero between layers, in training.
    cell : {"standard", "vanilla", "peephole", "coupled", "fused"}
        Which equations; `pipeline.detectors.lstm.cell` states them.
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

    Under autocast the input transform runs in the lower precision. The recurrence, its state, the
    output and all gradients stay in the parameters' dtype, because rounding errors would add up
    from step to step. The fused cell does what `torch.nn.LSTM` does; where the processor has no
    such kernel in the lower precision, it runs in the parameters' dtype. The vanilla cell forgets
    no rounding error: over hundreds of steps its state drifts far further than the others', and
    under autocast it may end anywhere.

    Gradients can be differentiated again (``create_graph=True``), slowly: the second derivative
    goes through `pipeline.detectors.lstm.cell.equations`.

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
        _check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        _check_options(cell, bias, dropout, num_layers, forget_bias, init_range)
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
        lay_side_by_side(self)

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LSTM:
        """Move or cast the parameters, which takes each of them to a place of its own."""
        super()._apply(fn, recurse)
        lay_side_by_side(self)
        return self

    def extra_repr(self) -> str:
        """Give the sizes first, then what differs from the defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "cell": "standard", "forget_bias": None, "init_range": None,
        }  # fmt: skip
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

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
        x, h_0, c_0 = _prepare(self, input, hx)
        output, h_n, c_n = self.run(x, h_0, c_0)
        if input.dim() == 2:
            return output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1))
        return output.transpose(0, 1) if self.batch_first else output, (h_n, c_n)

    def run(self, x: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run over x, shape (L, B, I), from states as in `forward`, without its checks."""
        run = self._run_fused if self.cell == "fused" else self._run_layers
        return run(x, h_0, c_0)

    def _run_fused(self, x: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run PyTorch's own kernel over x, shape (L, B, I)."""
        weights: list[Tensor] = [each for each in self._parameters.values() if each is not None]
        context: torch.autocast | nullcontext = nullcontext()
        autocast = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if autocast and not fused_kernel_runs(torch.get_autocast_dtype("cpu")):
            context = torch.autocast("cpu", enabled=False)
            x = x.to(weights[0].dtype)
        with context:
            return torch.lstm(
                x, (h_0, c_0), weights, self.bias, self.num_layers, self.dropout, self.training,
                False, False,
            )  # fmt: skip

    def _run_layers(self, x: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run our own passes over x, shape (L, B, I), layer by layer."""
        run = function_for(x.device.type).apply
        finals = []
        output = x
        for layer in range(self.num_layers):
            if layer:
                output = F.dropout(output, self.dropout, self.training)
            weights = layer_weights(self, layer)
            output, h, c = run(self.cell, output, *weights, h_0[layer], c_0[layer])
            finals.append((h, c))
        h_n, c_n = (torch.stack(states) for states in zip(*finals, strict=True))
        return output, h_n, c_n

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
        output, h_0, c_0 = _prepare(self, x, hx)
        for layer in range(self.num_layers):
            weight_ih, weight_hh, bias, peep = layer_weights(self, layer)
            z = transform(output, weight_ih, bias, weight_hh.dtype)
            output, cs, _ = advance(self.cell, z, weight_hh, peep, h_0[layer], c_0[layer])
            inside = gates_of(self.cell, z) | {"c": cs[1:], "h": output}
            if self.cell == "coupled":
                inside["i"] = 1 - inside["f"]
            for name, value in inside.items():
                if x.dim() == 2:
                    value = value.squeeze(1)
                elif self.batch_first:
                    value = value.transpose(0, 1)
                found[f"{name}_l{layer}"] = value
        return found


def lay_side_by_side(layer: LSTM) -> None:
    """Lay a fused cell's weights side by side in a GPU's memory, in place.

    The GPU's kernel reads them so. Else it copies them at every call, and PyTorch warns of it.
    Elsewhere this changes nothing.
    """
    if layer.cell != "fused":
        return
    # Without memory and without numbers of its own, so it draws none either.
    twin = nn.LSTM(
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, device="meta"
    )
    for name, parameter in layer.named_parameters():
        setattr(twin, name, parameter)
    twin.flatten_parameters()


@functools.cache
def fused_kernel_runs(dtype: torch.dtype) -> bool:
    """Find out whether PyTorch's own LSTM runs on this processor under autocast to a dtype.

    Under autocast, PyTorch always takes a kernel of the library oneDNN, which has none in bfloat16
    for processors with AVX2 only. Nothing tells beforehand for every dtype, so the smallest layer
    is tried once.

    Parameters
    ----------
    dtype : torch.dtype
        E.g. ``torch.bfloat16``.
    """
    shapes = ((4, 1), (4, 1), (4,), (4,))
    # Zeros, because drawn numbers would change what a seed gives to the caller.
    weights = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    x, state = torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)
    try:
        with torch.enable_grad(), torch.autocast("cpu", dtype):
            output, *_ = torch.lstm(x, (state, state), weights, True, 1, 0.0, True, False, False)
        torch.autograd.grad(output.sum(), weights)
    except RuntimeError:
        return False
    return True


def layer_weights(lstm: LSTM, layer: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Give weight_ih, weight_hh, the sum of the biases and the peepholes of one layer."""
    bias = None
    if lstm.bias:
        bias = lstm.get_parameter(f"bias_ih_l{layer}") + lstm.get_parameter(f"bias_hh_l{layer}")
    peep = lstm.get_parameter(f"weight_peep_l{layer}") if lstm.cell == "peephole" else None
    weight_ih = lstm.get_parameter(f"weight_ih_l{layer}")
    return weight_ih, lstm.get_parameter(f"weight_hh_l{layer}"), bias, peep


def _check_sizes(**sizes: int) -> None:
    """Refuse sizes that are no whole numbers of 1 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size < 1:
            raise ValueError(f"{name} must be greater than zero, got {size}")


def _check_options(
    cell: str,
    bias: bool,
    dropout: float,
    num_layers: int,
    forget_bias: float | None,
    init_range: float | None,
) -> None:
    """Refuse options that cannot be; warn of a dropout that does nothing."""
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
            stacklevel=3,
        )


def _prepare(lstm: LSTM, x: Tensor, hx: State | None) -> tuple[Tensor, Tensor, Tensor]:
    """Check the arguments of a layer; give x as (L, B, I), both states as (num_layers, B, H)."""
    weight = lstm.get_parameter("weight_ih_l0")
    if not isinstance(x, Tensor):
        raise TypeError(f"LSTM: input must be a Tensor, got {type(x).__name__}")
    if x.dim() not in (2, 3):
        raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {x.dim()}D instead")
    if x.shape[-1] != lstm.input_size:
        raise ValueError(
            "input.size(-1) must be equal to input_size."
            f" Expected {lstm.input_size}, got {x.shape[-1]}"
        )
    batched = x.dim() == 3
    if not batched:
        x = x.unsqueeze(1)
    elif lstm.batch_first:
        x = x.transpose(0, 1)
    if len(x) == 0:
        raise ValueError("Expected sequence length to be larger than 0 in LSTM")
    _check_tensor("input", x, weight)
    shape = (lstm.num_layers, x.shape[1], lstm.hidden_size)
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
