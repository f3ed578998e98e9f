"""Feature series to sequences and batches, losing no row.

A plan says, before anything is computed, which rows of which series stand in which lane of which
batch, which of them are scored, and where a lane's state starts from zero. There are three ways to
cut the series into sequences:

carried state (``window.streams`` >= 1)
    Each series is cut into this many contiguous streams. A stream is a chain of sequences of
    ``window.length`` rows, in consecutive batches of one lane. (h, c) pass from each sequence to
    the next, gradients do not (truncated back-propagation through time).
no carried state (``window.streams`` = 0)
    Every sequence is a stream of its own.
one stream per lane (``window.join``)
    All series are joined end to end and cut into ``window.batch`` streams of equal length, one per
    lane; the rows left over at the end are not learned from. The state is never reset: it is
    carried from series to series and, at the epoch's end, from each lane's last row to its first.
    The 2015 Torch7 solution did so (github.com/apaszke/kaggle-grasp-and-lift,
    EEGMinibatchLoader).

In the first two ways, a stream starts from a state of zero. If it does not start at the start of
its series, it first sees ``window.burn_in`` rows that are not scored, so that no row is scored with
an empty state. With ``window.stride`` n, the network runs on every n-th row, and each of the n
phases is cut like a series of its own. Each row is scored exactly once per epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from pipeline.config.lstm import Window
from pipeline.errors import PipelineError

EMPTY = -1  # in place of a series: nothing stands in this lane


class Sequence(NamedTuple):
    """What stands in one lane of one batch; the fields are those of `Plan`."""

    series: int
    start: int
    rows: int
    burn: int
    reset: bool


@dataclass(frozen=True)
class Plan:
    """One epoch's batches; each field is an array of shape (n_batches, B).

    Parameters
    ----------
    series : ndarray of int
        Which series stands in the lane, an index into the list that was planned; -1 for none.
    start : ndarray of int
        Its first row.
    rows : ndarray of int
        How many rows, ``stride`` apart; the rest of the sequence is padding.
    burn : ndarray of int
        How many of them, from the start, are not scored.
    reset : ndarray of bool
        Whether the lane's state starts from zero here.
    length, stride : int
        Of every sequence.
    """

    series: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    burn: np.ndarray
    reset: np.ndarray
    length: int
    stride: int

    def __len__(self) -> int:
        return len(self.series)

    def table(self) -> pd.DataFrame:
        """Write the plan out for people: one line per sequence, in the order of training."""
        batch, lane = np.nonzero(self.series != EMPTY)
        at = (batch, lane)
        return pd.DataFrame(
            {
                "batch": batch,
                "lane": lane,
                "series": self.series[at],
                "first_row": self.start[at],
                "last_row": self.start[at] + (self.rows[at] - 1) * self.stride,
                "rows": self.rows[at],
                "scored": self.rows[at] - self.burn[at],
                "state": np.where(self.reset[at], "zero", "carried"),  # before the first row
            }
        )


def _streams(lengths: list[int], window: Window, shift: int) -> Iterator[list[Sequence]]:
    """Cut every series into streams, each a list of sequences."""
    length, stride = window.length, window.stride
    for index, total in enumerate(lengths):
        for phase in range(min(stride, total)):
            steps = len(range(phase, total, stride))
            if window.streams:
                cuts = np.linspace(0, steps, min(window.streams, steps) + 1).round().astype(int)
            else:
                new = length - window.burn_in
                cuts = np.unique(np.r_[0, np.arange(shift % new, steps, new), steps])
            for begin, end in pairwise(cuts):
                first = max(0, begin - window.burn_in)
                yield [
                    Sequence(
                        series=index,
                        start=phase + at * stride,
                        rows=min(length, end - at),
                        burn=min(max(0, begin - at), length),
                        reset=at == first,
                    )
                    for at in range(first, end, length)
                ]


def plan_epoch(lengths: list[int], window: Window, rng: np.random.Generator | None = None) -> Plan:
    """Plan one epoch over some series.

    Parameters
    ----------
    lengths : list of int
        Rows of each series.
    window : Window
        How they become sequences.
    rng : numpy.random.Generator, optional
        Shuffles the streams and, without carried state, shifts the cuts; None keeps the order.

    Returns
    -------
    Plan

    Raises
    ------
    PipelineError
        When joined series do not fill one batch.
    """
    if window.join:
        return _joined(lengths, window.length, window.batch)
    shift = int(rng.integers(window.length)) if rng is not None and not window.streams else 0
    streams = list(_streams(lengths, window, shift))
    if rng is not None:
        streams = [streams[i] for i in rng.permutation(len(streams))]
    lanes: list[list[Sequence]] = [[] for _ in range(min(window.batch, len(streams)))]
    for stream in streams:
        min(lanes, key=len).extend(stream)
    deepest = max(len(lane) for lane in lanes)
    table = np.zeros((5, deepest, len(lanes)), dtype=np.int64)
    table[0] = EMPTY
    for column, lane in enumerate(lanes):
        table[:, : len(lane), column] = np.array(lane, dtype=np.int64).T
    series, start, rows, burn, reset = table
    return Plan(series, start, rows, burn, reset.astype(bool), window.length, window.stride)


def _joined(lengths: list[int], length: int, batch: int) -> Plan:
    """Cut the joined series into as many equal streams as there are lanes."""
    windows = sum(lengths) // (batch * length)
    if not windows:
        raise PipelineError(
            f"window.length={length} times window.batch={batch} is more than the "
            f"{sum(lengths):,} rows there are to learn from; lower one of them"
        )
    first = np.arange(windows)[:, None] * length + np.arange(batch) * (windows * length)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    series = np.searchsorted(offsets, first, side="right") - 1
    everywhere = np.zeros_like(first)
    return Plan(
        series, first - offsets[series], everywhere + length, everywhere,
        everywhere.astype(bool), length, 1,
    )  # fmt: skip


class Batches:
    """Gathers a plan's batches from standardised features.

    Parameters
    ----------
    features : iterable of torch.Tensor, each (T', F)
        One per series; taken one by one, so that not all of them are in memory twice.
    labels : list of torch.Tensor, each (T', E)
        One per series.
    """

    def __init__(self, features: Iterable[torch.Tensor], labels: list[torch.Tensor]) -> None:
        self.lengths = [len(part) for part in labels]
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.labels = torch.cat(labels).float()
        for index, part in enumerate(features):
            if index == 0:
                self.features = part.new_empty(len(self.labels), part.shape[1])
            self.features[self.offsets[index] : self.offsets[index + 1]] = part

    def gather(self, plan: Plan, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give one batch.

        Returns
        -------
        x : Tensor, shape (B, L, F)
            Zero where there is no row.
        y : Tensor, shape (B, L, E)
        scored : Tensor of bool, shape (B, L)
            False for burn-in and padding.
        """
        step = np.arange(plan.length)
        present = step < plan.rows[number][:, None]
        scored = present & (step >= plan.burn[number][:, None])
        row = plan.start[number][:, None] + step * plan.stride
        index = torch.from_numpy(
            np.where(present, self.offsets[plan.series[number]][:, None] + row, 0)
        )
        # index_select copies whole rows, twice as fast as indexing with the matrix.
        x = self.features.index_select(0, index.flatten()).view(*index.shape, -1)
        y = self.labels.index_select(0, index.flatten()).view(*index.shape, -1)
        if not present.all():
            x[torch.from_numpy(~present)] = 0.0
        return x, y, torch.from_numpy(scored)
