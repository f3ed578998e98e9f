"""Each option of the LSTM changes what is learned; checkpoints do not; the seed decides."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.config.lstm import (
    Cell,
    LstmOptions,
    Model,
    Optimiser,
    Schedule,
    Select,
    Train,
    Window,
)
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

# What each option is changed to, and what must be set beside it for it to be read.
CHANGED = {
    "window.length": (15, {}), "window.batch": (3, {}), "window.stride": (3, {}),
    "window.streams": (2, {}), "window.burn_in": (0, {}), "window.join": (True, {
        "window.stride": 1, "window.streams": 1, "window.burn_in": 0}),
    "model.cell": (Cell.peephole, {}), "model.hidden": (7, {}), "model.layers": (2, {}),
    "model.projection": (2, {}), "model.kernel": (2, {}), "model.dropout": (0.3, {}),
    "model.input_dropout": (0.0, {}), "model.networks": (2, {}), "model.forget_bias": (1.0, {}),
    "model.init_range": (0.05, {}),
    "train.own_projection": (True, {"model.projection": 2}), "train.whiten": (False, {}),
    "train.prior_bias": (False, {}), "train.epochs": (3, {}),
    "train.validate_every": (5, {"train.select": Select.loss, "train.learning_rate": 0.5}),
    "train.select": (Select.loss, {"train.validate_every": 5, "train.learning_rate": 0.5}),
    "train.optimiser": (Optimiser.rmsprop, {}),
    "train.smoothing": (0.9, {"train.optimiser": Optimiser.rmsprop}),
    "train.learning_rate": (0.01, {}), "train.projection_rate": (0.5, {"model.projection": 2}),
    "train.schedule": (Schedule.constant, {}),
    "train.decay": (0.5, {"train.schedule": Schedule.decay, "train.decay_after": 0.0}),
    "train.decay_after": (0.0, {"train.schedule": Schedule.decay}),
    "train.decays_per_epoch": (1, {"train.schedule": Schedule.decay, "train.decay_after": 0.0}),
    "train.weight_decay": (0.1, {}), "train.clip": (0.1, {}), "train.clip_value": (0.001, {}),
}  # fmt: skip
# `pipeline.stages` reads these: which series are fitted together, what scales them, what is fitted
# again. Checkpoints must change nothing.
NOT_HERE = {"train.scope", "train.scaler", "train.refit", "train.checkpoint_seconds"}
GROUPS = {"window": Window, "model": Model, "train": Train}


def test_every_option_has_a_change_to_be_tried():
    names = {f"{group}.{f.name}" for group, each in GROUPS.items() for f in fields(each)}
    assert names == CHANGED.keys() | NOT_HERE


def with_options(changes):
    groups = {"window": WINDOW, "model": MODEL, "train": replace(TRAIN, epochs=2)}
    for key, value in changes.items():
        group, _, name = key.partition(".")
        groups[group] = replace(groups[group], **{name: value})
    return LstmOptions(**groups)


@pytest.mark.parametrize("key", CHANGED)
def test_each_option_changes_what_is_learned(features, tmp_path, key):
    value, beside = CHANGED[key]
    found = []
    for number, changes in enumerate((beside, {**beside, key: value})):
        (tmp_path / str(number)).mkdir()
        data = on(features, tmp_path / str(number))
        found.append(logits(LstmDetector.fit(data, with_options(changes))[0], features))
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
