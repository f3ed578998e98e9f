"""How much time the training loop takes beyond the network itself.

``python -m pipeline.bench.train`` times two loops in turns. The whole loop plans, gathers batches,
carries the state, sets the learning rate, clips gradients, reports and writes checkpoints. The bare
loop has nothing but `torch.nn.LSTM` with the recipe's linear layers and dropout, loss, backward and
optimiser, on ready tensors of the same shape. The command prints the table and writes it to
``docs/bench-train.md``.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pipeline.bench.document import machine, write_between
from pipeline.config.compose import compose
from pipeline.config.lstm import LstmOptions, Model
from pipeline.config.options import plain
from pipeline.config.paths import PROJECT
from pipeline.detectors.base import FitData
from pipeline.detectors.lstm.batches import plan_epoch
from pipeline.detectors.lstm.network import make_network
from pipeline.detectors.lstm.optimiser import make_optimiser
from pipeline.detectors.lstm.own_projection import Learner
from pipeline.detectors.lstm.training import Training, network_arguments
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.registry import make_features

DOC = PROJECT / "docs" / "bench-train.md"
RECIPES = ("lstm", "paszke2015")
ROUNDS = {"lstm": 7, "paszke2015": 3}
SERIES, RAW_ROWS = 6, 187_000  # a subject's training series, of the mean length of the real ones


class Bare(nn.Module):
    """The recipe's layers around `torch.nn.LSTM`, and nothing else."""

    def __init__(self, n_features: int, n_events: int, model: Model) -> None:
        super().__init__()
        width = model.projection or n_features
        before: list[nn.Module] = [nn.Dropout(model.input_dropout)]
        if model.projection:
            before.append(nn.Linear(n_features, width))
        self.before = nn.Sequential(*before)
        dropout = model.dropout if model.layers > 1 else 0.0
        self.lstm = nn.LSTM(width, model.hidden, model.layers, batch_first=True, dropout=dropout)
        self.after = nn.Sequential(nn.Dropout(model.dropout), nn.Linear(model.hidden, n_events))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features, shape (B, L, F), to logits, shape (B, L, E)."""
        return self.after(self.lstm(self.before(x))[0])


def bare_loop(options: LstmOptions, n_features: int, n_events: int, steps: int) -> float:
    """Train on one ready batch for a number of steps; give the seconds."""
    network = Bare(n_features, n_events, options.model)
    optimiser = make_optimiser(network, options.train)
    shape = options.window.batch, options.window.length
    x = torch.randn(*shape, n_features)
    y = (torch.rand(*shape, n_events) < 0.03).float()
    begun = time.perf_counter()
    for _ in range(steps):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return time.perf_counter() - begun


def whole_loop(options: LstmOptions, n_features: int, n_events: int, rows: int) -> float:
    """Train one epoch in the pipeline's loop, nothing held out; give the seconds."""
    rng = np.random.default_rng(0)
    series = []
    for number in range(SERIES):
        features = rng.standard_normal((rows, n_features), dtype=np.float32)
        labels = (rng.random((rows, n_events)) < 0.03).astype(np.uint8)
        zeros = np.zeros(n_features)
        moments = Moments(rows, zeros, np.eye(n_features) * rows, zeros)
        series.append(FeatureSeries(1, number + 1, features, labels, moments))
    network = make_network(**network_arguments(options.model, n_features, n_events))
    scaler = torch.zeros(n_features), torch.eye(n_features)
    with tempfile.TemporaryDirectory() as folder:
        data = FitData(
            name="bench", fitted=series, held_out=[], shared=[], seed=0, device="cpu", epochs=1.0,
            events=tuple(f"event{number}" for number in range(n_events)), scratch=Path(folder),
            report=lambda progress, news: None, channels=1,
        )  # fmt: skip
        learner = Learner(network, None)
        training = Training(data, options, learner, {1: scaler}, torch.device("cpu"))
        begun = time.perf_counter()
        training.run()
        return time.perf_counter() - begun


def main() -> None:
    """Time both loops for each recipe, print the table and write it between its markers."""
    torch.set_num_threads(1)  # as in the stages, which run one process per core
    lines = [
        "| recipe | batch x steps x features | loop, steps/s | bare, steps/s | ratio | rounds |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for recipe in RECIPES:
        config = compose([f"experiment={recipe}"])
        options = LstmOptions(config.window, config.model, config.train)
        bank = make_features(config.dataset.rate, plain(config.filter))
        n_features, n_events = bank.n_features(len(config.dataset.channels)), 6
        rows = -(-RAW_ROWS // bank.every)
        steps = len(plan_epoch([rows] * SERIES, options.window))
        loop, bare, ratios = [], [], []
        bare_loop(options, n_features, n_events, 3)  # warm
        for number in tqdm(range(ROUNDS[recipe]), desc=recipe, leave=False):
            for side in ("bare", "loop") if number % 2 else ("loop", "bare"):
                if side == "bare":
                    bare.append(steps / bare_loop(options, n_features, n_events, steps))
                else:
                    loop.append(steps / whole_loop(options, n_features, n_events, rows))
            ratios.append(loop[-1] / bare[-1])
        window = options.window
        lines.append(
            f"| {recipe} | {window.batch} x {window.length} x {n_features} "
            f"| {statistics.median(loop):.2f} | {statistics.median(bare):.2f} "
            f"| **{statistics.median(ratios):.2f}** "
            f"| {', '.join(f'{ratio:.2f}' for ratio in ratios)} |"
        )
    text = "\n".join(lines) + f"\n\n{machine(os.cpu_count() or 1)} (one used).\n"
    print(text)
    write_between(DOC, "train", text)


if __name__ == "__main__":
    main()
