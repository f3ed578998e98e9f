"""No prediction for sample t sees a later sample; and pieces give what the whole gives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.lstm import Cell
from pipeline.data.recording import Description
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.network import Network, make_network, predict
from pipeline.features.feature_series import Moments
from pipeline.features.filter_bank import FilterBank
from pipeline.results.rows import hold
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.serving.stream import Stream

CHANNELS, EVENTS, ROWS = 3, 2, 1500
BANK = {
    "lowpass_hz": [0.5, 5.0, 30.0],
    "order": 5,
    "power_bands_hz": [[8.0, 14.0], [30.0, None]],
    "power_smoothing_hz": 2.0,
    "decimate": 10,
}


def signal(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 8, (ROWS, CHANNELS)).cumsum(axis=0)
    return (walk + rng.normal(0, 30, (ROWS, CHANNELS)) + 400).astype(np.int16)


def detector(
    bank: FilterBank, stride: int, cell: str = "standard", layers: int = 2
) -> LstmDetector:
    torch.manual_seed(1)
    options = {
        "n_features": bank.n_features(CHANNELS), "n_events": EVENTS, "hidden": 5,
        "layers": layers, "projection": 4, "kernel": 3, "dropout": 0.3, "cell": cell,
    }  # fmt: skip
    moments = Moments.of(bank.transform(signal(9))[0])
    mean, matrix = (torch.from_numpy(part) for part in moments.scaler(whiten=True))
    network = Network(**options)
    network.eval()
    return LstmDetector(network, options, {1: (mean, matrix)}, stride)


def streamed(bank: dict, model: LstmDetector) -> Stream:
    """A filter bank's features and a detector, as a stream."""
    names = tuple("ABC"), ("one", "two")
    about = Description(*names, 500.0, 1e-6, "")
    every = FilterBank(500, **bank).every
    return Stream(FittedRecipe(about, every, bank, (), {1: model}), subject=1)


def probabilities(bank: FilterBank, model: LstmDetector, recording: np.ndarray) -> np.ndarray:
    """Take the pipeline's own way from raw samples to a prediction on every row."""
    features, _ = bank.transform(recording)
    return hold(model.predict(features, 1), bank.every, len(recording))


@pytest.mark.parametrize("cell", [c.name for c in Cell])
@pytest.mark.parametrize("stride", [1, 7])
def test_changing_what_comes_after_moves_nothing_before(cell, stride):
    bank = FilterBank(500, **BANK)
    model = detector(bank, stride, cell)
    whole = signal()
    before = probabilities(bank, model, whole)
    for t in (0, 1, 9, 10, 11, 777, ROWS - 2):
        changed = whole.copy()
        changed[t + 1 :] = signal(5)[t + 1 :] * 3
        after = probabilities(bank, model, changed)
        np.testing.assert_array_equal(after[: t + 1], before[: t + 1])
    # And the test can fail: the last change did move what came after.
    changed[1:] = -changed[1:]
    assert not np.array_equal(probabilities(bank, model, changed), before)


THIN = {"subsample": 3, "start": "zero"}  # as the 2015 recipe has it


DRIFT = {"highpass_hz": 0.5}
COVARIANCE = {"covariance_bands_hz": [[0.5, 6.0]], "covariance_smoothing_hz": 0.5}


@pytest.mark.parametrize("t", [0, 250, 1233])
@pytest.mark.parametrize(
    "more", [{}, THIN, COVARIANCE, DRIFT], ids=["whole", "thinned", "covariance", "drift"]
)
def test_features_are_causal_to_the_bit(t, more):
    bank = FilterBank(500, **{**BANK, "decimate": 1, **more})
    whole, changed = signal(), signal()
    changed[t + 1 :] = -5000
    np.testing.assert_array_equal(
        bank.transform(changed)[0][: t // bank.every + 1],
        bank.transform(whole)[0][: t // bank.every + 1],
    )


def cut(rows: int, cuts: list[int]) -> list[slice]:
    edges = [0, *sorted({c for c in cuts if 0 < c < rows}), rows]
    return [slice(a, b) for a, b in pairwise(edges)]


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, ROWS - 1), max_size=6),
    decimate=st.sampled_from([1, 3, 10]),
    more=st.sampled_from([{}, THIN, COVARIANCE, DRIFT]),
)
def test_filtering_in_pieces_equals_the_whole_to_the_bit(cuts, decimate, more):
    bank = FilterBank(500, **{**BANK, "decimate": decimate, **more})
    whole, _ = bank.transform(signal())
    state, parts = None, []
    for piece in cut(ROWS, cuts):
        part, state = bank.transform(signal()[piece], state)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 149), max_size=5),
    kernel=st.sampled_from([0, 2, 7]),
    networks=st.sampled_from([1, 3]),
)
def test_the_network_in_pieces_equals_the_whole(cuts, kernel, networks):
    torch.manual_seed(0)
    network = make_network(
        4, 2, networks=networks, hidden=5, layers=2, projection=3, kernel=kernel, dropout=0.5,
        cell="standard",
    ).double()  # fmt: skip
    network.eval()
    x = torch.randn(2, 150, 4, dtype=torch.float64)
    with torch.no_grad():
        whole, last = network(x)
        state, parts = None, []
        for piece in cut(150, cuts):
            part, state = network(x[:, piece], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, ROWS - 1), max_size=8),
    stride=st.sampled_from([1, 3]),
    decimate=st.sampled_from([1, 10]),
    more=st.sampled_from([{}, THIN]),
)
def test_a_stream_of_chunks_gives_what_the_whole_series_gives(cuts, stride, decimate, more):
    bank = FilterBank(500, **{**BANK, "decimate": decimate, **more})
    model = detector(bank, stride)
    whole = probabilities(bank, model, signal())
    stream = streamed({**BANK, "decimate": decimate, **more}, model)
    parts = [stream.push(signal()[piece]) for piece in cut(ROWS, cuts) if len(signal()[piece])]
    got = np.concatenate(parts)
    np.testing.assert_allclose(got, 0.5 * (1 + np.tanh(whole / 2)), atol=2e-6)


def test_a_stream_can_be_fed_sample_by_sample():
    bank = FilterBank(500, **BANK)
    model = detector(bank, 3)
    stream = streamed(BANK, model)
    got = np.concatenate([stream.push(row[None]) for row in signal()[:120]])
    whole = probabilities(bank, model, signal()[:120])
    np.testing.assert_allclose(got, 0.5 * (1 + np.tanh(whole / 2)), atol=2e-6)


@given(rows=st.integers(1, 60), stride=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_phases_are_interleaved_back_in_order(rows, stride):
    """A network without memory must predict the same at any stride."""
    torch.manual_seed(0)
    network = Network(2, 2, hidden=3, layers=1, cell="fused")
    with torch.no_grad():
        for name, parameter in network.lstm.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
            if "bias" in name:
                parameter[3:6] = -50.0  # a forget gate that is shut
    x = torch.randn(rows, 2)
    np.testing.assert_allclose(predict(network, x, stride), predict(network, x, 1), atol=1e-5)
