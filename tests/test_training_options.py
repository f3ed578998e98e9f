"""What changes an LSTM's weights beside its options (tests/test_options.py), and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.lstm import LstmOptions, Select
from pipeline.detectors.lstm.detector import LstmDetector
from tests.test_training import (
    MODEL,
    TRAIN,
    WINDOW,
    assert_same_weights,
    features,
    how,
    logits,
    on,
)

pytestmark = pytest.mark.slow

__all__ = ["features"]  # a fixture


def with_options(changes):
    groups = {"window": WINDOW, "model": MODEL, "train": replace(TRAIN, epochs=2)}
    for key, value in changes.items():
        group, _, name = key.partition(".")
        groups[group] = replace(groups[group], **{name: value})
    return LstmOptions(**groups)


def test_how_often_it_is_scored_changes_what_is_kept_if_the_best_is(features, tmp_path):
    beside, found = {"train.select": Select.loss, "train.learning_rate": 0.5}, []
    for every in (TRAIN.validate_every, 5):
        (tmp_path / str(every)).mkdir()
        data = on(features, tmp_path / str(every))
        options = with_options({**beside, "train.validate_every": every})
        found.append(logits(LstmDetector.fit(data, options)[0], features))
    assert not np.array_equal(*found)


def test_checkpoints_change_nothing(features, tmp_path):
    found = []
    for seconds in (0.0, 60.0):
        (tmp_path / str(seconds)).mkdir()
        options = with_options({"train.checkpoint_seconds": seconds})
        found.append(LstmDetector.fit(on(features, tmp_path / str(seconds)), options)[0])
    assert_same_weights(*found)


def test_the_seed_and_the_name_decide_the_weights(features, tmp_path):
    found = {}
    for name, seed in (("a", 0), ("again", 0), ("b", 1), ("c", 0)):
        (tmp_path / name).mkdir()
        data = on(features, tmp_path / name, seed=seed, name="other" if name == "c" else "this")
        found[name] = logits(LstmDetector.fit(data, how(epochs=1))[0], features)
    assert np.array_equal(found["a"], found["again"])
    assert not np.array_equal(found["a"], found["b"])
    assert not np.array_equal(found["a"], found["c"])
