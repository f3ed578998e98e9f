"""The leak test's own parts: what it does to the labels, and what the rhythm tells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.bench import leak
from pipeline.bench.leak import changed_raw, rhythm, shifted, shuffled, since_start
from pipeline.data.kaggle_files import find_series
from pipeline.stages.jobs import Job
from tests.conftest import SMALL_COMMON

pytestmark = pytest.mark.slow

RATE = 50.0


def labels(rows=3000, period=400, first=100):
    """Two events a trial, 15 rows wide, the second 100 rows after the first."""
    made = np.zeros((rows, 2), np.uint8)
    for start in range(first, rows - 200, period):
        made[start : start + 15, 0] = made[start + 100 : start + 115, 1] = 1
    return made


def test_shuffling_keeps_how_often_and_loses_when():
    before = labels()
    after = shuffled(before, RATE, np.random.default_rng(0))
    assert not np.array_equal(before, after)
    assert 0 < after.sum() <= before.sum()  # runs may fall onto each other
    assert (after & before).sum() < 0.5 * before.sum()


def test_shifting_is_by_five_seconds_and_into_the_future():
    before = labels()
    after = shifted(before, RATE, np.random.default_rng(0))
    np.testing.assert_array_equal(after[250:], before[:-250])
    assert not after[:250].any()


def test_the_time_since_the_last_start_sees_the_past_only():
    before = labels()
    when = since_start(before, RATE)
    assert (when[:100] == 0).all()
    assert when[100] == 1
    assert when[150] == 11
    later = before.copy()
    later[1000:] = 0
    np.testing.assert_array_equal(since_start(later, RATE)[:1000], when[:1000])


def test_a_steady_rhythm_explains_shifted_labels(tmp_path):
    for series in (1, 2):
        np.save(tmp_path / f"subj1_series{series}_labels.npy", labels(first=60 * series))
    job = Job("subj1", ((1, 1),), ((1, 2),), (), tmp_path, ("one", "two"), 1)
    assert rhythm([job], RATE) > 0.95


def test_changed_raw_files_differ_in_their_events_alone(kaggle_files, tmp_path):
    found = find_series(kaggle_files, [1], [1, 2], [3])
    changed_raw(found, "shifted", 500.0, tmp_path)
    again = find_series(tmp_path, [1], [1, 2], [3])
    assert [raw.name for raw in again] == [raw.name for raw in found]
    for old, new in zip(found, again, strict=True):
        assert new.data.path.read_bytes() == old.data.path.read_bytes()
    old, new = (pd.read_csv(raw[0].events.path) for raw in (found, again))
    assert (old["id"] == new["id"]).all()
    assert list(old) == list(new)
    np.testing.assert_array_equal(new.iloc[2500:, 1:], old.iloc[:-2500, 1:])


def test_the_whole_command_on_small_recordings(recipes_folder, tmp_path, monkeypatch):
    document = tmp_path / "benchmark.md"
    document.write_text("<!-- leak:begin -->\n<!-- leak:end -->\n", encoding="utf-8")
    monkeypatch.setattr(leak, "DOC", document)
    monkeypatch.setattr(leak, "is_documents_own", lambda changes: True)
    leak.main(
        [
            "recipes=fbl_lda", *SMALL_COMMON, f"data_dir={recipes_folder / 'data'}",
            f"output_dir={recipes_folder / 'outputs'}",
        ]
    )  # fmt: skip
    text = document.read_text(encoding="utf-8")
    assert "| fbl_lda | 0." in text
    assert "| the time since the last HandStart, known exactly | - | 0." in text
