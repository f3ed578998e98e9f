"""The semi-Markov chain: against plain sums over all its states, and on trials it can learn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipeline.config.compose import compose
from pipeline.detectors.linear import LinearDetector
from pipeline.detectors.semi_markov import belief, compiled
from pipeline.detectors.semi_markov.belief import Belief, follow
from pipeline.detectors.semi_markov.chain import Chain, earlier, pasts, predict_from_past
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.fit import design, past_moments
from pipeline.detectors.semi_markov.notes import notes, sentences
from pipeline.detectors.semi_markov.order import RARE, Order
from pipeline.detectors.semi_markov.timing import (
    ENOUGH,
    Timing,
    by_pace,
    find_events,
    pair_durations,
    spread,
    start,
)
from pipeline.errors import ConfigError, DataError
from pipeline.features.feature_series import FeatureSeries, Moments
from tests.conftest import fit_data

pytestmark = pytest.mark.slow

METHOD = replace(
    compose(["method=semi_markov"]).method,
    observed=0, tap_count=3, rows_after=12, rows_before=6, response_smooth=10.0,
    response_ridge=3.0, trust=1.0,
)  # fmt: skip
EVENTS, HALF = 3, 2


def trials(
    number: int, subject: int = 1, count: int = 60, rows: int = 2400,
    pauses: tuple[int, int] = (20, 40),
) -> FeatureSeries:  # fmt: skip
    """Features in which each of three events shows after it, and the third one before it, too."""
    random = np.random.default_rng([subject, number])
    features = random.normal(0, 1, (rows, 5))
    features = features + 0.8 * earlier(features, 1)
    labels, row = np.zeros((rows, EVENTS), dtype=np.uint8), 25
    for index in range(count * EVENTS):
        event = index % EVENTS
        if row > rows - 20:
            break
        labels[row - HALF : row + HALF + 1, event] = 1
        features[row : row + 6, event] += 2.0
        if event == 2:
            features[row - 4 : row, 3] += 2.0
        row += int(random.integers(*((8, 12) if event < 2 else pauses)))
    features = features.astype(np.float32)
    return FeatureSeries(subject, number, features, labels, Moments.of(features))


@pytest.fixture(scope="module")
def detector() -> SemiMarkovDetector:
    return SemiMarkovDetector.fit(fit_data([trials(1), trials(2)]), METHOD)[0]


def test_events_are_found_before_they_show_in_series_never_seen(detector):
    new = trials(3)
    chances = detector.predict(new.features, 1)
    aucs = [roc_auc_score(new.labels[:, e], chances[:, e]) for e in range(EVENTS)]
    # Nothing announces the first, which comes after a pause of any length.
    assert (np.array(aucs) > [0.88, 0.95, 0.98]).all()
    assert detector.half == HALF
    # Durations tell the second event's window as it begins, before any response to the event.
    begins = np.flatnonzero(np.diff(new.labels[:, 1].astype(int)) == 1) + 1
    assert np.median(chances[begins, 1]) > np.quantile(chances[:, 1], 0.75)


def test_what_earlier_rows_cannot_predict_is_white(detector):
    new, chain = trials(4), detector.chains[1]
    ready = (new.features - chain.mean) / chain.deviation
    left = ready - predict_from_past(ready, detector.lags, chain.past)
    assert np.abs(np.corrcoef(left[1:].T, left[:-1].T)[:5, 5:]).max() < 0.3
    assert np.corrcoef(ready[1:, 4], ready[:-1, 4])[0, 1] > 0.4


@given(t=st.integers(0, 2398))
@settings(max_examples=6, deadline=None)
def test_no_prediction_sees_a_later_row(detector, t):
    before = trials(5).features
    after = before.copy()
    after[t + 1 :] = 1e3
    np.testing.assert_array_equal(
        detector.predict(before, 1)[: t + 1], detector.predict(after, 1)[: t + 1]
    )


def test_saved_and_loaded_it_predicts_the_same_bits(detector, tmp_path):
    detector.save(tmp_path / "model.pt")
    again, features = SemiMarkovDetector.load(tmp_path / "model.pt"), trials(6).features
    np.testing.assert_array_equal(again.predict(features, 1), detector.predict(features, 1))


def test_the_recursion_is_compiled_as_one_function(detector):
    """Else it gives other bits on the day it is compiled than on all days after."""
    detector.predict(trials(6).features, 1)
    own = {name: each for name, each in vars(compiled).items() if hasattr(each, "signatures")}
    assert {name for name, each in own.items() if each.signatures} == {"advance"}
    assert len(own) == 9


def test_where_arrays_lie_in_memory_changes_no_bit(detector):
    """Holes of other sizes each time, and new arrays in them."""
    (chain,), rng = detector.chains.values(), np.random.default_rng(1)
    evidence = chain.evidence(np.asarray(trials(6).features)[:40], METHOD.tap_count)
    begin = Belief(chain, HALF)
    expected = begin.resumed(**begin.weights()).follow(*evidence)
    for _ in range(600):
        holes = [np.empty(rng.integers(1, 800), np.uint8) for _ in range(40)][::2]  # noqa: F841
        again = begin.resumed(**begin.weights()).follow(*evidence)
        np.testing.assert_array_equal(again, expected)


def test_rows_beyond_all_measure_end_in_numbers_all_the_same(detector):
    whole = trials(7)
    broken = whole.features.copy()
    broken[100:200] = 1e6
    chances = detector.predict(broken, 1)
    assert np.isfinite(chances).all()
    it_finds_its_way_back, as_before = (
        roc_auc_score(whole.labels[400:, 1], each[400:, 1])
        for each in (chances, detector.predict(whole.features, 1))
    )
    assert it_finds_its_way_back > as_before - 0.02


@given(cuts=st.lists(st.integers(0, 60), max_size=4), row=st.integers(0, 59))
@settings(max_examples=12, deadline=None)
def test_a_series_gives_the_same_bytes_however_it_is_cut(cuts, row):
    rng = np.random.default_rng(1)
    chain = any_chain(rng, 3, 4, 3, 9, [1, 0], np.full((3, 3), 1 / 3))
    after, before = evidence_of(chain, rng, 60)
    whole = follow(chain, 2, after, before)
    ends = [0, *sorted(cuts), 60]
    in_parts = Belief(chain, 2)
    got = [in_parts.follow(after[a:b], before[a:b]) for a, b in pairwise(ends)]
    np.testing.assert_array_equal(np.concatenate(got), whole)
    # Row by row, from a state that was kept while another went on.
    one_by_one = Belief(chain, 2)
    one_by_one.follow(after[:row], before[:row])
    kept = one_by_one.resumed(**one_by_one.weights())
    one_by_one.step(after[0], before[0])
    one_by_one = kept
    for t in range(row, 60):
        one_by_one.step(after[t], before[t])
        np.testing.assert_array_equal(one_by_one.chances(), whole[t])


def test_a_model_from_before_orders_were_learned_is_a_circle(detector, tmp_path):
    detector.save(tmp_path / "new.pt")
    stored = torch.load(tmp_path / "new.pt", weights_only=True)
    assert detector.chains[1].pairs.tolist() == [[0, 1], [1, 2], [2, 0]]
    for name in ("pairs", "follows", "begins"):
        del stored["chains"]["1"][name]
    torch.save(stored, tmp_path / "old.pt")
    old, features = SemiMarkovDetector.load(tmp_path / "old.pt"), trials(6).features
    np.testing.assert_array_equal(old.predict(features, 1), detector.predict(features, 1))


def plain_sums(chain: Chain, half: int, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Do what `follow` does with a table of all (pair of events, duration, age), one by one."""
    kinds, ages, _ = chain.after.shape
    untils, durations = chain.before.shape[1], chain.durations.astype(float)
    most, pairs = durations.shape[2], [(int(k), int(j)) for k, j in chain.pairs]
    follows = dict(zip(pairs, chain.follows.astype(float), strict=True))
    into = {j: sum(chance for pair, chance in follows.items() if pair[1] == j) for _, j in pairs}

    def within(pace: int, pair: tuple[int, int], rows: int) -> float:
        return durations[pace, pairs.index(pair), : max(0, rows)].sum()

    states: dict = {}
    for pace, begun in enumerate(chain.starts):
        for event, share in enumerate(chain.begins):
            rest = {
                (pair, d): follows[pair] * durations[pace, n, d - 1]
                for n, pair in enumerate(pairs) if pair[0] == event
                for d in range(begun + untils + 1, most + 1)
            }  # fmt: skip
            for (pair, d), weight in rest.items():
                begins = chain.shares[pace] * share * weight / sum(rest.values())
                states[pace, pair, d, begun] = begins
    result = np.zeros((len(after), kinds))
    for t in range(len(after)):
        moved: dict = {}
        for (pace, pair, d, a), weight in states.items():
            if a + 1 < d:
                moved[pace, pair, d, a + 1] = moved.get((pace, pair, d, a + 1), 0) + weight
                continue
            for n, new in enumerate(pairs):
                for d_new in range(1, most + 1) if new[0] == pair[1] else ():
                    entered = weight * follows[new] * durations[pace, n, d_new - 1]
                    moved[pace, new, d_new, 0] = moved.get((pace, new, d_new, 0), 0) + entered
        for (pace, (k, j), d, a), weight in moved.items():
            mean, evidence = np.zeros(chain.after.shape[2]), 0.0
            if a < ages:
                mean, evidence = mean + chain.after[k, a], evidence + after[t, k, a]
            if d - a <= untils:
                mean = mean + chain.before[j, d - a - 1]
                evidence += before[t, j, d - a - 1]
            moved[pace, (k, j), d, a] = weight * np.exp(evidence - np.square(mean).sum() / 2)
        total = sum(moved.values())
        states = {state: weight / total for state, weight in moved.items()}
        for (pace, (k, j), d, a), weight in states.items():
            if a <= half:
                result[t, k] += weight
                for pair in pairs:
                    if pair[1] == k:
                        share = follows[pair] / into[k]
                        result[t, pair[0]] += weight * share * within(pace, pair, half - a)
            if d - a <= half:
                result[t, j] += weight
                for pair in pairs:
                    if pair[0] == j:
                        later = within(pace, pair, half - (d - a))
                        result[t, pair[1]] += weight * follows[pair] * later
    return result


def any_chain(
    rng, kinds: int, ages: int, untils: int, most: int, starts: list[int], order
) -> Chain:
    """A chain whose numbers mean nothing, with an order of one's own: shape (kinds, kinds)."""
    pairs = np.argwhere(order)
    durations = rng.random((len(starts), len(pairs), most))
    begins = rng.dirichlet(np.ones(kinds))
    return Chain(
        *(np.zeros(1),) * 5, rng.normal(0, 1, (kinds, ages, 2)).astype(np.float32),
        rng.normal(0, 1, (kinds, untils, 2)).astype(np.float32),
        (durations / durations.sum(axis=2, keepdims=True)).astype(np.float32),
        rng.dirichlet(np.ones(len(starts))).astype(np.float32), np.array(starts),
        pairs, order[tuple(pairs.T)].astype(np.float32), begins.astype(np.float32),
    )  # fmt: skip


def evidence_of(chain: Chain, rng, rows: int = 40) -> list[np.ndarray]:
    signal = rng.normal(0, 1.5, (rows, 2)).astype(np.float32)
    return [np.tensordot(signal, part, axes=(1, 2)) for part in (chain.after, chain.before)]


@st.composite
def orders(draw) -> np.ndarray:
    """A random matrix in which some events cannot follow some others."""
    kinds = draw(st.integers(1, 4))
    rows = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 5.0]), min_size=kinds, max_size=kinds)
    order = np.array([draw(rows.filter(any)) for _ in range(kinds)])
    return order / order.sum(axis=1, keepdims=True)


@given(
    order=orders(), sizes=st.sampled_from([(4, 3, 9), (3, 4, 6), (5, 3, 4)]),
    starts=st.sampled_from([[0], [1, 0]]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_it_weighs_states_as_plain_sums_do(order, sizes, starts, seed):
    rng = np.random.default_rng(seed)
    begun = [min(rows, sizes[2] - sizes[1] - 1) for rows in starts]
    chain = any_chain(rng, len(order), *sizes, begun, order)
    evidence = evidence_of(chain, rng)
    with patch.multiple(belief, LOST=0.0, FORGOTTEN=0.0):  # the sums know nothing of these
        got = follow(chain, 2, *evidence)
    np.testing.assert_allclose(got, plain_sums(chain, 2, *evidence), atol=1e-4)


@given(
    durations=st.lists(st.integers(1, 50), max_size=20),
    longest=st.integers(51, 120),
    smoothing=st.floats(0, 2),
)
@settings(max_examples=50, deadline=None)
def test_durations_are_chances_and_none_is_impossible(durations, longest, smoothing):
    chance = spread(durations, longest, smoothing)
    assert chance.sum() == pytest.approx(1)
    assert (chance > 0).all()
    if durations:
        assert chance[max(durations) - 1] > chance[-1]  # nearer to all that was seen


def timing(pause: int, first: int = 10, trials: int = 7) -> Timing:
    """Two events a trial, 5 rows apart."""
    starts = [first + (5 + pause) * trial for trial in range(trials)]
    return Timing.of(
        [(row, kind) for start in starts for row, kind in ((start, 0), (start + 5, 1))]
    )


def test_series_of_like_pauses_are_together_and_share_what_is_within_trials():
    short, also_short, long, silent = timing(20), timing(22), timing(90), timing(0, trials=1)
    paces = by_pace([long, short, silent, also_short], 0, 2)
    assert paces == [[short, also_short], [long, silent]]  # the longest for what has none
    assert by_pace([long, short], 0, 1) == [[long, short]]
    assert by_pace([long, long], 0, 2) == [[long, long]]
    assert by_pace([long, short], None, 2) == [[long, short]]  # no pauses, no paces
    both = [[pair_durations(pace, [short, long], pair, 0) for pace in paces]
            for pair in ((0, 1), (1, 0))]  # fmt: skip
    assert both == [[[5] * 14] * 2, [[20] * 6 + [22] * 6, [90] * 6]]


def test_a_series_begins_as_far_into_a_pause_as_the_fitted_ones():
    assert start([timing(20, first=12), timing(20, first=14), timing(20, first=17)], 0, 100) == 6
    assert start([timing(20, first=50)], 0, 100) == 0
    assert start([timing(0, trials=1)], 0, 100) == 0
    assert start([timing(90)], 0, 30) == 29


def in_order(*kinds: int, apart: int = 10) -> Timing:
    return Timing.of([(apart * place, kind) for place, kind in enumerate(kinds)])


def test_the_order_of_a_circle_is_as_if_it_had_been_told():
    order, told = Order.of([in_order(*[0, 1, 2] * 40)] * 2, 3), Order.circle(3)
    for name in ("pairs", "follows", "begins"):
        np.testing.assert_array_equal(getattr(order, name), getattr(told, name))
    assert order.opening == 0
    turned = Order.of([in_order(*[1, 0, 2] * 40)] * 2, 3)
    assert turned.pairs.tolist() == [[0, 2], [1, 0], [2, 1]]
    assert (turned.opening, turned.begins.tolist()) == (1, [0, 0, 1])


def test_how_often_each_event_follows_each_is_learned_with_a_prior():
    order = Order.of([in_order(0, 1, 0, 0, 1), in_order(1, 0)], 2)
    # 4 events of one kind, 3 of the other; after the first came 1 of the same and 2 others.
    expected = [[(1 + 4 / 7) / 4, (2 + 3 / 7) / 4], [(2 + 4 / 7) / 3, (3 / 7) / 3]]
    np.testing.assert_array_equal(order.pairs, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_allclose(order.follows, np.ravel(expected))
    assert order.opening is None


def test_a_pair_too_rare_is_left_out_and_counted():
    usual = [0, 1, 2] * 150
    order = Order.of([in_order(*usual, 0, 2, *usual)], 3)
    assert order.pairs.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert order.left_out == 1
    often = Order.of([in_order(*([0, 1, 2] * 9 + [0, 2]) * 9)], 3)
    assert [0, 2] in often.pairs.tolist()
    assert often.left_out == 0


@given(kinds=st.lists(st.integers(0, 3), max_size=30), more=st.lists(st.integers(0, 3)))
@example(kinds=[], more=[0, 0, 1, 1, 1, 1, 1, 1, 2, 1, 2, 1, 3, 2, 3, 3, 1, 3, 2, 3])
@settings(max_examples=50, deadline=None)
def test_whatever_the_order_is_chances_are_chances(kinds, more):
    order = Order.of([in_order(*kinds), in_order(*more)], 5)
    matrix = np.zeros((5, 5))
    matrix[tuple(order.pairs.T)] = order.follows
    takes_place = np.isin(np.arange(5), [*kinds, *more] or np.arange(5))
    np.testing.assert_allclose(matrix.sum(axis=1), takes_place)
    assert not order.begins[~takes_place].any()
    assert order.begins.sum() == pytest.approx(1)
    assert (order.follows >= RARE).all()
    if kinds or more:
        assert not matrix[:, 4].any()  # what never takes place follows nothing


def test_a_pair_with_few_durations_takes_those_of_the_event_that_follows_and_then_all():
    often = [
        in_order(*[0, 1] * ENOUGH, apart=7),
        in_order(2, 1, apart=30),
        in_order(1, 2, apart=50),
    ]
    assert pair_durations([], often, (0, 1), None) == [7] * ENOUGH
    assert sorted(pair_durations([], often, (2, 1), None)) == [7] * ENOUGH + [30]
    assert len(pair_durations([], often, (1, 2), None)) == 2 * ENOUGH + 1


def without_order(number: int, rows: int = 2400) -> FeatureSeries:
    """Features as those of `trials`, of events that come in any order, one every 9 to 30 rows."""
    random = np.random.default_rng([9, number])
    features = random.normal(0, 1, (rows, 5))
    features = features + 0.8 * earlier(features, 1)
    labels, row = np.zeros((rows, EVENTS), dtype=np.uint8), 25
    while row < rows - 20:
        event = random.integers(EVENTS)
        labels[row - HALF : row + HALF + 1, event] = 1
        features[row : row + 6, event] += 2.0
        row += int(random.integers(9, 30))
    features = features.astype(np.float32)
    return FeatureSeries(1, number, features, labels, Moments.of(features))


def test_where_the_order_is_random_it_is_no_worse_than_lda_on_the_same_features():
    data, new = fit_data([without_order(1), without_order(2)]), without_order(3)
    chain, _ = SemiMarkovDetector.fit(data, METHOD)
    lda, _ = LinearDetector.fit(data, compose(["experiment=fbl_lda"]).method)
    assert len(chain.chains[1].pairs) == EVENTS**2
    aucs = [
        np.mean([roc_auc_score(new.labels[:, e], logits[:, e]) for e in range(EVENTS)])
        for logits in (each.predict(new.features, 1) for each in (chain, lda))
    ]
    assert aucs[0] > aucs[1]


def mean_auc(detector: SemiMarkovDetector | LinearDetector, new: FeatureSeries) -> float:
    logits = detector.predict(new.features, 1)
    return float(np.mean([roc_auc_score(new.labels[:, e], logits[:, e]) for e in range(EVENTS)]))


def muddled(number: int) -> FeatureSeries:
    """A series in which a steady wave follows each event, of whatever kind, for as long as two."""
    series = without_order(number)
    features = series.features.copy()
    for row, event in find_events(np.asarray(series.labels))[0]:
        features[row : row + 60, (event + 3) % 5] += 1.5
    return replace(series, features=features, moments=Moments.of(features))


@pytest.fixture(scope="module")
def any_order() -> SemiMarkovDetector:
    return SemiMarkovDetector.fit(fit_data([muddled(1), muddled(2)]), METHOD)[0]


def test_a_discriminant_is_asked_where_the_order_tells_nothing(any_order, detector):
    """It never makes the chain worse, and counts for something."""
    assert not detector.blends
    (blend,) = any_order.blends.values()
    assert (blend.share >= 0).all()
    assert blend.share[1].max() > 0
    new = muddled(3)
    alone = replace(any_order, blends={})
    lda, _ = LinearDetector.fit(
        fit_data([muddled(1), muddled(2)]), compose(["experiment=fbl_lda"]).method
    )
    assert mean_auc(any_order, new) > max(mean_auc(alone, new), mean_auc(lda, new)) - 0.01
    np.testing.assert_array_equal(blend.weights, lda.weights)  # the recipe fbl_lda, as it stands


def test_blended_rows_are_the_same_one_by_one_and_from_a_file(any_order, tmp_path):
    any_order.save(tmp_path / "model.pt")
    stored, new = SemiMarkovDetector.load(tmp_path / "model.pt"), muddled(4).features[:300]
    whole = any_order.predict(new, 1)
    np.testing.assert_array_equal(stored.predict(new, 1), whole)
    assert np.abs(whole - replace(any_order, blends={}).predict(new, 1)).max() > 0.1
    state, parts = stored.start(1), []
    for part in np.split(new, [1, 2, 50]):
        logits, state = stored.push(part, state)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-3)


def test_one_series_is_halved_to_weigh_the_discriminant():
    fitted, _ = SemiMarkovDetector.fit(fit_data([muddled(1)]), METHOD)
    assert fitted.blends
    quiet = muddled(1)
    labels = np.array(quiet.labels)
    labels[1000:] = 0  # no event in its second half
    fitted, _ = SemiMarkovDetector.fit(fit_data([replace(quiet, labels=labels)]), METHOD)
    assert not fitted.blends


def test_how_much_the_last_event_tells_of_the_next():
    assert Order.of([in_order(*[0, 1, 2] * 50)], 3).tells > 0.9
    random = np.random.default_rng(0)
    assert Order.of([in_order(*random.integers(0, 3, 300).tolist())], 3).tells < 0.1
    assert Order.of([in_order(*[0] * 20)], 3).tells == 0
    assert Order.of([], 3).tells <= 0.01
    assert Order.circle(4).tells == 1


def test_the_pace_of_a_series_is_found_as_it_goes():
    """With long pauses in half of the fitted series, short ones are predicted all the same."""
    slow = [trials(number, pauses=(120, 140)) for number in (1, 2)]
    fast = [trials(number) for number in (3, 4)]
    new = trials(5)
    aucs = {}
    for paces in (1, 2):
        data = fit_data([*slow, *fast])
        mixed, _ = SemiMarkovDetector.fit(data, replace(METHOD, paces=paces))
        aucs[paces] = roc_auc_score(new.labels[:, 0], mixed.predict(new.features, 1)[:, 0])
    assert aucs[2] > aucs[1] + 0.01


def test_an_event_is_in_the_middle_of_its_window():
    labels = np.zeros((20, 2), dtype=np.uint8)
    labels[[3, 4, 5], 1] = labels[[9, 10, 11, 12, 13], 0] = labels[[18, 19], 1] = 1
    events, widths = find_events(labels)
    assert events == [(4, 1), (11, 0), (18, 1)]
    assert sorted(widths) == [(0, 5), (1, 2), (1, 3)]


def test_each_row_has_the_response_after_the_last_event_and_before_the_next():
    chosen = design([(3, 0), (6, 1)], 10, kinds=2, after=2, before=2).toarray()
    after, before = chosen[:, :4].reshape(10, 2, 2), chosen[:, 4:].reshape(10, 2, 2)
    assert np.argwhere(after).tolist() == [[3, 0, 0], [4, 0, 1], [6, 1, 0], [7, 1, 1]]
    assert np.argwhere(before).tolist() == [[1, 0, 1], [2, 0, 0], [4, 1, 1], [5, 1, 0]]


@given(rows=st.integers(1, 8), lags=st.integers(1, 5), observed=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_past_is_past(rows, lags, observed):
    ready = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    whole = np.concatenate([*pasts(ready, observed, lags)], axis=1)
    assert whole.shape == (rows, 3 + (lags - 1) * observed)
    for row in range(1, rows):
        assert whole[row].max() < ready[row].min()


@given(
    rows=st.integers(1, 40), lags=st.integers(1, 6), width=st.integers(1, 5),
    observed=st.integers(1, 5), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_sums_over_the_past_are_those_of_the_rows_side_by_side(rows, lags, width, observed, seed):
    ready = np.random.default_rng(seed).normal(0, 1, (rows, width)).astype(np.float32)
    observed = min(observed, width)
    whole = np.concatenate([*pasts(ready, observed, lags)], axis=1).astype(float)
    squares, products = past_moments(ready, observed, lags)
    np.testing.assert_allclose(squares, whole.T @ whole, atol=1e-3)
    np.testing.assert_allclose(products, whole.T @ ready[:, -observed:], atol=1e-3)


def rows_of(*runs: tuple[int, int, int], rows: int = 400) -> np.ndarray:
    """Labels of three events: (event, first row, how many)."""
    labels = np.zeros((rows, 3), dtype=np.uint8)
    for event, begin, length in runs:
        labels[begin : begin + length, event] = 1
    return labels


def test_what_is_odd_about_the_events_is_told_and_handled():
    usual = [(0, 20 * place, 5) for place in range(1, 15)]
    series = [
        replace(trials(number, subject, rows=400), labels=labels)
        for subject in (1, 2)
        for number, labels in (
            (1, rows_of(*usual, (1, 310, 5), (0, 340, 9))),  # once; and two in one label
            (2, rows_of(*usual)),
        )
    ]
    news: list = []
    data = fit_data(series, events=("a", "b", "c"), report=lambda share, more: news.append(more))
    fitted, (line,) = SemiMarkovDetector.fit(data, METHOD)
    told = [more["note"] for more in news if "note" in more]
    assert told == [
        "subjects 1, 2: 2 labels of a are over 1.5 times as long as most: if events overlap in "
        "them, they are taken for one",
        "subjects 1, 2: b takes place once in the fitted series, which teaches little",
        "subjects 1, 2: b does not take place in series 2",
        "subjects 1, 2: c is in none of the fitted series, and is never predicted",
    ]
    assert line["notes"] == "; ".join(told)
    logits = fitted.predict(trials(3).features, 1)
    assert np.isfinite(logits).all()
    assert logits[:, 2].max() < -10
    assert logits[:, 0].max() > -5


def test_events_in_one_row_are_a_row_apart_and_nothing_odd():
    together = rows_of(*((event, 10 * place, 5) for place in range(1, 35) for event in (0, 1, 2)))
    news: list = []
    both = [replace(trials(number, rows=400), labels=together) for number in (1, 2)]
    data = fit_data(both, events=("a", "b", "c"), report=lambda share, more: news.append(more))
    fitted, (line,) = SemiMarkovDetector.fit(data, METHOD)
    assert "notes" not in line
    assert fitted.chains[1].pairs.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert fitted.chains[1].durations.argmax(axis=2).tolist() == [[0, 0, 9]]
    assert np.isfinite(fitted.predict(both[0].features, 1)).all()


def test_orders_too_rare_are_told():
    told = notes(Order.of([in_order(*[0, 1, 2] * 150, 0, 2, *[0, 1, 2] * 150)], 3), [], [], [], ())
    assert sentences({1: told, 2: told, 3: Counter()}) == [
        "subjects 1, 2: 2 times an event came after another that it follows in less than 1 % of "
        "the cases; the chain leaves such orders out"
    ]


def test_a_subject_without_events_is_told():
    quiet = trials(1, subject=7)
    silent = replace(quiet, labels=np.zeros_like(quiet.labels))
    with pytest.raises(DataError, match="subject 7: no event in the fitted series"):
        SemiMarkovDetector.fit(fit_data([trials(1), silent]), METHOD)


NOT_BELOW_0 = (
    "observed", "response_smooth", "response_shrinkage", "duration_smooth", "duration_tail",
    "duration_pooling",
)  # fmt: skip
ABOVE_0 = ("rank", "paces", "rows_after", "rows_before", "response_ridge", "trust")


def test_it_observes_the_last_outputs_of_every_channel():
    fitted = [trials(1), trials(2)]  # five features: an output of two channels, and one more
    detector, _ = SemiMarkovDetector.fit(fit_data(fitted, channels=2), replace(METHOD, observed=1))
    assert detector.chains[1].past.shape == (5 + (METHOD.tap_count - 1) * 2, 2)
    detector, _ = SemiMarkovDetector.fit(fit_data(fitted, channels=2), replace(METHOD, observed=4))
    assert detector.chains[1].past.shape[1] == 5  # there are no more


@pytest.mark.parametrize(("key", "value"), [*product(ABOVE_0, "0"), *product(NOT_BELOW_0, ["-1"])])
def test_what_cannot_be_is_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=f"method.{key}={value}"):
        compose(["experiment=semi_markov", f"method.{key}={value}"])
