"""The 2015 Torch7 solution's recipes: their sizes, their filter, their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal as sp

from pipeline.config.compose import compose
from pipeline.config.options import plain
from pipeline.detectors.lstm.network import make_network
from pipeline.detectors.lstm.training import network_arguments
from pipeline.features.registry import Features, make_features

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("experiment", "parameters"), [("paszke2015", 982_806), ("paszke2015_default", 215_814)]
)
def test_the_networks_have_the_published_number_of_parameters(experiment, parameters):
    model = compose([f"experiment={experiment}"]).model
    network = make_network(**network_arguments(model, 32, 6))
    assert sum(weight.numel() for weight in network.parameters()) == parameters


def test_every_parameter_starts_within_its_range_and_the_forget_gate_open():
    model = compose(["experiment=paszke2015"]).model
    torch.manual_seed(0)
    network = make_network(**network_arguments(model, 32, 6))
    for name, parameter in network.named_parameters():
        values = parameter.detach()
        if "bias_ih" in name:
            assert (values[280:560] == 1.5).all()
            values = np.delete(values.numpy(), np.s_[280:560])
        assert abs(values).max() <= 0.08
        assert abs(values).max() > 0.05


def bank() -> Features:
    return make_features(500.0, plain(compose(["experiment=paszke2015"]).filter))


def test_the_filter_is_scipys_lfilter_on_every_third_row(rng):
    x = rng.normal(0, 80, (6000, 3)).cumsum(axis=0) * 0.05 + 300
    features, _ = bank().transform(x)
    numerator, denominator = sp.butter(3, 3 / 250)
    expected = sp.lfilter(numerator, denominator, x[::3], axis=0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-3)
    assert features.shape == (2000, 3)


def test_the_filter_passes_what_is_below_1_hz_of_the_decimated_rate():
    sos = bank().lowpass[0].sos
    hertz = np.array([0.1, 1.0, 3.0, 10.0])
    response = np.abs(sp.freqz_sos(sos, hertz, fs=500 / 3)[1])
    warped = np.tan(np.pi * hertz * 3 / 500) / np.tan(np.pi * 1.0 * 3 / 500)
    ideal = 1 / np.sqrt(1 + warped**6)  # a Butterworth of order 3, by the bilinear transform
    np.testing.assert_allclose(response, ideal, rtol=1e-3)
    assert response[1] == pytest.approx(2**-0.5, rel=1e-3)


def test_predictions_are_held_for_three_rows():
    assert bank().every == 3


@pytest.mark.parametrize(
    ("experiment", "length", "batch", "epochs", "dropout", "every"),
    [
        ("paszke2015", 800, 5, 7, 0.3, 100),
        ("paszke2015_subject", 800, 5, 20, 0.5, 100),
        ("paszke2015_default", 250, 50, 30, 0.0, 1000),
    ],
)
def test_the_recipes_hold_the_published_values(experiment, length, batch, epochs, dropout, every):
    c = compose([f"experiment={experiment}"])
    assert (c.window.length, c.window.batch, c.window.join) == (length, batch, True)
    assert (c.train.epochs, c.model.dropout, c.train.validate_every) == (epochs, dropout, every)
    assert sorted([*c.dataset.train_series, *c.dataset.valid_series]) == list(range(1, 9))
    assert c.dataset.valid_series == [5, 7]
