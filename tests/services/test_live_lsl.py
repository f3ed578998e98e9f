"""Real streams of Lab Streaming Layer on the loopback address, sent by another process."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.bench.lsl import ISOLATED
from pipeline.config.paths import PROJECT
from pipeline.detectors.registry import METHODS
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.filter_bank import FilterBank
from pipeline.results.decisions import Settings
from pipeline.serving.fitted_recipe import FittedRecipe, export
from tests.conftest import COMPETITION, EVENTS, fit_data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mne_lsl") is None, reason="mne-lsl, of the extra live, is missing"
    ),
]

SECONDS = 5.0
BANK = {
    "lowpass_hz": [1, 5], "order": 5, "power_bands_hz": [], "power_smoothing_hz": 2.0,
    "decimate": 10, "subsample": 1, "covariance_bands_hz": [], "covariance_smoothing_hz": 0.5,
    "highpass_hz": 0.0, "start": "first",
}  # fmt: skip
# Runs in a process of its own, for liblsl reads its configuration once.
RUN_PLANS = """
import json, sys
from pathlib import Path
import numpy as np
from pipeline.bench import lsl
from pipeline.bench.capture import Capture
from pipeline.bench.lsl_plans import plans
from pipeline.config.compose import compose
from pipeline.live.model import load
folder, seconds, names = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
lsl.isolate(folder)
options = ["stage=live", f"live.model={folder / 'recipe'}", "live.subject=1", "live.stream=any"]
model = load(compose(options).live, None)
about = model.recipe.about
signal = np.load(folder / "signal.npy")
planned = [plan for plan in plans(signal, about, seconds, seconds) if plan.name in names]
wrong = {}
with Capture() as capture:
    outcomes = lsl.run_plans(folder, planned, model, together=True)
for outcome in outcomes:
    wrong[outcome.plan.name] = lsl.faults(outcome, model)
    if outcome.plan.name == lsl.RECORDED:
        wrong[outcome.plan.name] += lsl.sent_back(folder, outcome)
        wrong["onsets"] = len(outcome.onsets)
# Without root nothing is captured. Groups are joined by other programs, too.
wrong["isolation"] = [capture.line()] if (capture.left or {}).get("multicast") else []
(folder / "wrong.json").write_text(json.dumps(wrong), encoding="utf-8")
"""


def recorded(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples with a small wave after each event, and the labels."""
    random = np.random.default_rng(rows)
    signal = random.normal(0, 300, (rows, len(COMPETITION.channels)))
    labels = np.zeros((rows, len(EVENTS)), dtype=np.uint8)
    for number, begin in enumerate(range(100, rows - 300, 220)):
        event = number % len(EVENTS)
        labels[begin : begin + 150, event] = 1
        signal[begin : begin + 150, event::6] += 60
    return np.rint(signal), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small recipe with its own settings of onsets, and a signal on which there are some."""
    folder = tmp_path_factory.mktemp("lsl")
    bank, (signal, labels) = FilterBank(COMPETITION.rate, **BANK), recorded(6000)
    features = bank.transform(signal)[0]
    series = FeatureSeries(1, 1, features, labels[:: bank.every].copy(), Moments.of(features))
    options = compose_lda()
    detector, _ = METHODS["lda"].load().fit(fit_data([series], events=EVENTS), options)
    detector.save(folder / "lda.pt")
    export(folder / "recipe", COMPETITION, bank.every, BANK, "lda", {folder / "lda.pt": [1]}, 0)
    signal = recorded(5000)[0]
    np.save(folder / "signal.npy", signal)
    probabilities = FittedRecipe.load(folder / "recipe").predict(signal, 1)
    count = len(EVENTS)
    Settings(
        EVENTS, COMPETITION.rate, tuple(np.quantile(probabilities, 0.8, axis=0).tolist()),
        (0.05,) * count, (0.3,) * count,
    ).save(folder / "recipe" / "decisions.json")  # fmt: skip
    return folder


def compose_lda():
    from pipeline.config.compose import compose

    return compose(["method=lda", "method.fit_every=3"]).detector_options


def python(*arguments: str, **more) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    environment |= more.pop("env", {})
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=PROJECT, text=True, env=environment, **more
    )


def outcomes(folder: Path, seconds: float, *names: str) -> dict:
    process = python("-c", RUN_PLANS, str(folder), str(seconds), *names, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return json.loads((folder / "wrong.json").read_text(encoding="utf-8"))


def test_a_stream_is_taken_whole_and_gaps_jumps_and_channels_get_what_is_stated(folder):
    """Samples, probabilities and onsets are those of the batch, also where it starts anew."""
    names = ("steady", "drops", "gap", "back", "permuted", "missing", "returns")
    wrong = outcomes(folder, SECONDS, *names)
    assert wrong.pop("onsets") > 3
    assert wrong == {name: [] for name in [*names, "isolation"]}


def test_a_rate_that_is_not_the_announced_one_is_told(folder):
    assert outcomes(folder, 8.0, "slow") == {"slow": [], "isolation": []}


def test_the_commands_replay_to_one_another_and_end_with_ctrl_c(folder, tmp_path):
    """One sends a recording out as a stream, the other one applies the recipe to it."""
    config = tmp_path / "lsl_api.cfg"
    config.write_text(ISOLATED.format(session=tmp_path.name), encoding="utf-8")
    own = {"LSLAPICFG": str(config)}
    data = ["dataset=simulated", "dataset.simulation.trials=2", "dataset.simulation.subjects=1"]
    live = python(
        "-m", "pipeline", "stage=live", f"model={folder / 'recipe'}", "stream=amp 1", "subject=1",
        env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    sender = python(
        "-m", "pipeline", "stage=replay", "out=lsl", "stream=amp 1", "subject=1", "series=9", *data,
        env=own, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert live.stdout is not None
        said = [live.stdout.readline() for _ in range(2)]
        assert "waiting for the stream 'amp 1'" in said[0]
        assert "own decisions.json" in said[1]
        time.sleep(4.0)
        live.send_signal(signal.SIGINT)
        out, errors = live.communicate(timeout=240)
        assert live.returncode == 0, errors
        samples = int(out.splitlines()[-4].split()[0])
        assert samples > 200
        assert "gaps 0 (missing 0" in out
        assert "delay from sample to probability: median" in out
    finally:
        for process in (live, sender):
            process.kill()
            process.wait()


def test_a_stream_that_is_not_there_is_told_in_one_line(folder, tmp_path):
    config = tmp_path / "lsl_api.cfg"
    config.write_text(ISOLATED.format(session=tmp_path.name), encoding="utf-8")
    live = python(
        "-m", "pipeline", "stage=live", f"model={folder / 'recipe'}", "stream=none", "subject=1",
        "wait_seconds=0.5", env={"LSLAPICFG": str(config)}, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, errors = live.communicate(timeout=240)
    assert live.returncode == 2
    [line] = [line for line in errors.splitlines() if "api_config" not in line]
    assert line.startswith("error: stream 'none': not found within 0.5 s; there is no other one")


def test_a_replay_as_fast_as_can_be_gives_the_onsets_of_the_batch(folder):
    data = ["dataset=simulated", "dataset.simulation.trials=2", "dataset.simulation.subjects=1"]
    replay = python(
        "-m", "pipeline", "stage=replay", f"model={folder / 'recipe'}", "subject=1", "series=9",
        "speed=max", "chunk_seconds=0.5", *data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, errors = replay.communicate(timeout=240)
    assert replay.returncode == 0, errors
    from pipeline.data.simulator.options import SimulationConfig
    from pipeline.data.simulator.simulate import simulate_series
    from pipeline.results.decisions import Decider

    signal = simulate_series(SimulationConfig(trials=2), COMPETITION, 1, 9).signal
    decider = Decider(Settings.load(folder / "recipe" / "decisions.json"))
    onsets = decider.push(FittedRecipe.load(folder / "recipe").predict(signal, 1))
    said = [line.split()[1:] for line in out.splitlines() if line.startswith("sample ")]
    assert said == [[str(onset.sample), onset.event] for onset in onsets]
    assert f"{len(signal)} samples" in out
