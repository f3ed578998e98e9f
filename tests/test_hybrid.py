"""The hybrid: how chain and LSTM are joined, and that a killed fit continues."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.lstm import LstmOptions
from pipeline.config.methods.hybrid import HybridOptions
from pipeline.detectors.base import FitData
from pipeline.detectors.hybrid import fit as fitting
from pipeline.detectors.hybrid.detector import HybridDetector
from pipeline.detectors.hybrid.fit import fit_chains
from pipeline.detectors.lstm import training
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import Network, start_at_base_rates
from pipeline.detectors.lstm.own_projection import OwnProjection
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.detectors.semi_markov.timing import Timing, pace_weights, spread
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries
from tests.conftest import fit_data
from tests.test_options import BASES
from tests.test_semi_markov import trials

OPTIONS: HybridOptions = BASES["hybrid"]
EVENTS = ("a", "b", "c")


@cache
def three() -> tuple[FeatureSeries, ...]:
    return tuple(trials(number, rows=500) for number in (1, 2, 3))


def data(scratch: Path, fitted: list[FeatureSeries], **more) -> FitData:
    return fit_data(fitted, events=EVENTS, scratch=scratch, **more)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_logits_of_chain_and_network_are_averaged(share, tmp_path):
    *fitted, new = three()
    (tmp_path / "alone").mkdir()
    options = replace(OPTIONS, method=replace(OPTIONS.method, share=share))
    both, history = HybridDetector.fit(data(tmp_path, fitted, held_out=[new]), options)
    chain, _ = SemiMarkovDetector.fit(data(tmp_path, fitted), options.method)
    network, _ = LstmDetector.fit(data(tmp_path / "alone", fitted), OPTIONS.lstm)
    parts = [each.predict(new.features, 1) for each in (chain, network)]
    expected = (1 - share) * parts[0] + share * parts[1]
    np.testing.assert_allclose(both.predict(new.features, 1), expected, rtol=1e-5, atol=1e-5)
    # The score on held-out series is taken of both together, by the stage.
    assert not any(key.startswith("valid_") for line in history for key in line)


def test_chains_are_those_of_the_semi_markov_recipe(tmp_path):
    subjects = [replace(each, subject=subject) for subject in (1, 2) for each in three()]
    chains, _ = fit_chains(data(tmp_path, subjects), OPTIONS.method)
    alone, _ = SemiMarkovDetector.fit(data(tmp_path, subjects), OPTIONS.method)
    assert chains.half == alone.half
    for subject in (1, 2):
        np.testing.assert_array_equal(
            chains.predict(subjects[0].features, subject),
            alone.predict(subjects[0].features, subject),
        )


def test_a_subject_without_events_is_named(tmp_path):
    silent = [replace(each, labels=np.zeros_like(each.labels)) for each in three()]
    with pytest.raises(DataError, match="subject 1: no event in the fitted series; check"):
        fit_chains(data(tmp_path, silent), OPTIONS.method)


def test_what_was_done_for_a_subject_is_kept_unless_it_is_damaged(tmp_path, monkeypatch):
    series = list(three())

    def said() -> np.ndarray:
        chains, _ = fit_chains(data(tmp_path, series), OPTIONS.method)
        return chains.predict(series[0].features, 1)

    expected = said()
    (kept,) = tmp_path.iterdir()

    def refuse(*_) -> None:
        raise AssertionError("fitted again")

    with monkeypatch.context() as patched:
        patched.setattr(fitting, "fit_subject", refuse)
        np.testing.assert_array_equal(said(), expected)
    kept.write_bytes(kept.read_bytes()[:-100])
    np.testing.assert_array_equal(said(), expected)


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


class Killed(Exception):
    """In place of a kill."""


def test_a_fit_that_was_killed_in_the_lstm_s_training_ends_with_the_same_bytes(tmp_path):
    *fitted, new = three()
    train = replace(OPTIONS.train, epochs=2, checkpoint_seconds=0.0)
    options = replace(OPTIONS, train=train)

    def kill(_: float, news: dict) -> None:
        if "epoch 1 " in news.get("show", ""):
            raise Killed

    whole, _ = HybridDetector.fit(data(tmp_path / "whole", fitted), options)
    with pytest.raises(Killed):
        HybridDetector.fit(data(tmp_path / "cut", fitted, report=kill), options)
    assert list((tmp_path / "cut").glob("*_checkpoint.pt"))
    resumed, history = HybridDetector.fit(data(tmp_path / "cut", fitted), options)
    np.testing.assert_array_equal(resumed.predict(new.features, 1), whole.predict(new.features, 1))
    assert [line["epoch"] for line in history] == [1.0, 2.0]


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
