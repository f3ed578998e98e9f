"""The hybrid: what is said out of fold, how its parts are joined, and how a fit continues."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.lstm import LstmOptions
from pipeline.config.methods.hybrid import HybridMethod, HybridOptions
from pipeline.detectors.base import FitData
from pipeline.detectors.hybrid import fit as fitting
from pipeline.detectors.hybrid.detector import HybridDetector
from pipeline.detectors.hybrid.fit import fit_chains, fit_network
from pipeline.detectors.lstm import training
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import Network, start_at_base_rates
from pipeline.detectors.lstm.own_projection import OwnProjection
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.fit import Whitened
from pipeline.detectors.semi_markov.timing import Timing, pace_weights, spread
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries
from tests.conftest import fit_data
from tests.test_options import BASES
from tests.test_semi_markov import trials

OPTIONS: HybridOptions = BASES["hybrid"]
CHAIN: HybridMethod = replace(OPTIONS.method, folds=9)  # as many as there are series
EVENTS = ("a", "b", "c")


@cache
def three() -> tuple[FeatureSeries, ...]:
    return tuple(trials(number, rows=500) for number in (1, 2, 3))


def hybrid(scratch: Path, *fitted: FeatureSeries, **more) -> bytes:
    """Fit, and give the file's bytes."""
    detector, _ = HybridDetector.fit(data(scratch, list(fitted), **more), OPTIONS)
    detector.save(scratch / "hybrid.pt")
    return (scratch / "hybrid.pt").read_bytes()


def test_parts_that_were_made_one_by_one_give_the_same_bytes(tmp_path, monkeypatch):
    whole, apart = tmp_path / "whole", tmp_path / "apart"
    names = list(OPTIONS.method.parts([1], 3))
    parts = {name: apart / f"{name}.pt" for name in names}
    fitted, held_out = list(three()), [trials(4, rows=300)]
    for name in reversed(names):
        (tmp_path / name).mkdir()
        learning = data(tmp_path / name, fitted, held_out=held_out, parts={name: parts[name]})
        HybridDetector.fit_part(name, learning, OPTIONS)
    assert {path.name for path in apart.iterdir()} == {f"{name}.pt" for name in names}
    whole.mkdir()
    expected = hybrid(whole, *fitted, held_out=held_out)

    def refuse(*_) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(fitting, "_of_subject", refuse)
    monkeypatch.setattr(LstmDetector, "fit", refuse)
    assert hybrid(apart, *fitted, held_out=held_out, parts=parts) == expected


@pytest.mark.parametrize(("folds", "series"), [(3, 6), (3, 2), (9, 4)])
def test_the_names_of_parts_are_those_of_what_is_made(folds, series, tmp_path):
    options = replace(OPTIONS, method=replace(OPTIONS.method, folds=folds))
    fitted = [trials(n, subject=s, rows=300) for s in (2, 10) for n in range(1, series + 1)]
    learning = data(tmp_path, fitted)
    made = fitting._chain_parts(learning, options.method) | fitting._lstm_parts(learning, options)
    assert sorted(made) == sorted(options.method.parts([2, 10], series))


def data(scratch: Path, fitted: list[FeatureSeries], **more) -> FitData:
    return fit_data(fitted, events=EVENTS, scratch=scratch, **more)


@pytest.mark.parametrize(("folds", "expected"), [(9, ["bc", "ac", "ab"]), (2, ["b", "ac", "b"])])
def test_no_chain_says_anything_of_a_series_that_it_was_fitted_to(
    folds, expected, tmp_path, monkeypatch
):
    """Chains that name the series they were fitted to, and a prediction that repeats it."""
    chain = Whitened.chain

    def named(self, options, held_out=()):
        found, order = chain(self, options, held_out)
        kept = sum(2**number for number in range(3) if number not in held_out)
        return replace(found, shares=np.array([kept])), order

    def say(self, features, subject) -> np.ndarray:
        return np.full((len(features), 3), self.chains[subject].shares[0], np.float32)

    monkeypatch.setattr(Whitened, "chain", named)
    monkeypatch.setattr(SemiMarkovDetector, "predict", say)
    held_out = [trials(4, rows=300)]
    learning = data(tmp_path, list(three()), held_out=held_out)
    _, beliefs, _ = fit_chains(learning, replace(CHAIN, folds=folds))
    for number, names in enumerate([*expected, "abc"], 1):
        assert (beliefs[1, number] == sum(2 ** "abc".index(name) for name in names)).all()


def test_a_chain_does_not_depend_on_events_that_are_held_out():
    found = Whitened.of(list(three()), CHAIN, 1)
    events = [(row + 3 * (kind == 1), kind) for row, kind in found.timings[0].events]
    timings = [Timing.of(events), *found.timings[1:]]
    changed = replace(found, white=[found.white[0] + 7, *found.white[1:]], timings=timings)
    one, other = (each.chain(CHAIN, held_out=[0])[0] for each in (found, changed))
    whole, moved = (each.chain(CHAIN)[0] for each in (found, changed))
    for name in ("axes", "after", "before", "durations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert not np.array_equal(getattr(whole, name), getattr(moved, name))


def test_a_pace_of_which_all_series_are_held_out_is_still_known():
    series = [*three(), trials(4, rows=1200, pauses=(90, 110))]
    found = Whitened.of(series, CHAIN, 1)
    whole, without = found.chain(CHAIN)[0], found.chain(CHAIN, held_out=[3])[0]
    assert len(whole.shares) == len(without.shares) == 2
    pause = list(map(tuple, whole.pairs)).index((2, 0))
    np.testing.assert_array_equal(without.durations[1, pause], whole.durations[1, pause])
    assert not np.array_equal(without.durations[1], whole.durations[1])


def test_of_a_held_out_series_the_network_reads_what_it_will_read_of_new_ones(tmp_path):
    *fitted, held_out = three()
    chains, beliefs, _ = fit_chains(data(tmp_path, fitted, held_out=[held_out]), CHAIN)
    assert beliefs.keys() == {(1, 1), (1, 2), (1, 3)}
    np.testing.assert_array_equal(beliefs[1, 3], chains.predict(held_out.features, 1))
    alone, _ = SemiMarkovDetector.fit(data(tmp_path, fitted), CHAIN)
    np.testing.assert_array_equal(alone.predict(held_out.features, 1), beliefs[1, 3])


def test_one_series_of_a_subject_is_too_few(tmp_path):
    with pytest.raises(DataError, match=r"subject 1: .* two fitted series or more; .*train_series"):
        fit_chains(data(tmp_path, [three()[0]]), CHAIN)


def test_a_subject_without_events_is_named(tmp_path):
    silent = [replace(each, labels=np.zeros_like(each.labels)) for each in three()]
    with pytest.raises(DataError, match="subject 1: no event in the fitted series; check"):
        fit_chains(data(tmp_path, silent), CHAIN)


def test_what_was_done_for_a_subject_is_kept_unless_it_is_damaged(tmp_path, monkeypatch):
    series = list(three())
    _, expected, _ = fit_chains(data(tmp_path, series), CHAIN)
    (kept,) = tmp_path.iterdir()

    def refuse(*_) -> None:
        raise AssertionError("fitted again")

    with monkeypatch.context() as patched:
        patched.setattr(fitting, "_of_subject", refuse)
        _, again, _ = fit_chains(data(tmp_path, series), CHAIN)
    kept.write_bytes(kept.read_bytes()[:-100])
    _, anew, _ = fit_chains(data(tmp_path, series), CHAIN)
    for key, logits in expected.items():
        np.testing.assert_array_equal(again[key], logits)
        np.testing.assert_array_equal(anew[key], logits)


def timing(*durations: int) -> Timing:
    """Two events in turn: so many rows from the first to the second, and 50 to the first again."""
    events, row = [], 10
    for rows in durations:
        events += [(row, 0), (row + rows, 1)]
        row += rows + 50
    return Timing.of(events)


def test_durations_of_other_paces_count_less():
    short, long = timing(*[10] * 6), timing(*[30] * 12)
    rows, weights = pace_weights([short], [short, long], (0, 1), 0, 0.25)
    assert weights is not None
    chances = spread(rows, 60, 0.1, weights=weights)
    assert chances[:20].sum() == pytest.approx(6 / (6 + 0.25 * 12), abs=1e-3)
    alike = spread(pace_weights([short], [short, long], (0, 1), 0, 1.0)[0], 60, 0.1)
    assert alike[:20].sum() == pytest.approx(6 / 18, abs=1e-3)
    assert pace_weights([short], [short, long], (0, 1), 0, 0.0) == ([10] * 6, None)


def test_pauses_are_each_pace_s_own_and_few_durations_are_those_of_all():
    short, long = timing(*[10] * 4), timing(*[30] * 12)
    assert pace_weights([long], [short, long], (1, 0), 0, 0.5) == ([50] * 11, None)
    assert pace_weights([short], [short, long], (0, 1), 0, 0.5) == ([10] * 4 + [30] * 12, None)


def test_a_wide_kernel_lets_a_series_be_slower_than_all_others():
    without, tail = spread([50] * 20, 100, 1.0), spread([50] * 20, 100, 1.0, tail=0.1)
    assert tail.sum() == pytest.approx(1)
    assert tail[69] > 100 * without[69]
    assert tail[49] > 0.8 * without[49]


def test_weights_that_are_all_alike_change_nothing():
    rows = [10, 11, 14, 30, 31]
    alike = spread(rows, 60, 1.0, 0.1, weights=np.full(5, 0.3))
    np.testing.assert_allclose(alike, spread(rows, 60, 1.0, 0.1), rtol=1e-9)


def test_all_of_the_lstm_s_options_reach_its_training(tmp_path, monkeypatch):
    given = []

    def train(learned_from, options):
        given.append(options)
        raise Killed

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(Killed):
        HybridDetector.fit(data(tmp_path, list(three())), OPTIONS)
    assert given == [LstmOptions(OPTIONS.window, OPTIONS.model, OPTIONS.train)]


@pytest.mark.parametrize(("folds", "expected"), [(9, ["bc", "ac", "ab"]), (2, ["b", "ac", "b"])])
def test_no_network_says_anything_of_a_series_that_it_was_trained_on(
    folds, expected, tmp_path, monkeypatch
):
    """Networks that name the series they were trained on, and a prediction that repeats it."""

    class Named:
        def __init__(self, name: int) -> None:
            self.name = name

        @classmethod
        def fit(cls, learned_from, options):
            assert not learned_from.held_out
            return cls(sum(2 ** (series.series - 1) for series in learned_from.fitted)), []

        def predict(self, features, subject) -> np.ndarray:
            return np.full((len(features), 3), self.name, np.float32)

        def packed(self) -> int:
            return self.name

        @classmethod
        def unpacked(cls, name: int) -> Named:
            return cls(name)

    monkeypatch.setattr(fitting, "LstmDetector", Named)
    learning = data(tmp_path, list(three()), held_out=[trials(4, rows=300)])
    options = replace(OPTIONS, method=replace(OPTIONS.method, folds=folds))
    network, said = fit_network(learning, options)
    assert network.name == 7
    for number, names in enumerate([*expected, "abc"], 1):
        assert (said[1, number] == sum(2 ** "abc".index(name) for name in names)).all()


def test_what_corrects_begins_at_the_chain_s_logits(tmp_path):
    """Its network adds to the first columns it reads: those of the chain."""
    *fitted, new = three()
    both, _ = HybridDetector.fit(data(tmp_path, fitted), OPTIONS)
    chain, network = (each.predict(new.features, 1) for each in (both.chains, both.network))
    together = np.concatenate([chain, network], axis=1)
    np.testing.assert_array_equal(
        both.predict(new.features, 1), both.correction.predict(together, 1)
    )
    for part in both.correction.network.networks:
        torch.nn.init.zeros_(part.output.weight)
        torch.nn.init.zeros_(part.output.bias)
        torch.nn.init.ones_(part.gain)
    np.testing.assert_allclose(both.predict(new.features, 1), chain, atol=1e-5)


def test_the_last_row_of_a_window_is_predicted_as_by_a_series_that_begins_there(tmp_path):
    *fitted, new = three()
    detector, _ = HybridDetector.fit(data(tmp_path, fitted), OPTIONS)
    features = np.asarray(new.features)
    beside = detector.beside(features, 1)
    together = np.concatenate([features, beside], axis=1)
    windows = np.stack([together[begin : begin + 60] for begin in (10, 73)])
    ends = detector.predict_ends(windows, 1)
    for begin, end in zip((10, 73), ends, strict=True):
        rows = slice(begin, begin + 60)
        said = detector.network.predict(features[rows], 1)
        whole = detector.correction.predict(np.concatenate([beside[rows], said], axis=1), 1)
        np.testing.assert_allclose(end, whole[-1], rtol=1e-4, atol=1e-4)


class Killed(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("moment", range(4))  # in one of two folds, in the whole, in what corrects
def test_a_fit_that_was_killed_in_a_training_ends_with_the_same_bytes(moment, tmp_path):
    *fitted, new = three()
    train = replace(OPTIONS.train, epochs=2, checkpoint_seconds=0.0)
    options = replace(OPTIONS, train=train)
    moments = iter(range(100))

    def kill(_: float, news: dict) -> None:
        if "epoch 1 " in news.get("show", "") and next(moments) == moment:
            raise Killed

    whole, _ = HybridDetector.fit(data(tmp_path / "whole", fitted), options)
    with pytest.raises(Killed):
        HybridDetector.fit(data(tmp_path / "cut", fitted, report=kill), options)
    assert list((tmp_path / "cut").glob("*_checkpoint.pt"))
    resumed, history = HybridDetector.fit(data(tmp_path / "cut", fitted), options)
    np.testing.assert_array_equal(resumed.predict(new.features, 1), whole.predict(new.features, 1))
    assert [line["epoch"] for line in history] == [1.0, 2.0, 3.0]


def test_an_untrained_network_gives_nearly_the_logits_that_it_corrects():
    torch.manual_seed(0)
    network = Network(4, 3, hidden=5, layers=1, projection=2, beside=3).eval()
    x = torch.randn(2, 30, 7)
    start_at_base_rates(network, np.zeros((100, 3)))
    logits, _ = network(x)
    assert (logits - x[..., 4:]).abs().max() < 0.1
    assert not torch.equal(logits, x[..., 4:])


def test_what_stands_beside_the_features_is_neither_dropped_nor_projected():
    own = OwnProjection([1, 2], 4, 2, dropout=0.9).train()
    x = torch.randn(2, 30, 7)
    subjects = np.array([2, 1], dtype=object)
    assert torch.equal(own(x, subjects)[..., 2:], x[..., 4:])
    assert torch.equal(own.project(x[0], 1)[:, 2:], x[0, :, 4:])
    network = Network(4, 3, hidden=5, layers=1, beside=3, input_dropout=0.999).train()
    x.requires_grad_()
    network(x)[0].sum().backward()
    assert (x.grad[..., 4:] != 0).all()
    assert (x.grad[..., :4] == 0).float().mean() > 0.9
