"""The loop: it learns, it stops early, and a killed training ends as if it had not been killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.detectors.lstm import network as detector
from pipeline.detectors.lstm import training
from pipeline.detectors.lstm.network import Detector, Dropout
from pipeline.detectors.lstm.training import (
    Job,
    Options,
    choose_device,
    learning_rate,
    masked_bce,
    train_job,
)
from pipeline.errors import ConfigError, PipelineError
from pipeline.features.filter_bank import FeatureSeries, Moments
from pipeline.results.scoring import score

EVENTS = ("a", "b")
WINDOW = {"length": 20, "batch": 4, "stride": 2, "streams": 3, "burn_in": 5, "join": False}
MODEL = {
    "cell": "fused", "hidden": 8, "layers": 1, "projection": 0, "kernel": 0, "dropout": 0.2,
    "input_dropout": 0.1, "networks": 1, "forget_bias": None, "init_range": None,
}  # fmt: skip
TRAIN = {
    "scope": "subject", "scaler": "subject", "own_projection": False, "whiten": True,
    "prior_bias": True, "epochs": 6, "validate_every": 0, "projection_rate": 1.0,
    "select": "auc", "patience": 6, "refit": True, "optimiser": "adamw", "smoothing": 0.95,
    "learning_rate": 0.02, "schedule": "onecycle", "decay": 0.97, "decay_after": 2.0,
    "decays_per_epoch": 2, "weight_decay": 0.0, "clip": 1.0, "clip_value": 0.0,
    "checkpoint_seconds": 0.0,
}  # fmt: skip
# As the 2015 recipe trains: RMSprop with decay, state never reset, stock taken between the ends of
# epochs, selection by loss, clamped gradients.
JOINED = {"length": 25, "batch": 3, "stride": 1, "streams": 1, "burn_in": 0, "join": True}
OTHER = {
    "optimiser": "rmsprop", "schedule": "decay", "select": "loss", "validate_every": 7,
    "clip": 0.0, "clip_value": 0.01, "learning_rate": 0.01, "patience": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Three series of two features; each event follows a feature's pulse by some rows."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(4)
    for series in (1, 2, 3):
        x = rng.normal(0, 0.3, (600 + 50 * series, 3)).astype(np.float32)
        y = np.zeros((len(x), 2), np.uint8)
        for event in range(2):
            for at in range(20 + 7 * event, len(x) - 30, 45):
                x[at : at + 4, event] += 3
                y[at + 8 : at + 14, event] = 1
        name = folder / f"subj1_series{series}"
        np.save(f"{name}_features.npy", x)
        np.save(f"{name}_labels.npy", y)
        moments = Moments.of(x)
        np.savez(
            f"{name}_moments.npz",
            count=moments.count, mean=moments.mean, scatter=moments.scatter,
        )  # fmt: skip
    return folder


def make(features, window=WINDOW, model=MODEL, **train):
    job = Job("subj1_validate", ((1, 1), (1, 2)), ((1, 3),), (), features, EVENTS)
    return job, Options(window, model, {**TRAIN, **train}, 0)


def silent(progress, news):
    """Hear nothing."""


def weights(folder):
    return Detector.load(folder / "subj1_validate_model.pt").network.state_dict()


def test_it_learns_what_the_past_tells(features, tmp_path):
    job, options = make(features, epochs=12)
    train_job(tmp_path, silent, job, options, "cpu", 1)
    history = pd.read_csv(tmp_path / "subj1_validate_history.csv")
    assert history["valid_auc_mean"].max() > 0.95
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert history.loc[history["best"], "epoch"].iloc[0] == history["valid_auc_mean"].idxmax() + 1
    logits = np.load(tmp_path / "subj1_series3_logits.npy")
    assert logits.shape == (750, 2)
    assert logits.dtype == np.float32
    # The model that was kept is the one that predicted.
    kept = Detector.load(tmp_path / "subj1_validate_model.pt")
    x = np.load(features / "subj1_series3_features.npy")
    np.testing.assert_array_equal(kept.predict(x, 1), logits)


def test_the_output_starts_at_the_base_rates_and_the_last_weights_can_be_kept(features, tmp_path):
    job, options = make(features, epochs=3, learning_rate=1e-9, select="last", schedule="constant")
    train_job(tmp_path, silent, job, options, "cpu", 1)
    labels = np.concatenate([np.load(features / f"subj1_series{s}_labels.npy") for s in (1, 2)])
    bias = weights(tmp_path)["output.bias"].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), labels.mean(axis=0), rtol=0.02)
    history = pd.read_csv(tmp_path / "subj1_validate_history.csv")
    assert history["best"].tolist() == [False, False, True]


def test_every_row_is_learned_from_once_an_epoch(features, tmp_path, monkeypatch):
    counted = []
    plain = training.masked_bce
    monkeypatch.setattr(
        training, "masked_bce", lambda a, b, s: counted.append(int(s.sum())) or plain(a, b, s)
    )
    job, options = make(features, epochs=2)
    train_job(tmp_path, silent, job, options, "cpu", 1)
    assert sum(counted) == 2 * (650 + 700)


def test_it_stops_early_and_the_final_fit_trains_as_long_as_was_best(features, tmp_path):
    job, options = make(features, epochs=40, patience=2, learning_rate=0.05, schedule="constant")
    train_job(tmp_path, silent, job, options, "cpu", 1)
    history = pd.read_csv(tmp_path / "subj1_validate_history.csv")
    best = int(history.loc[history["best"], "epoch"].iloc[0])
    assert len(history) == best + 2 < 40
    final = Job(
        "subj1_final", job.fit, (), job.held_out, features, EVENTS,
        tmp_path / "subj1_validate_history.csv",
    )  # fmt: skip
    train_job(tmp_path, silent, final, options, "cpu", 1)
    assert len(pd.read_csv(tmp_path / "subj1_final_history.csv")) == best


def test_a_job_may_not_predict_what_it_learns_from(features):
    with pytest.raises(ValueError, match="learns from"):
        Job("x", ((1, 1), (1, 2)), ((1, 2),), (), features, EVENTS)
    with pytest.raises(ValueError, match="learns from"):
        Job("x", ((1, 1), (1, 2)), (), ((1, 1),), features, EVENTS)


class CutError(Exception):
    """Stands for the power going off."""


@pytest.fixture(scope="module")
def two_heads(features, tmp_path_factory):
    """Subject 1, and a subject 2 in whom the two features have changed places."""
    folder = tmp_path_factory.mktemp("two_heads")
    for path in features.iterdir():
        shutil.copy(path, folder)
    for series in (1, 2, 3):
        x = np.load(features / f"subj1_series{series}_features.npy")[:, [1, 0, 2]]
        FeatureSeries(
            2, series, x, np.load(features / f"subj1_series{series}_labels.npy"), Moments.of(x)
        ).save(folder)
    return folder


OWN = {**MODEL, "projection": 3, "kernel": 2, "networks": 2}


def test_one_network_learns_from_subjects_who_each_have_their_own_projection(two_heads, tmp_path):
    fit, held_out = ((1, 1), (1, 2), (2, 1), (2, 2)), ((1, 3), (2, 3))
    job = Job("validate", fit, held_out, (), two_heads, EVENTS)
    train = {**TRAIN, "scope": "global", "own_projection": True, "whiten": False, "epochs": 12}
    train_job(tmp_path, silent, job, Options(WINDOW, OWN, train, 0), "cpu", 1)
    # What is kept is a plain network, and predicts as it did while it learned.
    kept = Detector.load(tmp_path / "validate_model.pt")
    truth = np.load(two_heads / "subj1_series3_labels.npy")
    for subject, other in ((1, 2), (2, 1)):
        x = np.load(two_heads / f"subj{subject}_series3_features.npy")
        logits = np.load(tmp_path / f"subj{subject}_series3_logits.npy")
        np.testing.assert_array_equal(kept.predict(x, subject), logits)
        own = score(truth, logits, EVENTS).mean
        assert own > 0.95
        assert own > score(truth, kept.predict(x, other), EVENTS).mean + 0.1


@pytest.mark.parametrize("recipe", ["streams", "joined", "own"])
@pytest.mark.parametrize("batch", [3, 40, 77])
def test_cut_off_and_resumed_ends_with_the_same_weights_to_the_bit(
    features, tmp_path, monkeypatch, batch, recipe
):
    cut, whole = cut_off_and_resume(features, tmp_path, monkeypatch, batch, recipe, "cpu")
    ours, theirs = weights(cut), weights(whole)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    logits = [np.load(f / "subj1_series3_logits.npy") for f in (cut, whole)]
    np.testing.assert_array_equal(*logits)


def cut_off_and_resume(features, tmp_path, monkeypatch, batch, recipe, device):
    """Train twice, once cut off at a batch; gives that one's folder and the other's."""
    job, options = {
        "streams": lambda: make(features),
        "joined": lambda: make(features, JOINED, **OTHER),
        "own": lambda: make(features, model=OWN, own_projection=True, projection_rate=0.3),
    }[recipe]()
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    train_job(whole, silent, job, options, device, 1)

    done = []
    plain = training.masked_bce

    def stop(*args):
        done.append(1)
        if len(done) == batch:
            raise CutError
        return plain(*args)

    monkeypatch.setattr(training, "masked_bce", stop)
    with pytest.raises(CutError):
        train_job(cut, silent, job, options, device, 1)
    monkeypatch.setattr(training, "masked_bce", plain)
    torch.manual_seed(99)  # whatever the new process drew before
    train_job(cut, silent, job, options, device, 1)
    return cut, whole


KILLED = """
import sys, pathlib
sys.path.insert(0, {here!r})
from tests.test_training import *
job, options = make(pathlib.Path({features!r}), epochs=30)
train_job(pathlib.Path({folder!r}), silent, job, options, "cpu", 1)
"""


def test_a_killed_process_leaves_a_checkpoint_that_is_whole(features, tmp_path):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    job, options = make(features, epochs=30)
    train_job(whole, silent, job, options, "cpu", 1)
    script = KILLED.format(here=here, features=str(features), folder=str(cut))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=here)
    deadline = time.monotonic() + 60
    while not (cut / "subj1_validate_checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # with checkpoint_seconds=0 it is nearly always writing one
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "subj1_validate_model.pt").exists()
    train_job(cut, silent, job, options, "cpu", 1)
    ours, theirs = weights(cut), weights(whole)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_a_diverged_training_says_so(features, tmp_path):
    job, options = make(features, learning_rate=float("inf"))
    with pytest.raises(PipelineError, match=r"the loss is nan.*lower train.learning_rate"):
        train_job(tmp_path, silent, job, options, "cpu", 1)


def test_unknown_devices_are_refused():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda"}
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device={name}"):
            choose_device(name)


def test_the_loss_is_that_of_the_scored_rows_alone():
    logits, labels = torch.randn(2, 5, 3), torch.randint(0, 2, (2, 5, 3)).float()
    scored = torch.zeros(2, 5, dtype=torch.bool)
    scored[0, :3] = scored[1, 4] = True
    loss = masked_bce(logits, labels, scored)
    logits[~scored] = 1e9
    assert masked_bce(logits, labels, scored) == loss


def test_the_schedule_rises_and_falls():
    train = {"schedule": "onecycle", "learning_rate": 1.0, "epochs": 4}
    rates = [learning_rate(train, p / 25) for p in range(101)]
    assert np.argmax(rates) == 30
    assert rates[0] == pytest.approx(0.04)
    assert rates[-1] < 1e-3
    assert learning_rate({"schedule": "constant", "learning_rate": 0.5}, 0.9) == 0.5


def test_the_learning_rate_decays_twice_an_epoch_from_its_epoch_on():
    train = {
        "schedule": "decay", "learning_rate": 2e-3, "decay": 0.97, "decay_after": 10.0,
        "decays_per_epoch": 2,
    }  # fmt: skip
    after = {9.99: 0, 10.0: 1, 10.49: 1, 10.5: 2, 11.0: 3, 19.99: 20}
    for epochs, decays in after.items():
        assert learning_rate(train, epochs) == pytest.approx(2e-3 * 0.97**decays)


def test_the_lowest_validation_loss_is_kept_and_stock_is_taken_between_epochs(features, tmp_path):
    job, options = make(features, JOINED, **OTHER)
    train_job(tmp_path, silent, job, options, "cpu", 1)
    history = pd.read_csv(tmp_path / "subj1_validate_history.csv")
    batches = (650 + 700) // 75
    assert history["step"].tolist() == [*range(7, 6 * batches, 7), 6 * batches]
    np.testing.assert_allclose(history["epoch"], history["step"] / batches)
    assert history["best"].to_numpy().argmax() == history["valid_loss"].to_numpy().argmin()


def test_joined_streams_carry_their_state_over_the_end_of_the_epoch(
    features, tmp_path, monkeypatch
):
    job, options = make(features, JOINED, **OTHER, epochs=3)
    given, left = [], []
    plain = detector.Network.forward

    def forward(self, x, state=None):
        result = plain(self, x, state)
        if self.training:
            given.append(state)
            left.append(result[1])
        return result

    monkeypatch.setattr(detector.Network, "forward", forward)
    train_job(tmp_path, silent, job, options, "cpu", 1)
    assert len(given) == 3 * 18
    assert not given[0][0].any()
    assert not given[0][1].any()
    for (h, c), (last_h, last_c) in zip(given[1:], left[:-1], strict=True):
        assert torch.equal(h, last_h)
        assert torch.equal(c, last_c)
        assert not h.requires_grad


def test_gradients_are_clamped_element_by_element(features, tmp_path, monkeypatch):
    job, options = make(features, JOINED, **{**OTHER, "clip_value": 1e-5}, epochs=1)
    largest = []
    step = torch.optim.RMSprop.step

    def looked_at(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        largest.append(max(float(g.abs().max()) for g in gradients))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.RMSprop, "step", looked_at)
    train_job(tmp_path, silent, job, options, "cpu", 1)
    assert max(largest) == pytest.approx(1e-5)


def test_one_scaler_for_all_is_fitted_on_the_series_it_is_told(features, tmp_path):
    job, options = make(features, epochs=1)
    shared = replace(job, scale=((1, 1), (1, 2), (1, 3)))
    train_job(tmp_path, silent, shared, options, "cpu", 1)
    mean, _ = Detector.load(tmp_path / "subj1_validate_model.pt").scalers[1]
    everything = np.concatenate([np.load(f) for f in sorted(features.glob("*_features.npy"))])
    np.testing.assert_allclose(mean, everything.mean(axis=0), atol=1e-5)


def test_without_a_refit_the_validating_model_predicts_the_test_series(features, tmp_path):
    job, options = make(features, epochs=2)
    both = replace(job, fit=((1, 1),), test=((1, 2),))
    train_job(tmp_path, silent, both, options, "cpu", 1)
    assert len(np.load(tmp_path / "subj1_series2_logits.npy")) == 700
    assert set(both.outputs()) == {p.name for p in tmp_path.glob("*")} - {
        "subj1_validate_checkpoint.pt"
    }


def test_networks_of_a_committee_learn_as_if_each_were_alone():
    options = {"hidden": 4, "layers": 1, "projection": 2, "dropout": 0.0, "input_dropout": 0.0}
    torch.manual_seed(3)
    together = detector.make_network(5, 2, networks=3, **options)
    x, y = torch.randn(6, 20, 5), torch.randint(0, 2, (6, 20, 2)).float()
    scored = torch.rand(6, 20) > 0.3
    votes, _ = together(x)
    loss = masked_bce(votes, y, scored)
    loss.backward()
    alone = [masked_bce(network(x)[0], y, scored) for network in together.networks]
    torch.testing.assert_close(loss, sum(alone))
    for network, own in zip(together.networks, alone, strict=True):
        gradients = torch.autograd.grad(own, list(network.parameters()))
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
    together.eval()
    torch.testing.assert_close(together(x)[0], votes.mean(dim=0))


def test_dropout_drops_its_share_keeps_the_mean_and_does_nothing_in_prediction():
    torch.manual_seed(0)
    layer, x = Dropout(0.3), torch.ones(200, 500, requires_grad=True)
    y = layer(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.mean().item() == pytest.approx(1.0, abs=0.01)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())  # the same mask on the way back
    assert layer.eval()(x) is x
