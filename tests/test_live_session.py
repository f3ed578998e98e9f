"""A signal chunk by chunk: what is predicted, held, refused, lost, and counted."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.recording import Description
from pipeline.errors import DataError
from pipeline.live.feed import Chunk, play
from pipeline.live.policy import Policy
from pipeline.live.session import Session
from pipeline.live.view import Step, TerminalView
from pipeline.results.decisions import Decider, Onset, Settings

RATE = 100.0
EVENTS = ("reach", "hold")
ABOUT = Description(("C3", "C4"), EVENTS, RATE, 1e-6, "")
SETTINGS = Settings(EVENTS, RATE, (0.5, 0.5), (0.02, 0.02), (0.3, 0.3))
TOO_LARGE = 1e300


class Share:
    """A stand-in for a fitted recipe: the running mean of what it has seen, as probabilities."""

    def __init__(self) -> None:
        self.resets = 0
        self.seen: list[np.ndarray] = []

    def push(self, samples: np.ndarray) -> np.ndarray:
        assert len(samples)
        assert np.isfinite(samples).all()
        if np.abs(samples).max() >= TOO_LARGE:
            raise DataError("too large")
        self.seen += list(samples)
        done = np.cumsum(np.stack(self.seen), axis=0)[-len(samples) :]
        rows = len(self.seen) - len(samples) + 1 + np.arange(len(samples))
        return (done / rows[:, None]).astype(np.float32)

    def reset(self) -> None:
        self.resets += 1
        self.seen = []


def session(bridge: float = 0.2, clock: list[float] | None = None) -> Session:
    now = (lambda: clock[0]) if clock else (lambda: 0.0)
    return Session(Share(), Decider(SETTINGS), Policy(RATE, bridge), now)


def signal(rows: int = 400) -> np.ndarray:
    """Both channels rise above one half and fall again, now and then."""
    phase = np.arange(rows)[:, None] / 7 + np.array([0.0, 2.0])
    return 0.5 + 0.5 * np.sin(phase) * np.exp(-np.arange(rows)[:, None] / 300)


def taken(one: Session, samples: np.ndarray, times: np.ndarray, chunk: int = 9) -> list[Step]:
    return [
        step
        for begin in range(0, len(times), chunk)
        for step in one.take(samples[begin : begin + chunk], times[begin : begin + chunk])
    ]


def joined(steps: list[Step]) -> tuple[np.ndarray, list[Onset]]:
    onsets = [onset for step in steps for onset in step.onsets]
    return np.concatenate([step.probabilities for step in steps]), onsets


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 50))
def test_chunks_of_any_size_give_what_the_whole_gives(chunk):
    samples, times = signal(), np.arange(400) / RATE
    steps = taken(session(), samples, times, chunk)
    expected = Share().push(samples)
    got, onsets = joined(steps)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert onsets == Decider(SETTINGS).push(got)
    assert len(onsets) > 2


def test_a_bridged_gap_keeps_times_and_the_onsets_count(rng):
    samples, times = signal(), 50 + np.arange(400) / RATE
    gone = slice(250, 262)
    one = session()
    steps = taken(one, np.delete(samples, gone, axis=0), np.delete(times, gone))
    got, onsets = joined(steps)
    held = samples.copy()
    held[gone] = samples[249]
    np.testing.assert_allclose(got, Share().push(held), rtol=1e-6)
    assert onsets == Decider(SETTINGS).push(got)
    np.testing.assert_allclose(np.concatenate([step.times for step in steps]), times)
    said = one.summary()
    assert (said.samples, said.bridged, said.gaps, said.restarts) == (388, 12, 1, 0)


def test_a_long_gap_makes_the_recipe_start_anew_and_counts_on():
    samples, times = signal(), np.arange(400) / RATE
    one = session()
    steps = taken(
        one, np.delete(samples, slice(200, 250), axis=0), np.delete(times, slice(200, 250))
    )
    got, _ = joined(steps)
    np.testing.assert_allclose(got[200:], Share().push(samples[250:]), rtol=1e-6)
    assert one.predictor.resets == 1
    assert one.samples == 350
    assert max(onset.sample for step in steps for onset in step.onsets) > 200
    assert one.summary().restarts == 1


def test_after_a_new_start_no_run_of_before_becomes_an_onset():
    """Half a dwell time before the gap and half after it are none."""
    one = session()
    above = np.full((400, 2), 0.9)
    above[:199] = 0.0
    one.predictor.push = lambda samples: samples.astype(np.float32)
    times = np.concatenate([np.arange(200), 1000 + np.arange(1)]) / RATE
    assert joined(taken(one, above[:201], times, 50))[1] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, TOO_LARGE])
def test_samples_that_cannot_be_are_replaced_and_the_signal_goes_on(value):
    samples, times = signal(), np.arange(400) / RATE
    broken = samples.copy()
    broken[207:216, 1] = value  # just one of the chunks
    one = session()
    steps = taken(one, broken, times)
    held = samples.copy()
    held[207:216] = samples[206]
    np.testing.assert_allclose(joined(steps)[0], Share().push(held), rtol=1e-6)
    said = one.summary()
    assert (said.refused, said.restarts, said.gaps) == (9, 0, 0)
    assert any("207" not in note and "9" in note for step in steps for note in step.notes)


def test_too_many_of_them_make_the_recipe_start_anew_behind_them():
    samples, times = signal(), np.arange(400) / RATE
    broken = samples.copy()
    broken[200:240] = np.nan
    one = session(bridge=0.2)
    steps = taken(one, broken, times, 400)
    got, _ = joined(steps)
    held = np.repeat(samples[199][None], 20, axis=0)
    np.testing.assert_allclose(
        got[:220], Share().push(np.concatenate([samples[:200], held])), rtol=1e-6
    )
    np.testing.assert_allclose(got[220:], Share().push(samples[240:]), rtol=1e-6)
    assert (one.summary().refused, one.summary().restarts) == (40, 1)


def test_nan_from_the_first_sample_on_is_waited_through():
    samples = signal(60)
    samples[:30] = np.nan
    one = session()
    steps = taken(one, samples, np.arange(60) / RATE)
    np.testing.assert_allclose(joined(steps)[0], Share().push(samples[30:]), rtol=1e-6)


def test_time_stamps_that_are_no_numbers_are_told_and_replaced():
    times = np.arange(400) / RATE
    times[[0, 33, 34]] = np.nan
    one = session()
    steps = taken(one, signal(), times)
    assert sum("time stamps are no numbers" in note for step in steps for note in step.notes) == 2
    assert one.summary().gaps == one.summary().jumps_back == 0


class Listed:
    """A feed of given chunks."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks

    def read(self) -> Chunk | None:
        return self.chunks.pop(0) if self.chunks else None

    def labels(self, times: np.ndarray) -> None:
        return None


class Kept:
    """A view that keeps what it is shown."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def show(self, step: Step) -> None:
        self.steps.append(step)


def test_if_too_much_is_waiting_all_but_the_newest_is_lost():
    samples, times = signal(), np.arange(400) / RATE
    parts = [(0, 10), (10, 310), (310, 320)]
    chunks = [Chunk(samples[a:b], times[a:b]) for a, b in parts]
    view, one, sent = Kept(), session(), []
    play(Listed(chunks), one, view, [lambda step, first: sent.append(first)], buffer_seconds=2.0)
    assert [len(step.samples) for step in view.steps] == [10, 10, 10]
    assert sent == [0, 10, 20]
    np.testing.assert_array_equal(view.steps[1].samples, samples[300:310])
    assert one.predictor.resets == 1
    said = one.summary()
    assert (said.lost, said.gaps, said.restarts) == (290, 0, 1)
    assert "fell behind" in " ".join(view.steps[1].notes)


def test_a_stream_that_is_back_starts_anew_on_another_clock():
    samples, times = signal(), np.arange(400) / RATE
    chunks = [
        Chunk(samples[:200], times[:200] + 900),
        Chunk(samples[:0], times[:0], ("it has ended",)),
        Chunk(samples[:200], times[:200], (), "it is back"),
    ]
    view, one = Kept(), session()
    play(Listed(chunks), one, view, [], buffer_seconds=9.0)
    assert [step.notes for step in view.steps] == [
        (), ("it has ended",), ("it is back: the recipe starts anew",),
    ]  # fmt: skip
    assert one.summary().jumps_back == 0
    np.testing.assert_array_equal(view.steps[0].probabilities, view.steps[2].probabilities)


def test_delays_run_from_the_newest_sample_s_time_stamp():
    clock = [0.0]
    one = session(clock=clock)
    for begin in range(0, 100, 10):
        clock[0] = (begin + 9) / RATE + 0.004
        [step] = one.take(signal()[begin : begin + 10], np.arange(begin, begin + 10) / RATE)
        assert step.delay == pytest.approx(0.004)
    said = one.summary()
    assert said.delay_p99 == pytest.approx(0.094, rel=0.01)
    assert said.delay_p50 == pytest.approx(0.044, rel=0.2)


def test_the_terminal_names_onsets_notes_and_the_summary():
    out = io.StringIO()
    view = TerminalView(out)
    view.begin(ABOUT, "a title")
    one = session()
    times = np.delete(np.arange(400) / RATE, slice(200, 250))
    for step in taken(one, signal(350), times):
        view.show(step)
    view.end(one.summary())
    said = out.getvalue().splitlines()
    assert said[0] == "a title"
    assert sum(line.endswith("reach") for line in said) == one.onsets["reach"] > 0
    assert sum("starts anew" in line for line in said) == 1
    assert "gaps 1 (missing 50 samples" in said[-3] + said[-2]
