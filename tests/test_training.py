"""The LSTM's training: it learns, and one that was killed ends as if it had not been killed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

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
from pipeline.config.paths import PROJECT
from pipeline.detectors.base import FitData
from pipeline.detectors.lstm import network as network_module
from pipeline.detectors.lstm import training
from pipeline.detectors.lstm.checkpoint import Checkpoint, Progress
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.detectors.lstm.loss import masked_bce
from pipeline.detectors.lstm.network import make_network
from pipeline.detectors.lstm.optimiser import learning_rate
from pipeline.errors import PipelineError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.results.scoring import score
from tests.conftest import fit_data, tapped_series, wait_until

EVENTS = ("a", "b")
WINDOW = Window(length=20, batch=4, stride=2, streams=3, burn_in=5, join=False)
MODEL = Model(
    cell=Cell.fused, hidden=8, layers=1, projection=0, kernel=0, dropout=0.2, input_dropout=0.1,
    networks=1, forget_bias=None, init_range=None,
)  # fmt: skip
TRAIN = Train(
    scope=Scope.subject, scaler=Scaler.subject, own_projection=False, whiten=True,
    prior_bias=True, epochs=6, validate_every=0, select=Select.auc, refit=True,
    optimiser=Optimiser.adamw, smoothing=0.95, learning_rate=0.02, projection_rate=1.0,
    schedule=Schedule.onecycle, decay=0.97, decay_after=2.0, decays_per_epoch=2, weight_decay=0.0,
    clip=1.0, clip_value=0.0, checkpoint_seconds=0.0,
)  # fmt: skip
# As the 2015 recipe trains: RMSprop with decay, state never reset, stock taken between the ends of
# epochs, selection by loss, clamped gradients.
JOINED = Window(length=25, batch=3, stride=1, streams=1, burn_in=0, join=True)
OTHER = {
    "optimiser": Optimiser.rmsprop, "schedule": Schedule.decay, "select": Select.loss,
    "validate_every": 7, "clip": 0.0, "clip_value": 0.01, "learning_rate": 0.01,
}  # fmt: skip
OWN = replace(MODEL, projection=3, kernel=2, networks=2)
FITTED, HELD_OUT = ((1, 1), (1, 2)), ((1, 3),)


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
        Moments.of(x).save(Path(f"{name}_moments.npz"))
    return folder


def silent(progress, news):
    """Hear nothing."""


def load(features, keys):
    return [FeatureSeries.load(features, *key) for key in keys]


def on(features, scratch, fitted=FITTED, held_out=HELD_OUT, **more):
    """On what is trained."""
    chosen = {
        "name": "subj1_validate", "shared": [], "events": EVENTS, "seed": 0, "device": "cpu",
        "epochs": None, "scratch": scratch, "report": silent, "channels": 1,
    }  # fmt: skip
    return FitData(
        fitted=load(features, fitted), held_out=load(features, held_out), **chosen | more
    )


def how(window=WINDOW, model=MODEL, **train):
    """How it is trained."""
    return LstmOptions(window, model, replace(TRAIN, **train))


def column(history, name):
    return np.array([line[name] for line in history])


def best(history):
    (line,) = [line for line in history if line["best"]]
    return line


def logits(detector, features, key=(1, 3)):
    (series,) = load(features, [key])
    return detector.predict(series.features, series.subject)


def assert_same_weights(ours, theirs):
    ours, theirs = ours.network.state_dict(), theirs.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_it_learns_what_the_past_tells(features, tmp_path):
    detector, history = LstmDetector.fit(on(features, tmp_path), how(epochs=12))
    assert column(history, "valid_auc_mean").max() > 0.95
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert best(history)["epoch"] == column(history, "valid_auc_mean").argmax() + 1
    found = logits(detector, features)
    assert found.shape == (750, 2)
    assert found.dtype == np.float32
    # What is saved predicts the same.
    detector.save(tmp_path / "model.pt")
    kept = LstmDetector.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(logits(kept, features), found)
    # And what the history says of the weights that were kept is what they score.
    truth = np.load(features / "subj1_series3_labels.npy")
    assert score(truth, found, EVENTS).mean == best(history)["valid_auc_mean"]


def test_the_output_starts_at_the_base_rates_and_the_last_weights_can_be_kept(features, tmp_path):
    still = how(epochs=3, learning_rate=1e-9, select=Select.last, schedule=Schedule.constant)
    detector, history = LstmDetector.fit(on(features, tmp_path), still)
    labels = np.concatenate([np.load(features / f"subj1_series{s}_labels.npy") for s in (1, 2)])
    bias = detector.network.state_dict()["output.bias"].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), labels.mean(axis=0), rtol=0.02)
    assert column(history, "best").tolist() == [False, False, True]


def test_every_row_is_learned_from_once_an_epoch(features, tmp_path, monkeypatch):
    counted = []
    plain = training.masked_bce
    monkeypatch.setattr(
        training, "masked_bce", lambda a, b, s: counted.append(int(s.sum())) or plain(a, b, s)
    )
    LstmDetector.fit(on(features, tmp_path), how(epochs=2))
    assert sum(counted) == 2 * (650 + 700)


@pytest.mark.parametrize(("epochs", "lines"), [(3.0, [1, 2, 3]), (1.5, [1, 1.5])])
def test_a_final_fit_trains_as_long_as_it_is_told_and_keeps_the_last_weights(
    features, tmp_path, epochs, lines
):
    data = on(features, tmp_path, held_out=(), name="subj1_final", epochs=epochs)
    _, history = LstmDetector.fit(data, how(JOINED, **OTHER | {"validate_every": 0}))
    np.testing.assert_allclose(column(history, "epoch"), lines, atol=0.03)
    assert column(history, "best").tolist() == [False] * (len(lines) - 1) + [True]
    assert "valid_loss" not in history[0]


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


@pytest.mark.slow
def test_one_network_learns_from_subjects_who_each_have_their_own_projection(two_heads, tmp_path):
    fitted, held_out = ((1, 1), (1, 2), (2, 1), (2, 2)), ((1, 3), (2, 3))
    data = on(two_heads, tmp_path, fitted, held_out, name="validate")
    own = how(model=OWN, scope=Scope["global"], own_projection=True, whiten=False, epochs=12)
    detector, history = LstmDetector.fit(data, own)
    # What is kept is a plain network, and predicts as it did while it learned.
    detector.save(tmp_path / "model.pt")
    kept = LstmDetector.load(tmp_path / "model.pt")
    truth = np.load(two_heads / "subj1_series3_labels.npy")
    together = []
    for subject, other in ((1, 2), (2, 1)):
        x = np.load(two_heads / f"subj{subject}_series3_features.npy")
        found = kept.predict(x, subject)
        together.append(found)
        np.testing.assert_array_equal(found, detector.predict(x, subject))
        its_own = score(truth, found, EVENTS).mean
        assert its_own > 0.95
        assert its_own > score(truth, kept.predict(x, other), EVENTS).mean + 0.1
    scored = score(np.concatenate([truth, truth]), np.concatenate(together), EVENTS).mean
    assert scored == pytest.approx(best(history)["valid_auc_mean"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["streams", "joined", "own"])
@pytest.mark.parametrize("batch", [3, 40, 77])
def test_cut_off_and_resumed_ends_with_the_same_weights_to_the_bit(
    features, tmp_path, monkeypatch, batch, recipe
):
    cut, whole = cut_off_and_resume(features, tmp_path, monkeypatch, batch, recipe, "cpu")
    assert_same_weights(cut, whole)
    np.testing.assert_array_equal(logits(cut, features), logits(whole, features))


def cut_off_and_resume(features, tmp_path, monkeypatch, batch, recipe, device):
    """Train twice, once cut off at a batch; gives that one's detector and the other's."""
    options = {
        "streams": lambda: how(),
        "joined": lambda: how(JOINED, **OTHER),
        "own": lambda: how(model=OWN, own_projection=True, projection_rate=0.3),
    }[recipe]()
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, _ = LstmDetector.fit(on(features, tmp_path / "whole", device=device), options)

    done = []
    plain = training.masked_bce

    def stop(*args):
        done.append(1)
        if len(done) == batch:
            raise CutError
        return plain(*args)

    monkeypatch.setattr(training, "masked_bce", stop)
    with pytest.raises(CutError):
        LstmDetector.fit(on(features, tmp_path / "cut", device=device), options)
    monkeypatch.setattr(training, "masked_bce", plain)
    torch.manual_seed(99)  # whatever the new process drew before
    cut, _ = LstmDetector.fit(on(features, tmp_path / "cut", device=device), options)
    return cut, whole


KILLED = """
import pathlib
from tests.test_training import *
LstmDetector.fit(on(pathlib.Path({features!r}), pathlib.Path({folder!r})), how(epochs=3000))
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_checkpoint_that_is_whole(features, tmp_path):
    script = KILLED.format(features=str(features), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT)
    file = tmp_path / "subj1_validate_checkpoint.pt"
    wait_until(file.exists, process)
    time.sleep(0.3)  # with checkpoint_seconds=0 it is nearly always writing one
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = torch.load(file, weights_only=True)["progress"]["step"]
    assert step > 0
    lines = len(torch.load(file, weights_only=True)["history"])
    epochs = float(lines + 2)  # the resumed training ends soon after
    resumed, history = LstmDetector.fit(on(features, tmp_path, epochs=epochs), how(epochs=3000))
    (tmp_path / "whole").mkdir()
    whole, _ = LstmDetector.fit(
        on(features, tmp_path / "whole", epochs=epochs), how(epochs=3000, checkpoint_seconds=60)
    )
    assert len(history) == lines + 2
    assert_same_weights(resumed, whole)


@pytest.mark.parametrize("damage", ["cut short", "empty", "one bit", "not there"])
def test_a_damaged_checkpoint_is_not_read(tmp_path, damage):
    file = tmp_path / "x_checkpoint.pt"
    checkpoint = Checkpoint(file, torch.device("cpu"))
    checkpoint.write(Progress(epoch=3), {"weights": {"w": torch.arange(1000.0)}})
    progress, parts = checkpoint.read()
    assert (progress.epoch, parts["weights"]["w"][7]) == (3, 7)
    content = bytearray(file.read_bytes())
    at = content.index(torch.arange(1000.0).numpy().tobytes())
    content[at + 2000] ^= 1
    changed = {"cut short": content[: len(content) // 2], "empty": b"", "one bit": content}
    file.unlink()
    if damage in changed:
        file.write_bytes(changed[damage])
    assert checkpoint.read() is None


def test_a_diverged_training_says_so(features, tmp_path):
    with pytest.raises(PipelineError, match=r"the loss is nan.*lower train.learning_rate"):
        LstmDetector.fit(on(features, tmp_path), how(learning_rate=float("inf")))


def test_the_loss_is_that_of_the_scored_rows_alone():
    logits, labels = torch.randn(2, 5, 3), torch.randint(0, 2, (2, 5, 3)).float()
    scored = torch.zeros(2, 5, dtype=torch.bool)
    scored[0, :3] = scored[1, 4] = True
    loss = masked_bce(logits, labels, scored)
    logits[~scored] = 1e9
    assert masked_bce(logits, labels, scored) == loss


def test_the_schedule_rises_and_falls():
    train = replace(TRAIN, schedule=Schedule.onecycle, learning_rate=1.0, epochs=4)
    rates = [learning_rate(train, p / 25) for p in range(101)]
    assert np.argmax(rates) == 30
    assert rates[0] == pytest.approx(0.04)
    assert rates[-1] < 1e-3
    constant = replace(TRAIN, schedule=Schedule.constant, learning_rate=0.5)
    assert learning_rate(constant, 0.9) == 0.5


def test_the_learning_rate_decays_twice_an_epoch_from_its_epoch_on():
    train = replace(
        TRAIN, schedule=Schedule.decay, learning_rate=2e-3, decay=0.97, decay_after=10.0,
        decays_per_epoch=2,
    )  # fmt: skip
    after = {9.99: 0, 10.0: 1, 10.49: 1, 10.5: 2, 11.0: 3, 19.99: 20}
    for epochs, decays in after.items():
        assert learning_rate(train, epochs) == pytest.approx(2e-3 * 0.97**decays)


def test_the_lowest_validation_loss_is_kept_and_stock_is_taken_between_epochs(features, tmp_path):
    _, history = LstmDetector.fit(on(features, tmp_path), how(JOINED, **OTHER))
    batches = (650 + 700) // 75
    steps = column(history, "step")
    assert steps.tolist() == [*range(7, 6 * batches, 7), 6 * batches]
    np.testing.assert_allclose(column(history, "epoch"), steps / batches)
    assert column(history, "best").argmax() == column(history, "valid_loss").argmin()


def test_joined_streams_carry_their_state_over_the_end_of_the_epoch(
    features, tmp_path, monkeypatch
):
    given, left = [], []
    plain = network_module.Network.forward

    def forward(self, x, state=None):
        result = plain(self, x, state)
        if self.training:
            given.append(state)
            left.append(result[1])
        return result

    monkeypatch.setattr(network_module.Network, "forward", forward)
    LstmDetector.fit(on(features, tmp_path), how(JOINED, **OTHER, epochs=3))
    assert len(given) == 3 * 18
    assert not given[0][0].any()
    assert not given[0][1].any()
    for (h, c), (last_h, last_c) in zip(given[1:], left[:-1], strict=True):
        assert torch.equal(h, last_h)
        assert torch.equal(c, last_c)
        assert not h.requires_grad


def test_gradients_are_clamped_element_by_element(features, tmp_path, monkeypatch):
    largest = []
    step = torch.optim.RMSprop.step

    def looked_at(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        largest.append(max(float(g.abs().max()) for g in gradients))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.RMSprop, "step", looked_at)
    clamped = how(JOINED, **{**OTHER, "clip_value": 1e-5, "epochs": 1})
    LstmDetector.fit(on(features, tmp_path), clamped)
    assert max(largest) == pytest.approx(1e-5)


def test_one_scaler_for_all_is_fitted_on_the_series_it_is_told(features, tmp_path):
    shared = [series.moments for series in load(features, (*FITTED, *HELD_OUT))]
    detector, _ = LstmDetector.fit(on(features, tmp_path, shared=shared), how(epochs=1))
    mean, _ = detector.scalers[1]
    everything = np.concatenate([np.load(f) for f in sorted(features.glob("*_features.npy"))])
    np.testing.assert_allclose(mean, everything.mean(axis=0), atol=1e-5)


def test_networks_of_a_committee_learn_as_if_each_were_alone():
    options = {"hidden": 4, "layers": 1, "projection": 2, "dropout": 0.0, "input_dropout": 0.0}
    torch.manual_seed(3)
    together = make_network(5, 2, networks=3, **options)
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


def resident(path: Path) -> int:
    """Give the bytes of a mapped file that this process holds in memory."""
    blocks = Path("/proc/self/smaps").read_text(encoding="utf-8").split("VmFlags:")
    mine = [block for block in blocks if str(path) in block]
    return 1024 * sum(int(re.search(r"^Rss: +(\d+) kB", block, re.M)[1]) for block in mine)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="/proc/self/smaps is not there")
def test_features_are_not_held_in_memory_beside_the_standardised_ones(tmp_path):
    tapped_series(1, 1, 40_000).save(tmp_path)
    series, path = FeatureSeries.load(tmp_path, 1, 1), tmp_path / "subj1_series1_features.npy"
    assert np.isfinite(series.features).all()
    assert resident(path) > 400_000
    data = fit_data([series], epochs=0.01, scratch=tmp_path)
    training.train(data, how())
    assert resident(path) == 0
    assert np.isfinite(series.features).all()  # the file gives them anew
