"""What needs no EEG: it knows past events only, and learns from training series alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.recording import Description
from pipeline.results.decisions import Decider, Settings
from pipeline.results.predictions import detections, plain_settings
from pipeline.results.rhythm import Rhythm, time_since
from pipeline.results.scoring import score
from pipeline.stages.evaluate import RHYTHM, rhythm_rows

RATE, EVENTS = 50.0, ("left", "right")


def cued(seed: int, pause: tuple[float, float], trials: int = 40) -> np.ndarray:
    """Labels of 0.6 s after cues, whose pauses are drawn from a span of seconds."""
    random = np.random.default_rng(seed)
    onsets = (np.cumsum(random.uniform(*pause, trials)) * RATE).astype(int)
    labels = np.zeros((onsets[-1] + 200, 2), np.uint8)
    for onset in onsets:
        labels[onset : onset + 30, random.integers(2)] = 1
    return labels


def auc(told: bool, pause: tuple[float, float]) -> float:
    rhythm = Rhythm.fit([cued(1, pause), cued(2, pause)], RATE, told)
    held_out = cued(3, pause)
    return score(held_out, rhythm.predict(held_out), EVENTS).mean


def test_steady_cues_are_foretold_and_random_ones_are_not():
    assert auc(False, (8.0, 8.1)) > 0.9
    assert 0.4 < auc(False, (1.0, 30.0)) < 0.7
    for pause in (8.0, 8.1), (1.0, 30.0):
        assert auc(True, pause) > 0.95  # it knows each cue at once, but not which it is
        assert auc(True, pause) < 1


@pytest.mark.parametrize("told", [True, False])
@given(seed=st.integers(0, 99), at=st.integers(1, 1999))
def test_the_rhythm_sees_no_later_row(told, seed, at):
    labels = cued(seed, (1.0, 4.0))[:2000]
    rhythm = Rhythm.fit([cued(1, (1.0, 4.0))], RATE, told)
    other = labels.copy()
    other[at:] = 1 - other[at:]
    np.testing.assert_array_equal(rhythm.predict(labels)[:at], rhythm.predict(other)[:at])


def test_an_event_is_known_at_its_onset_or_at_its_end():
    labels = np.zeros((12, 2), np.uint8)
    labels[3:6, 0] = labels[5:9, 1] = 1
    since, known = time_since(labels, told=True)
    assert list(since) == [0, 1, 2, 0, 1, 0, 1, 2, 3, 4, 5, 6]
    assert list(known) == [False] * 3 + [True] * 9
    since, known = time_since(labels, told=False)
    assert list(since) == [0, 1, 2, 3, 4, 5, 3, 4, 5, 4, 5, 6]
    assert list(known) == [False] * 6 + [True] * 6


def test_the_held_out_series_teach_nothing_and_rows_that_are_left_out_do_not_count():
    about = Description(("c",), EVENTS, RATE, 1e-7, "")
    training = {(1, 1): cued(1, (4.0, 4.5)), (1, 2): cued(2, (4.0, 4.5))}
    held_out = {(1, 3): cued(3, (4.0, 4.5)), (2, 3): cued(4, (4.0, 4.5))}
    every = {key: np.arange(len(labels)) for key, labels in held_out.items()}
    table = rhythm_rows(training, held_out, every, about)
    assert set(RHYTHM) < set(table.index)
    assert list(table.loc["chance"]) == [0.5] * 3
    for name in ("cues_told", "cues_foretold"):
        low, value, high = (
            table.loc[each, "mean"] for each in (f"{name}_low", name, f"{name}_high")
        )
        assert low < value < high
        # a subject without training series has the rhythm of the others
        alone = {(2, key[1]): labels for key, labels in training.items()}
        assert rhythm_rows(alone, held_out, every, about).loc[name, "mean"] == value
    first = {(1, 3): every[1, 3][: len(every[1, 3]) // 2], (2, 3): every[2, 3]}
    assert not rhythm_rows(training, held_out, first, about).equals(table)


def test_written_onsets_are_the_decided_ones():
    random = np.random.default_rng(0)
    chances = np.repeat(random.uniform(0, 1, (200, 2)), 7, axis=0)
    settings = Settings(EVENTS, RATE, (0.6, 0.3), (0.1, 0.0), (1.0, 0.5))
    found = detections(chances, settings)
    decided = Decider(settings).push(chances)
    assert list(zip(found["sample"], found["trial_type"], strict=True)) == decided
    assert list(found["onset"] * RATE) == pytest.approx(list(found["sample"]))
    for _, row in found.iterrows():
        column = EVENTS.index(row["trial_type"])
        end = row["sample"] + round(row["duration"] * RATE)
        above = chances[row["sample"] : end, column] >= settings.thresholds[column]
        assert len(above) > 0
        assert above.all()
        assert end == len(chances) or chances[end, column] < settings.thresholds[column]
    plain = detections(chances, plain_settings(EVENTS, RATE))
    assert len(plain) > len(found)
    assert (plain["duration"] > 0).all()
