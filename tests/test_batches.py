"""Sequences and batches: every row once, states reset where they must be."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.lstm import Window
from pipeline.detectors.lstm.batches import EMPTY, Batches, Plan
from pipeline.detectors.lstm.batches import plan_epoch as plan_window
from pipeline.errors import PipelineError

plans = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(1, 120), min_size=1, max_size=5),
        "length": st.integers(2, 20),
        "batch": st.integers(1, 6),
        "stride": st.integers(1, 7),
        "streams": st.integers(0, 5),
        "burn_in": st.integers(0, 30),
        "seed": st.none() | st.integers(0, 9),
    }
)


WINDOW = {"length": 1, "batch": 1, "stride": 1, "streams": 1, "burn_in": 0, "join": False}


def plan_epoch(lengths: list[int], rng: np.random.Generator | None = None, **window) -> Plan:
    """Plan with the options that are named; the others are as plain as can be."""
    return plan_window(lengths, Window(**{**WINDOW, **window}), rng)


def make(options):
    options = dict(options)
    seed = options.pop("seed")
    if not options["streams"]:
        options["burn_in"] %= options["length"]
    rng = None if seed is None else np.random.default_rng(seed)
    return plan_epoch(options.pop("lengths"), **options, rng=rng)


def index_batches(lengths):
    """Series whose features are their own (series, row)."""
    features = [torch.tensor([[s, r] for r in range(n)]).float() for s, n in enumerate(lengths)]
    return Batches(features, [f.clone() for f in features])


@settings(max_examples=150, deadline=None)
@given(plans)
def test_every_row_is_scored_exactly_once(options):
    plan, batches = make(options), index_batches(options["lengths"])
    seen = []
    for number in range(len(plan)):
        x, y, scored = batches.gather(plan, number)
        seen += [tuple(map(int, row)) for row in x[scored]]
        assert torch.equal(x[scored], y[scored])
    everything = [(s, r) for s, n in enumerate(options["lengths"]) for r in range(n)]
    assert sorted(seen) == everything


@settings(max_examples=150, deadline=None)
@given(plans)
def test_carried_state_meets_the_row_that_follows(options):
    """In each lane a window either starts anew or goes on where the one before it ended."""
    plan = make(options)
    for lane in range(plan.series.shape[1]):
        last = None
        for number in range(len(plan)):
            if plan.series[number, lane] == EMPTY:
                last = None
                continue
            here = (plan.series[number, lane], plan.start[number, lane])
            assert plan.reset[number, lane] or here == last
            full = plan.rows[number, lane] == plan.length
            end = plan.start[number, lane] + plan.rows[number, lane] * plan.stride
            last = (plan.series[number, lane], end) if full else None


@settings(max_examples=100, deadline=None)
@given(plans)
def test_a_stream_that_starts_inside_a_series_burns_in(options):
    plan = make(options)
    burn = options["burn_in"] % options["length"] if not options["streams"] else options["burn_in"]
    for at in zip(*np.nonzero(plan.reset), strict=True):
        into_series = plan.start[at] // plan.stride
        if plan.burn[at] < min(burn, plan.length) and plan.rows[at] > plan.burn[at]:
            assert into_series == 0


def test_the_layout_of_a_toy_series():
    plan = plan_epoch([10], length=3, batch=2, streams=2)
    assert plan.series.tolist() == [[0, 0], [0, 0]]
    assert plan.start.tolist() == [[0, 5], [3, 8]]
    assert plan.rows.tolist() == [[3, 3], [2, 2]]
    assert plan.reset.tolist() == [[True, True], [False, False]]
    x, _, scored = index_batches([10]).gather(plan, 1)
    assert x[:, :, 1].tolist() == [[3, 4, 0], [8, 9, 0]]
    assert scored.tolist() == [[True, True, False], [True, True, False]]
    assert plan.table()["state"].tolist() == ["zero", "zero", "carried", "carried"]
    assert plan.table()["last_row"].tolist() == [2, 7, 4, 9]


def test_the_state_is_reset_at_every_series_start():
    plan = plan_epoch([7, 7, 7], length=4, batch=1, streams=1)
    assert plan.start[:, 0].tolist() == [0, 4, 0, 4, 0, 4]
    assert plan.reset[:, 0].tolist() == [True, False] * 3


def test_phases_are_streams_of_their_own():
    plan = plan_epoch([7], length=9, batch=3, stride=3, streams=1)
    x, _, scored = index_batches([7]).gather(plan, 0)
    rows = [x[lane, :, 1][scored[lane]].int().tolist() for lane in range(3)]
    assert rows == [[0, 3, 6], [1, 4], [2, 5]]


def test_epochs_differ_in_order_and_in_cuts_and_repeat_with_their_seed():
    options = {"length": 8, "batch": 2, "streams": 0, "burn_in": 2}
    first, second, again = (
        plan_epoch([100, 90], **options, rng=np.random.default_rng(s)) for s in (1, 2, 1)
    )
    assert not np.array_equal(np.sort(first.start, None), np.sort(second.start, None))
    assert np.array_equal(first.start, again.start)


def test_joined_series_are_one_stream_a_lane():
    """Two toy series whose samples are their own numbers, 0-9 and 10-23, two lanes of three rows.

    24 rows make 4 batches of 2 x 3: lane 0 gets rows 0-11, lane 1 rows 12-23.
    """
    plan = plan_epoch([10, 14], length=3, batch=2, join=True)
    features = [torch.arange(10.0)[:, None], torch.arange(10.0, 24.0)[:, None]]
    batches = Batches(features, features)
    rows = [batches.gather(plan, number)[0][:, :, 0].int().tolist() for number in range(len(plan))]
    assert rows == [
        [[0, 1, 2], [12, 13, 14]],
        [[3, 4, 5], [15, 16, 17]],
        [[6, 7, 8], [18, 19, 20]],
        [[9, 10, 11], [21, 22, 23]],  # row 9 ends the first series, 10 begins the second
    ]
    assert plan.series.tolist() == [[0, 1], [0, 1], [0, 1], [0, 1]]
    assert plan.start.tolist() == [[0, 2], [3, 5], [6, 8], [9, 11]]
    assert set(plan.table()["state"]) == {"carried"}
    assert batches.gather(plan, 3)[2].all()


def test_of_series_that_are_gathered_no_two_are_in_memory_beside_the_whole():
    alive = []

    def one_by_one():
        for number in range(5):
            assert sum(part() is not None for part in alive) <= 1
            part = torch.full((3, 2), float(number))
            alive.append(weakref.ref(part))
            yield part

    batches = Batches(one_by_one(), [torch.zeros(3, 1)] * 5)
    assert batches.features[:, 1].tolist() == [n for n in range(5) for _ in range(3)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(1, 12), st.integers(1, 5))
def test_joined_streams_lose_the_tail_alone(lengths, length, batch):
    if sum(lengths) < length * batch:
        with pytest.raises(PipelineError, match=r"window.length=.*more than the"):
            plan_epoch(lengths, length=length, batch=batch, join=True)
        return
    plan = plan_epoch(lengths, length=length, batch=batch, join=True)
    everything = torch.arange(float(sum(lengths)))[:, None].split(lengths)
    batches = Batches(list(everything), list(everything))
    lanes = torch.cat([batches.gather(plan, n)[0][:, :, 0] for n in range(len(plan))], dim=1)
    used = sum(lengths) // (length * batch) * length * batch
    assert lanes.flatten().int().tolist() == list(range(used))
    assert not plan.reset.any()
