"""The policy for time stamps: gaps, jumps backwards, other rates, and how chunks are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.live.delays import Delays
from pipeline.live.policy import Piece, Policy

RATE = 500.0
STEADY = 1000 + np.arange(6000) / RATE  # 12 s


def taken(
    times: np.ndarray, chunk: int = 10, bridge: float = 1.0
) -> tuple[Policy, list[Piece], list[str]]:
    """Take time stamps in chunks of one size; pieces count rows from the first of all."""
    policy, pieces = Policy(RATE, bridge), []
    for begin in range(0, len(times), chunk):
        for piece in policy.take(times[begin : begin + chunk]):
            pieces.append(piece._replace(start=piece.start + begin, stop=piece.stop + begin))
    return policy, pieces, [note for piece in pieces for note in piece.notes]


def events(pieces: list[Piece]) -> list[tuple[int, int, bool]]:
    """Where something happens: row, samples held, whether the recipe starts anew."""
    return [(p.start, p.hold, p.restart) for p in pieces if p.hold or p.restart]


def whole(pieces: list[Piece], rows: int) -> None:
    """Demand that every row is in one piece, in their order."""
    assert [row for piece in pieces for row in range(piece.start, piece.stop)] == list(range(rows))


def test_a_steady_stream_is_left_alone():
    policy, pieces, notes = taken(STEADY)
    whole(pieces, len(STEADY))
    assert events(pieces) == []
    assert notes == []
    assert policy.true_rate == pytest.approx(RATE, abs=1e-6)


@pytest.mark.parametrize("chunk", [1, 10, 500, 6000])
def test_missing_samples_are_held_and_counted_to_the_sample(chunk):
    times = np.delete(STEADY, [2000, 2001, 2002, 5000])
    policy, pieces, notes = taken(times, chunk)
    whole(pieces, len(times))
    assert events(pieces) == [(2000, 3, False), (4997, 1, False)]
    assert vars(policy.counts) | {"surplus": 0} == {
        "gaps": 2, "missing": 4, "bridged": 4, "jumps_back": 0, "restarts": 0, "surplus": 0,
    }  # fmt: skip
    assert sum("the last sample before is held" in note for note in notes) >= 1


@pytest.mark.parametrize(("missing", "restart"), [(500, False), (501, True), (1000, True)])
def test_a_gap_longer_than_the_bridge_starts_the_recipe_anew(missing, restart):
    policy, pieces, notes = taken(np.delete(STEADY, slice(3000, 3000 + missing)))
    assert events(pieces) == [(3000, 0 if restart else missing, restart)]
    assert policy.counts.missing == missing
    assert policy.counts.restarts == restart
    assert policy.counts.bridged == (0 if restart else missing)
    assert any(("starts anew" if restart else "held") in note for note in notes)


@pytest.mark.parametrize(("seconds", "restart"), [(0.5, False), (3.0, True)])
def test_a_jump_backwards_is_counted_and_told_and_a_long_one_starts_anew(seconds, restart):
    times = STEADY.copy()
    times[3000:] -= seconds
    policy, pieces, notes = taken(times)
    whole(pieces, len(times))
    assert policy.counts.jumps_back == 1
    assert policy.counts.gaps == 0
    assert events(pieces) == ([(3000, 0, True)] if restart else [])
    assert sum("jump back" in note for note in notes) == 1


def test_a_true_rate_that_is_not_the_announced_one_is_told_once():
    policy, pieces, notes = taken(1000 + np.arange(5000) / 497.5)
    assert events(pieces) == []
    assert policy.true_rate == pytest.approx(497.5, abs=0.01)
    assert [note[:31] for note in notes] == ["true rate 497.50 Hz, announced "]


def test_a_rate_within_a_thousandth_is_not_told():
    policy, _, notes = taken(1000 + np.arange(5000) / 500.4)
    assert notes == []
    assert policy.true_rate == pytest.approx(500.4, abs=0.01)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_packets_with_one_time_and_noise_are_no_gaps(chunk, rng):
    """Drivers often stamp all samples of a packet when it arrives."""
    packets = 1000 + np.arange(600) * 10 / RATE + rng.exponential(0.002, 600)
    for times in (np.repeat(packets, 10), STEADY + rng.normal(0, 0.002, len(STEADY))):
        policy, pieces, notes = taken(times, chunk)
        assert events(pieces) == []
        assert policy.counts.jumps_back == 0
        assert notes == []
        assert policy.true_rate == pytest.approx(RATE, abs=0.3)


def test_with_noisy_time_stamps_a_long_gap_is_still_found(rng):
    noisy = STEADY + rng.normal(0, 0.002, len(STEADY))
    policy, pieces, _ = taken(np.delete(noisy, slice(4000, 5000)))
    assert events(pieces) == [(4000, 0, True)]
    assert policy.counts.missing == pytest.approx(1000, abs=8)


def test_a_sender_that_stood_still_and_catches_up_has_no_gap_within_a_chunk():
    times = STEADY.copy()
    times[4000:4150] = times[4150]
    _, pieces, _ = taken(times, 500)
    assert events(pieces) == []


def test_samples_that_come_after_all_are_counted_as_surplus():
    times = STEADY.copy()
    times[4000:4150] = times[4150]
    policy, pieces, _ = taken(times, 10)
    whole(pieces, len(times))
    assert policy.counts.bridged - policy.counts.surplus == pytest.approx(0, abs=10)
    assert policy.counts.jumps_back == 0


def test_a_break_starts_anew_with_the_next_sample_and_is_no_gap():
    policy = Policy(RATE, 1.0)
    policy.take(STEADY[:2000])
    policy.break_off("lost")
    assert policy.take(STEADY[:0]) == []
    [piece] = policy.take(STEADY[4000:4010])
    assert piece.restart
    assert piece.notes == ("lost: the recipe starts anew",)
    assert policy.counts.gaps == 0
    assert [p.restart for p in policy.take(STEADY[4010:4500])] == [False]


def test_another_clock_may_begin_anywhere():
    policy = Policy(RATE, 1.0)
    policy.take(STEADY)
    policy.break_off("back", new_clock=True)
    [piece] = policy.take(STEADY[:500] - 900)
    assert piece.restart
    assert policy.counts.jumps_back == 0


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=20),
    st.lists(st.integers(1500, 3500), max_size=4),
    st.integers(1, 1200),
)
def test_what_happens_depends_not_on_how_the_stream_is_cut(cuts, at, missing):
    times = np.delete(STEADY, [row + k for row in at for k in range(missing) if row + k < 6000])
    policy, expected, _ = taken(times, 10)
    other, pieces, row, turn = Policy(RATE, 1.0), [], 0, 0
    while row < len(times):
        part = times[row : row + cuts[turn % len(cuts)]]
        for piece in other.take(part):
            pieces.append(piece._replace(start=piece.start + row, stop=piece.stop + row))
        row, turn = row + len(part), turn + 1
    whole(pieces, len(times))
    assert events(pieces) == events(expected)
    assert other.counts == policy.counts
    assert policy.counts.missing + len(times) == len(STEADY)


def test_delays_keep_quantiles_to_half_a_percent(rng):
    delays, seconds = Delays(), rng.lognormal(-4, 1, 20000)
    assert delays.quantile(0.5) is None
    for part in np.split(seconds, 10):
        delays.add(part)
    for share in (0.5, 0.99):
        assert delays.quantile(share) == pytest.approx(np.quantile(seconds, share), rel=0.01)
    delays.add(np.array([-1.0, 1e9]))
    assert delays.quantile(0.0) == pytest.approx(1e-6, rel=0.01)
