"""Time our LSTM cells, `torch.nn.LSTM` and a plain autograd loop.

Run as ``python -m pipeline.bench.lstm``. Every round runs every layer once, so if the machine slows
down, it slows all of them. A number in the table is the median over rounds. The times are those of
a training step (forward and backward). The errors are those of the output and of the gradients of
the weights, compared with the same layer in float64.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.detectors.lstm.cell import GATES
from pipeline.detectors.lstm.layer import LSTM, State, fused_kernel_runs

INPUTS = 32
SHAPES = ((64, 500, 64), (20, 800, 280))  # B, L, H

TORCH, LOOP = "torch.nn.LSTM", "autograd loop"


class Loop(LSTM):
    """The standard cell written as a plain loop; PyTorch computes its gradient.

    The input is transformed before the loop, so that the comparison is fair.
    """

    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """Run over the input (L, B, I) from a zero state."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.parameters()
        h = c = input.new_zeros(input.shape[1], self.hidden_size)
        recurrent = weight_hh.t()
        output = []
        for z in F.linear(input, weight_ih, bias_ih + bias_hh).unbind(0):
            i, f, g, o = torch.addmm(z, h, recurrent).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            output.append(h)
        return torch.stack(output), (h, c)


def contenders(hidden: int) -> dict[str, nn.Module]:
    """Build every layer of the comparison, with ``hidden`` units."""
    layers: dict[str, nn.Module] = {
        TORCH: nn.LSTM(INPUTS, hidden),
        LOOP: Loop(INPUTS, hidden),
    }
    for cell in GATES:
        layers[cell] = LSTM(INPUTS, hidden, cell=cell)
    return layers


def training_step(layer: nn.Module, x: Tensor) -> None:
    """Run forward and backward once."""
    layer.zero_grad(set_to_none=True)
    output, _ = layer(x)
    output.square().mean().backward()


def interleaved(steps: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Run all steps in turns; give the median time of each in seconds, after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for lap in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if lap:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    training_step(layer, x)
    output, _ = layer(x)
    return [output.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)]


def errors(layer: nn.Module, x: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """Compare float32 and bfloat16 autocast with float64.

    Returns
    -------
    (output, gradient) in float32, (output, gradient) under autocast
        The output's largest error, and the gradients' largest relative to the largest gradient;
        nan where the layer cannot run.
    """
    single = _results(layer, x)
    half = None  # PyTorch's own layer fails under autocast where the processor has no kernel for it
    if fused_kernel_runs(torch.bfloat16) or not isinstance(layer, nn.LSTM):
        with torch.autocast(x.device.type, torch.bfloat16):
            half = _results(layer, x)
    exact = _results(layer.double(), x.double())
    layer.float()
    largest = max(float(grad.abs().max()) for grad in exact[1:])

    def error(found: list[Tensor] | None) -> tuple[float, float]:
        if found is None:
            return math.nan, math.nan
        off = [float((a.double() - b).abs().max()) for a, b in zip(found, exact, strict=True)]
        return off[0], max(off[1:]) / largest

    return error(single), error(half)


def table(batch: int, length: int, hidden: int, rounds: int) -> str:
    """Measure one shape; return a Markdown table."""
    torch.manual_seed(0)
    layers = contenders(hidden)
    x = torch.randn(length, batch, INPUTS)
    steps = {name: partial(training_step, layer, x) for name, layer in layers.items()}
    times = interleaved(steps, rounds)
    lines = [
        f"B={batch}, L={length}, H={hidden}, {INPUTS} inputs",
        "",
        "| layer | ms | x torch.nn.LSTM | x loop | float32: output | gradient "
        "| bf16 autocast: output | gradient |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    short = x[:, : min(batch, 8)]
    for name, seconds in times.items():
        single, half = errors(layers[name], short)
        numbers = " | ".join(f"{value:.0e}" for value in (*single, *half))
        lines.append(
            f"| {name} | {1e3 * seconds:.0f} | {seconds / times[TORCH]:.2f} "
            f"| {seconds / times[LOOP]:.2f} | {numbers} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table per shape."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.lstm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds, each with all contenders")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__}, {options.threads} threads; median of {options.rounds}.")
    for shape in SHAPES:
        print("\n" + table(*shape, options.rounds), flush=True)
    print(
        "\nTimes are of a training step. Errors are the largest against float64: absolute of the "
        "output, and of the gradients relative to the largest gradient."
    )


if __name__ == "__main__":
    main()
