"""New subjects: what is known of others, a scaler that follows the signal, and the protocols."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.adapt import Adapt, full_keys
from pipeline.config.compose import compose, recipe_groups, with_recipe
from pipeline.config.kinds import methods
from pipeline.config.lstm import Scaler, Scope
from pipeline.config.protocol import Evaluation, Protocol, refusal
from pipeline.detectors.adaptation import linear as linear_adaptation
from pipeline.detectors.adaptation import semi_markov as semi_markov_adaptation
from pipeline.detectors.adaptation.adapt import adapt
from pipeline.detectors.adaptation.semi_markov import Others, fit_own
from pipeline.detectors.base import Detector
from pipeline.detectors.discriminant import Sums, fit_discriminant, fit_each
from pipeline.detectors.registry import METHODS
from pipeline.detectors.unseen import RunningScaler, UnseenDetector
from pipeline.errors import ConfigError, DataError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.results.scoring import held_out_line
from tests.conftest import fit_data
from tests.test_options import BASES
from tests.test_semi_markov import trials

EVENTS = ("a", "b", "c")
OPTIONS = {
    "lda": replace(BASES["lda"], tap_count=1),
    "semi_markov": replace(BASES["semi_markov"], response_shrinkage=0.0),
    "lstm": replace(
        BASES["lstm"],
        window=replace(BASES["lstm"].window, length=50, batch=16),
        train=replace(BASES["lstm"].train, own_projection=True, epochs=4),
    ),
}
OPTIONS["hybrid"] = replace(
    BASES["hybrid"], window=OPTIONS["lstm"].window, train=OPTIONS["lstm"].train,
    method=replace(BASES["hybrid"].method, response_shrinkage=0.0),
)  # fmt: skip
KINDS = tuple(OPTIONS)
LEARNING = ("lda", "semi_markov", "hybrid")  # the hybrid has the LSTM in it
FITTED = (1, 2)
NEW = 3


@cache
def series(subject: int, number: int) -> FeatureSeries:
    """A subject's series: all alike, but for units and offsets of their own."""
    made = trials(number, subject, rows=900 if number < 9 else 2400)
    own = np.random.default_rng(subject)
    features = made.features * own.uniform(0.5, 3.0, 5) + own.normal(0, 20, 5)
    features = features.astype(np.float32)
    return replace(made, features=features, moments=Moments.of(features))


@cache
def known(kind: str, folder: Path) -> list[Detector]:
    """What the others' series taught: one detector for all of them."""
    data = fit_data(
        [series(subject, number) for subject in FITTED for number in (1, 2)], events=EVENTS,
        scratch=folder, name=f"others_{kind}",
    )  # fmt: skip
    return [METHODS[kind].load().fit(data, OPTIONS[kind])[0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("new")


def adapted(kind: str, folder: Path, *own: int) -> Detector:
    data = fit_data(
        [series(NEW, number) for number in own], events=EVENTS, scratch=folder,
        name=f"{kind}{own}",
    )  # fmt: skip
    return adapt(kind, known(kind, folder), data, NEW, OPTIONS[kind])[0]


def auc(detector: Detector) -> float:
    new = series(NEW, 9)
    line = held_out_line(detector.predict(new.features, NEW), np.asarray(new.labels), EVENTS)
    assert line["valid_auc_mean"] is not None
    return line["valid_auc_mean"]


# ---- the scaler of somebody unseen ------------------------------------------------------------


def start() -> RunningScaler:
    """People differ much in the means of the second and the third feature."""
    means = np.array([5.0, -100, -2e4]), np.array([7.0, 100, 3e4])
    return RunningScaler.of([(means[0], np.full(3, 2.0)), (means[1], np.ones(3))])


def signal(rows: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([3, -40, 1e4], [1, 5, 0.5], (rows, 3))


@given(cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=25)
def test_the_scaler_gives_the_same_bits_however_a_series_is_cut(cuts):
    whole, _ = start().push(signal(), start().start())
    state, parts = start().start(), []
    for begin, end in pairwise([0, *sorted(cuts), 400]):
        part, state = start().push(signal()[begin:end], state)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("t", [0, 1, 57, 398])
def test_the_scaler_sees_no_later_row(t):
    changed = signal()
    changed[t + 1 :] = 1e6 * signal(seed=1)[t + 1 :]
    before, after = (start().push(x, start().start())[0] for x in (signal(), changed))
    np.testing.assert_array_equal(after[: t + 1], before[: t + 1])
    assert not np.array_equal(after[t + 1 :], before[t + 1 :])


def test_the_scaler_ends_at_the_series_own_mean_and_deviation():
    long = signal(60_000)
    ready, _ = start().push(long, start().start())
    end = ready[-5000:]
    np.testing.assert_allclose(end.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(end.std(axis=0), 1, atol=0.15)


def test_the_scaler_begins_with_what_the_others_have():
    scaler = start()
    ready, _ = scaler.push(scaler.mean[None], scaler.start())
    np.testing.assert_allclose(ready, 0, atol=1e-6)
    # Where people are alike, a first row that is not is far from the mean; else it is the mean.
    away = scaler.mean + 10 * np.sqrt(scaler.variance)
    ready, _ = scaler.push(away[None], scaler.start())
    assert ready[0, 0] > 9
    assert ready[0, 2] < 0.1


# ---- detectors --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEARNING)
def test_an_unseen_subject_is_predicted_from_the_rows_so_far(kind, folder, tmp_path):
    """Causal to the bit, the same in pieces, and the same after it was saved."""
    detector = adapted(kind, folder)
    detector.save(tmp_path / "model.pt")
    again = UnseenDetector.load(tmp_path / "model.pt")
    whole = np.asarray(series(NEW, 9).features)[:200]
    before = detector.predict(whole, NEW)
    np.testing.assert_array_equal(again.predict(whole, NEW), before)
    changed = whole.copy()
    changed[121:] *= -3
    after = detector.predict(changed, NEW)
    np.testing.assert_array_equal(after[:121], before[:121])
    assert not np.array_equal(after, before)
    state, parts = again.start(NEW), []
    for begin, end in pairwise([0, 1, 60, 200]):
        part, state = again.push(whole[begin:end], state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts), before, atol=1e-3)


@pytest.mark.parametrize("kind", LEARNING)
def test_others_tell_of_a_subject_and_his_own_series_tell_more(kind, folder):
    unseen, one, two = (adapted(kind, folder, *own) for own in ((), (1,), (1, 2)))
    assert auc(unseen) > 0.6
    assert auc(one) > 0.7
    assert max(auc(one), auc(two)) > auc(unseen)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapted_detector_is_saved_whole_and_knows_one_subject(kind, folder, tmp_path):
    detector = adapted(kind, folder, 1)
    detector.save(tmp_path / "model.pt")
    again = METHODS[kind].load().load(tmp_path / "model.pt")
    new = series(NEW, 9).features
    np.testing.assert_array_equal(again.predict(new, NEW), detector.predict(new, NEW))
    with pytest.raises(KeyError):
        again.predict(new, FITTED[0])


@pytest.mark.parametrize("kind", LEARNING)
def test_the_same_series_give_the_same_bytes(kind, folder, tmp_path):
    one, other = adapted(kind, folder, 1), adapted(kind, tmp_path, 1)
    new = series(NEW, 9).features
    np.testing.assert_array_equal(other.predict(new, NEW), one.predict(new, NEW))


def test_sums_give_the_discriminants_of_their_rows(rng):
    features = rng.normal(0, 1, (3000, 6)) @ rng.normal(0, 1, (6, 6))
    labels = (rng.random((3000, 3)) < [0.05, 0.2, 0]).astype(np.uint8)
    features += labels[:, :1]
    weights, bias = fit_each(features, labels, lambda x, y: fit_discriminant(x, y, shrinkage=0.01))
    parts = [Sums.of(features[half], labels[half], 1) for half in (slice(999), slice(999, None))]
    ours, our_bias = (parts[0] + parts[1]).discriminants(0.01)
    np.testing.assert_allclose(ours, weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(our_bias, bias, rtol=1e-4, atol=1e-5)
    doubled, _ = (parts[0] * 2 + parts[1] * 2).discriminants(0.01)
    np.testing.assert_allclose(doubled, weights, rtol=1e-4, atol=1e-5)


def test_the_others_count_as_told(folder, monkeypatch):
    """For nothing, the result is the subject's own discriminant."""
    monkeypatch.setattr(linear_adaptation, "OTHERS", 0.0)
    ours = adapted("lda", folder, 1)
    own = fit_data([series(NEW, 1)], events=EVENTS)
    alone = METHODS["lda"].load().fit(own, OPTIONS["lda"])[0]
    new = series(NEW, 9).features
    np.testing.assert_allclose(ours.predict(new, NEW), alone.predict(new, NEW), atol=1e-3)


def test_chains_are_averaged_and_a_chain_alone_stays_itself(folder, monkeypatch):
    monkeypatch.setattr(semi_markov_adaptation, "UNSEEN_TRUST", 1.0)
    (fitted,) = known("semi_markov", folder)
    chain = fitted.chains[1]
    alone = Others.of([replace(fitted, chains={1: chain})], OPTIONS["semi_markov"]).chain
    np.testing.assert_allclose(alone.past, chain.past)
    np.testing.assert_allclose(alone.durations, chain.durations, atol=1e-6)
    np.testing.assert_allclose(alone.follows, chain.follows, atol=1e-6)
    rows = (np.asarray(series(1, 9).features) - chain.mean) / chain.deviation
    one, other = (
        each.evidence(rows, 3)
        for each in (alone, replace(chain, mean=alone.mean, deviation=alone.deviation))
    )
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-2)
    both = Others.of([fitted], OPTIONS["semi_markov"]).chain
    mean = (fitted.chains[1].past + fitted.chains[2].past) / 2
    np.testing.assert_allclose(both.past, mean, atol=1e-6)


def test_durations_become_the_subject_s_own(folder):
    slow = [trials(number, NEW, rows=900, pauses=(70, 80)) for number in (1, 2)]
    others = Others.of(known("semi_markov", folder), OPTIONS["semi_markov"])
    own = fit_own(others, slow, OPTIONS["semi_markov"])
    pause = [tuple(pair) for pair in own.pairs].index((2, 0))

    def mean(chances: np.ndarray) -> float:
        return float(chances @ np.arange(1, len(chances) + 1))

    before, after = (mean(c.durations[0, pause]) for c in (others.chain, own))
    assert before + 2 < after


def test_series_without_an_event_are_refused(folder):
    empty = replace(series(NEW, 1), labels=np.zeros((900, 3), dtype=np.uint8))
    for kind in ("semi_markov", "hybrid"):
        data = fit_data([empty], events=EVENTS, scratch=folder)
        with pytest.raises(DataError, match="subject 3: no event"):
            adapt(kind, known(kind, folder), data, NEW, OPTIONS[kind])


def test_models_of_an_earlier_version_are_refused(folder):
    old = replace(known("lda", folder)[0], sums=None)
    with pytest.raises(DataError, match="of an earlier version"):
        adapt("lda", [old], fit_data([], events=EVENTS), NEW, OPTIONS["lda"])
    old = replace(known("lstm", folder)[0], deviations={})
    with pytest.raises(DataError, match="of an earlier version"):
        adapt("lstm", [old], fit_data([], events=EVENTS), NEW, OPTIONS["lstm"])
    with pytest.raises(DataError, match=r"one network per subject.*train\.scope=global"):
        adapt("lstm", [old, old], fit_data([], events=EVENTS), NEW, OPTIONS["lstm"])


# ---- the configuration ------------------------------------------------------------------------

CROSS = Protocol(Evaluation.cross_subject)
TRAIN = BASES["lstm"].train


@pytest.mark.parametrize(
    ("kind", "train", "reason"),
    [
        ("lr", {}, "method.kind=lr cannot"),
        ("lstm", {"scope": Scope.subject}, r"one network per subject.*train.scope=global"),
        ("hybrid", {"scope": Scope.subject}, r"one network per subject"),
        ("lstm", {"scaler": Scaler.shared}, "train.scaler=shared"),
        ("lstm", {"own_projection": False}, "set train.whiten=false or train.own_projection=true"),
    ],
)
def test_a_method_that_says_nothing_of_a_new_subject_is_refused(kind, train, reason):
    """And it says why."""
    method = methods()[kind](kind=kind)
    chosen = replace(OPTIONS["lstm"].train, **train)
    assert re.search(reason, refusal(method, chosen))
    with pytest.raises(ConfigError, match=f"protocol.kind=cross_subject: .*{reason}"):
        CROSS.check(method, chosen, False)
    Protocol(Evaluation.within_subject).check(method, chosen, False)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Protocol(Evaluation.cross_subject, 1), "own_series=1: .*choose protocol=calibration"),
        (Protocol(Evaluation.within_subject, 1), "own_series=1: "),
        (Protocol(Evaluation.calibration, -1), "own_series=-1: must be 0 or more"),
    ],
)
def test_a_number_of_series_that_cannot_be_is_refused(protocol, message):
    with pytest.raises(ConfigError, match=message):
        protocol.check(BASES["lda"], TRAIN, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Adapt(), r"adapt.model=None: .*models:/NAME@champion"),
        (Adapt("x"), "adapt.subject=None: .*adapt.subject=13"),
        (Adapt("x", 1.5, [1]), "adapt.subject=1.5: must be a number or a name"),
        (Adapt("x", 1), r"adapt.series=\[\]: .*\[1,2\]"),
        (Adapt("x", 1, [1, 1]), "adapt.series=.* names one thing twice"),
    ],
)
def test_what_adapt_needs_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        options.check("adapt")
    options.check("submit")


def test_keys_that_are_not_read_are_refused():
    with pytest.raises(ConfigError, match="threads: is not read by stage=adapt"):
        Adapt("x", 1, [1]).refuse_unread("adapt", ["adapt.model", "threads"])
    with pytest.raises(ConfigError, match="is read by stage=adapt only"):
        Adapt().refuse_unread("submit", ["adapt.subject"])
    short = ["stage=adapt", "model=models:/grasp@champion", "subject=3", "series=[1]", "seed=1"]
    long = ["stage=adapt", "adapt.model=models:/grasp@champion", "adapt.subject=3"]
    assert full_keys(short) == [*long, "adapt.series=[1]", "seed=1"]
    assert full_keys(short[1:]) == short[1:]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=stack", "protocol=cross_subject"], "protocol.kind=cross_subject: a stack"),
        (
            ["experiment=fbl_lda", "protocol=calibration", "decisions.enabled=true"],
            "decisions.enabled=True: needs protocol=within_subject, not calibration",
        ),
        (["stage=adapt"], "adapt.model=None"),
        (["adapt.subject=1"], "adapt.subject: is read by stage=adapt only"),
    ],
)
def test_a_command_line_that_contradicts_itself_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(["dataset=simulated", *overrides])


def test_every_method_that_adapts_says_so_and_has_the_code():
    assert {kind for kind, options in methods().items() if options.ADAPTS} == {
        kind for kind, entry in METHODS.items() if entry.adaptation
    }


def test_a_recipe_s_options_are_told_in_json_as_they_are_composed():
    """A fitted recipe's groups come back as they were."""
    plain = compose(["dataset=simulated"])
    for recipe in ("fbl_lda", "hybrid"):
        config = compose(["dataset=simulated", f"experiment={recipe}"])
        stored = json.loads(json.dumps(recipe_groups(config)))
        back = with_recipe(plain, stored)
        assert back.detector_options == config.detector_options
        assert (back.filter, back.train.scope) == (config.filter, config.train.scope)
