"""Every option that a method or the filter bank reads changes what comes out.

A new option has no entry in the tables below, and fails here until it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from typing import Any

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.config.demand import demand_of
from pipeline.config.filters.bank import BankFilter, FilterStart
from pipeline.config.kinds import methods
from pipeline.config.lstm import (
    Cell,
    LstmOptions,
    Model,
    Optimiser,
    Scaler,
    Schedule,
    Scope,
    Select,
    Train,
    Window,
)
from pipeline.config.methods.base import Method
from pipeline.config.methods.hybrid import HybridMethod, HybridOptions
from pipeline.config.methods.linear import LdaMethod, LrMethod
from pipeline.config.methods.semi_markov import SemiMarkovMethod
from pipeline.config.methods.tap_networks import CnnMethod, GruMethod
from pipeline.config.options import plain
from pipeline.detectors.base import Line
from pipeline.detectors.registry import METHODS
from pipeline.features.feature_series import Moments
from pipeline.features.registry import make_features
from tests.conftest import fit_data
from tests.test_semi_markov import trials

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """Other values of an option, each of which must change the outcome.

    Parameters
    ----------
    others : tuple
        The values.
    base : dict
        Other options that both sides of the comparison need.
    history : bool
        Whether it shows in the history only.
    """

    others: tuple[Any, ...]
    base: dict[str, Any] = field(default_factory=dict)
    history: bool = False


def case(*others: Any, history: bool = False, **base: Any) -> Case:
    return Case(others, {key.replace("__", "."): value for key, value in base.items()}, history)


TAPS = {"tap_count": case(2), "tap_every": case(4), "fit_every": case(3)}
DESCENT = {
    "units": case(5), "input_dropout": case(0.0), "dropout": case(0.0), "batch": case(9),
    "updates": case(7), "learning_rate": case(0.01), "momentum": case(0.5),
}  # fmt: skip
DECAY = {"train__schedule": Schedule.decay, "train__decay": 0.5}

# By method: what it is compared with, and the cases by option.
BASES: dict[str, Any] = {
    "lda": LdaMethod(tap_count=3, tap_every=2, fit_every=1, shrinkage=1e-4),
    "lr": LrMethod(tap_count=3, tap_every=2, fit_every=1, penalty_c=1.0, iterations=30),
    "gru": GruMethod(
        tap_count=3, tap_every=2, fit_every=1, units=6, input_dropout=0.2, dropout=0.2, batch=8,
        updates=9, learning_rate=0.1, momentum=0.9,
    ),
    "cnn": CnnMethod(
        tap_count=3, tap_every=2, fit_every=1, units=6, input_dropout=0.2, dropout=0.2, batch=8,
        updates=9, learning_rate=0.1, momentum=0.9, filters=3,
    ),
    "semi_markov": SemiMarkovMethod(
        tap_count=3, observed=0, rows_after=12, rows_before=6, response_ridge=3.0,
        response_smooth=10.0, response_shrinkage=0.15, rank=24, trust=1.0, paces=2,
        duration_smooth=1.0, duration_tail=0.0, duration_pooling=1.0,
    ),
    "lstm": LstmOptions(
        Window(length=20, batch=4, stride=2, streams=2, burn_in=4, join=False),
        Model(
            cell=Cell.fused, hidden=5, layers=2, projection=4, kernel=2, dropout=0.2,
            input_dropout=0.2, networks=1,
        ),
        Train(
            scope=Scope["global"], scaler=Scaler.subject, own_projection=False, whiten=True,
            prior_bias=True, epochs=2, validate_every=0, select=Select.last, refit=True,
            optimiser=Optimiser.adamw, smoothing=0.9, learning_rate=0.01, projection_rate=1.0,
            schedule=Schedule.constant, decay=1.0, decay_after=0.0, decays_per_epoch=1,
            weight_decay=0.01, clip=1.0, clip_value=0.0, checkpoint_seconds=60.0,
        ),
    ),
}  # fmt: skip
BASES["hybrid"] = HybridOptions(
    HybridMethod(**{**vars(BASES["semi_markov"]), "kind": "hybrid", "folds": 2}),
    **vars(BASES["lstm"]),
)
BASES["lstm_correction"] = BASES["lstm"]
CASES: dict[str, dict[str, Case]] = {
    "lda": {**TAPS, "shrinkage": case(0.5)},
    "lr": {**TAPS, "penalty_c": case(1e-3), "iterations": case(2)},
    "gru": {**TAPS, **DESCENT},
    "cnn": {**TAPS, **DESCENT, "filters": case(2)},
    "semi_markov": {
        "tap_count": case(5), "observed": case(3), "rows_after": case(8), "rows_before": case(4),
        "response_ridge": case(30.0), "response_smooth": case(1e3),
        "response_shrinkage": case(2.0), "rank": case(1), "trust": case(0.5), "paces": case(1),
        "duration_smooth": case(0.2), "duration_tail": case(0.1),
        "duration_pooling": case(0.0, 0.5),
    },
    "lstm": {
        "window.length": case(10), "window.batch": case(2), "window.stride": case(1),
        "window.streams": case(0, 1), "window.burn_in": case(0),
        "window.join": case(True, window__streams=1, window__stride=1, window__burn_in=0),
        # Cell.standard has the same equations as Cell.fused: tests/test_lstm.py compares the two.
        "model.cell": case(Cell.vanilla, Cell.peephole, Cell.coupled),
        "model.hidden": case(7), "model.layers": case(1), "model.projection": case(0),
        "model.kernel": case(0, 3), "model.dropout": case(0.5), "model.input_dropout": case(0.5),
        "model.networks": case(2), "model.forget_bias": case(1.5), "model.init_range": case(0.08),
        "train.own_projection": case(True), "train.whiten": case(False),
        "train.prior_bias": case(False), "train.epochs": case(3),
        "train.validate_every": case(3, history=True),
        "train.select": case(Select.auc, Select.loss, train__validate_every=1),
        "train.optimiser": case(Optimiser.rmsprop),
        "train.smoothing": case(0.5, train__optimiser=Optimiser.rmsprop),
        "train.learning_rate": case(0.02), "train.projection_rate": case(0.1),
        "train.schedule": case(Schedule.onecycle, Schedule.decay, train__decay=0.5),
        "train.decay": case(0.9, **DECAY), "train.decay_after": case(1.0, **DECAY),
        "train.decays_per_epoch": case(3, **DECAY), "train.weight_decay": case(0.5),
        "train.clip": case(0.0, 1e-2, train__clip=1e-3), "train.clip_value": case(1e-4),
    },
}  # fmt: skip
CASES["lstm_correction"] = {
    option: CASES["lstm"][option] for option in ("window.stride", "model.hidden", "train.whiten")
}
CASES["hybrid"] = {
    **{f"method.{option}": about for option, about in CASES["semi_markov"].items()},
    **CASES["lstm_correction"],
}
# All others go to the LSTM's training together: tests/test_hybrid.py.
TOGETHER = {kind: set(CASES["lstm"]) - set(CASES[kind]) for kind in ("hybrid", "lstm_correction")}
# Read by the stages, or without effect on any number.
NOT_THE_DETECTOR = {
    "train.scope": "says which subjects share a fit (`FitData.fitted`)",
    "train.scaler": "says which series `FitData.shared` holds",
    "train.refit": "says which fit predicts the test series",
    "train.checkpoint_seconds": "a checkpoint changes no number",
    "method.folds": "tests/test_hybrid.py changes it, with more series than there are here",
}


def names(options: Any) -> set[str]:
    """Name all options of a method, with their group where they have one."""
    found = set()
    for each in fields(options):
        value = getattr(options, each.name)
        if is_dataclass(value):
            found |= {f"{each.name}.{inner.name}" for inner in fields(value)}
        elif each.name != "kind":
            found.add(each.name)
    return found - {"method.kind"}


def changed(options: Any, changes: dict[str, Any]) -> Any:
    """Give options with others set, by their names."""
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        value = replace(getattr(options, group), **{name: value}) if group else value
        options = replace(options, **{group or name: value})
    return options


def check(options: Any) -> None:
    """Refuse values that the configuration would refuse."""
    if isinstance(options, LstmOptions | HybridOptions):
        options.window.check()
        options.model.check()
        options.train.check(options.model)
    method = options.method if isinstance(options, HybridOptions) else options
    if isinstance(method, Method):
        method.check(demand_of("method", method))


@cache
def series() -> list:
    """Two to learn from, of different paces, one held out, and a new one.

    The one held out contradicts the others: the longer one learns, the worse it is predicted, so
    that the last weights are not the best.
    """
    pauses = {2: (60, 80)}
    one, two, held_out, new = (
        trials(n, rows=700, pauses=pauses.get(n, (20, 40))) for n in (1, 2, 3, 4)
    )
    return [one, two, replace(held_out, features=-held_out.features), new]


def outcome(kind: str, options: Any, folder: Any, **changes: Any) -> tuple[np.ndarray, list[Line]]:
    """Fit, and give the predictions of a new series and the history."""
    check(options)
    *fitted, held_out, new = series()
    scratch = folder / str(len(list(folder.iterdir())))
    scratch.mkdir()
    more = {"held_out": [held_out], "events": ("a", "b", "c"), "scratch": scratch} | changes
    detector, history = METHODS[kind].load().fit(fit_data(fitted, **more), options)
    return detector.predict(new.features, 1), history


def lines(history: list[Line]) -> list[tuple]:
    """Give what a history says of the way, without times and without what it copies of options."""
    return [
        (line.get("epoch"), line.get("step"), repr(line.get("loss")), line.get("best"))
        for line in history
    ]


ALL = [(kind, option) for kind, cases in CASES.items() for option in cases]
BASE_OUTCOMES: dict[tuple, tuple] = {}


def base_outcome(kind: str, folder: Any, changes: dict[str, Any]) -> tuple[np.ndarray, list[Line]]:
    """Give the outcome of a base with some changes, which is computed once."""
    known = (kind, *sorted(changes.items(), key=str))
    if known not in BASE_OUTCOMES:
        BASE_OUTCOMES[known] = outcome(kind, changed(BASES[kind], changes), folder)
    return BASE_OUTCOMES[known]


@pytest.mark.parametrize("kind", METHODS)
def test_every_option_of_every_method_is_in_the_table(kind):
    elsewhere = set(NOT_THE_DETECTOR) & names(BASES[kind]) | TOGETHER.get(kind, set())
    assert not elsewhere & set(CASES[kind])
    assert names(BASES[kind]) == set(CASES[kind]) | elsewhere
    expected = JOINED.get(kind, methods()[kind])
    assert type(BASES[kind]) is expected
    stack = ["stack=members"] if kind == "lstm_correction" else []
    assert type(compose([f"method={FILES.get(kind, kind)}", *stack]).detector_options) is expected


JOINED = {  # of several groups
    "lstm": LstmOptions, "lstm_correction": LstmOptions, "hybrid": HybridOptions,
}  # fmt: skip
FILES = {"gru": "gru_taps", "cnn": "hochberg_cnn"}  # in conf/method, where not named as the method


@pytest.mark.parametrize(("kind", "option"), ALL)
def test_every_option_changes_what_is_learned(kind, option, tmp_path):
    about = CASES[kind][option]
    base = changed(BASES[kind], about.base)
    predicted, history = base_outcome(kind, tmp_path, about.base)
    for value in about.others:
        other_predicted, other_history = outcome(kind, changed(base, {option: value}), tmp_path)
        if about.history:
            assert lines(other_history) != lines(history), f"{option}={value} changes nothing"
        else:
            assert not np.array_equal(other_predicted, predicted), f"{option}={value}: no change"


@pytest.mark.parametrize("kind", METHODS)
def test_the_same_options_give_the_same_bytes_and_the_seed_gives_others(kind, tmp_path):
    """Else a comparison of two outcomes would say nothing."""
    predicted, history = base_outcome(kind, tmp_path, {})
    again, again_history = outcome(kind, BASES[kind], tmp_path)
    np.testing.assert_array_equal(again, predicted)
    assert lines(again_history) == lines(history)
    assert sum(line["best"] for line in history) == 1
    seeded, _ = outcome(kind, BASES[kind], tmp_path, seed=1)
    assert np.array_equal(seeded, predicted) == (kind in ("lda", "lr", "semi_markov"))


def test_one_scaler_for_all_subjects_is_that_of_the_shared_series(tmp_path):
    alone, _ = base_outcome("lstm", tmp_path, {})
    shared = [Moments.of(10 * series()[0].features + 1)]
    together, _ = outcome("lstm", BASES["lstm"], tmp_path, shared=shared)
    assert not np.array_equal(together, alone)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_checkpoints_change_no_number(seconds, tmp_path):
    expected, _ = base_outcome("lstm", tmp_path, {})
    options = changed(BASES["lstm"], {"train.checkpoint_seconds": seconds})
    np.testing.assert_array_equal(outcome("lstm", options, tmp_path)[0], expected)


FILTER = BankFilter(
    highpass_hz=0.5, lowpass_hz=[1.0, 5.0], order=3, power_bands_hz=[[8.0, 14.0]],
    power_smoothing_hz=2.0, covariance_bands_hz=[[7.0, 30.0]], covariance_smoothing_hz=0.5,
    decimate=4, subsample=1, start=FilterStart.first,
)  # fmt: skip
FILTER_CASES = {
    "highpass_hz": case(0.0, 1.0), "lowpass_hz": case([], [1.0], [1.0, 6.0]), "order": case(2),
    "power_bands_hz": case([], [[8.0, 15.0]]), "power_smoothing_hz": case(1.0),
    "covariance_bands_hz": case([], [[7.0, 20.0]]), "covariance_smoothing_hz": case(1.0),
    "decimate": case(2), "subsample": case(2), "start": case(FilterStart.zero),
}  # fmt: skip


def test_every_option_of_the_filter_bank_is_in_the_table():
    assert {each.name for each in fields(BankFilter)} - {"kind"} == set(FILTER_CASES)


@pytest.mark.parametrize("option", FILTER_CASES)
def test_every_option_of_the_filter_bank_changes_the_features(option, rng):
    signal = 100 + np.cumsum(rng.normal(0, 5, (1200, 3)), axis=0)

    def features(options: BankFilter) -> np.ndarray:
        options.check(250.0)
        return make_features(250.0, plain(options)).transform(signal)[0]

    before = features(FILTER)
    for value in FILTER_CASES[option].others:
        after = features(replace(FILTER, **{option: value}))
        assert after.shape != before.shape or not np.array_equal(after, before)


ENUMS = [(kind, option) for kind, option in ALL if isinstance(CASES[kind][option].others[0], Enum)]


@pytest.mark.parametrize(("kind", "option"), ENUMS)
def test_every_name_that_an_option_may_have_is_in_the_table(kind, option):
    others = CASES[kind][option].others
    group, name = option.split(".")
    base = getattr(getattr(BASES[kind], group), name)
    same = {Cell.standard} if option == "model.cell" else set()
    assert {base, *others} | same == set(type(base))
