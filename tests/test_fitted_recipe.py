"""A fitted recipe on its own: what it loads, what it refuses, and the same bytes on any machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description
from pipeline.detectors.registry import METHODS
from pipeline.errors import DataError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.filter_bank import FilterBank
from pipeline.features.member_logits import side_by_side
from pipeline.serving.fitted_recipe import FittedRecipe, export
from tests.conftest import fit_data

pytestmark = pytest.mark.slow

CHANNELS, EVENTS = tuple(f"C{i}" for i in range(32)), ("one", "two", "three")
ABOUT = Description(CHANNELS, EVENTS, 500.0, 1e-6, "standard_1020")
BANK = {
    "lowpass_hz": [1, 5, 10, 30], "order": 5, "power_bands_hz": [], "power_smoothing_hz": 2.0,
    "decimate": 10, "subsample": 1, "covariance_bands_hz": [], "covariance_smoothing_hz": 0.5,
    "highpass_hz": 0.0, "start": "first",
}  # fmt: skip
STACK_EVERY = 20
# One recipe per method, and a stack of two members; small, but wide enough for several threads.
OPTIONS = {
    "lda": ["method=lda", "method.fit_every=3"],
    "lr": ["method=lr", "method.iterations=5"],
    "gru": ["method=gru_taps", "method.tap_count=5", "method.updates=1"],
    "cnn": ["method=hochberg_cnn", "method.tap_count=9", "method.units=64", "method.updates=1"],
    "semi_markov": ["method=semi_markov", "method.rows_after=20", "method.rows_before=10"],
    "lstm": ["window.length=40", "window.burn_in=5", "train.epochs=1"],
    "lstm_correction": [
        "method=lstm_correction", "stack=members", "window.length=40", "window.burn_in=5",
        "train.epochs=1",
    ],
    "hybrid": [
        "method=hybrid", "method.rows_after=20", "method.rows_before=10", "window.length=40",
        "window.burn_in=5", "train.epochs=1",
    ],
}  # fmt: skip


def recorded(series: int, rows: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Samples that drift, with a slow wave after each event, and the labels around the events."""
    random = np.random.default_rng(series)
    signal = np.cumsum(random.normal(0, 20, (rows, len(CHANNELS))), axis=0)
    labels = np.zeros((rows, len(EVENTS)), dtype=np.uint8)
    for number, begin in enumerate(range(500, rows - 300, 400 + 20 * series)):
        event = number % len(EVENTS)
        labels[begin - 75 : begin + 75, event] = 1
        signal[begin : begin + 200, event::4] += 2000
    return np.rint(signal), labels


def fitted_on(series: int, features: np.ndarray, every: int) -> FeatureSeries:
    labels = np.ascontiguousarray(recorded(series)[1][::every])
    return FeatureSeries(1, series, features, labels, Moments.of(features))


def learn(kind: str, fitted: list[FeatureSeries], path: Path) -> None:
    options = compose(OPTIONS[kind]).detector_options
    scratch = path.with_suffix(".scratch")
    scratch.mkdir(parents=True)
    data = fit_data(fitted, events=EVENTS, scratch=scratch)
    METHODS[kind].load().fit(data, options)[0].save(path)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> dict[str, Path]:
    """One exported recipe per method, by the method's name, and ``stack``."""
    folder = tmp_path_factory.mktemp("recipes")
    bank, exported = FilterBank(ABOUT.rate, **BANK), {}
    fitted = [fitted_on(n, bank.transform(recorded(n)[0])[0], bank.every) for n in (1, 2)]
    for kind in METHODS:
        learn(kind, fitted, folder / f"{kind}.pt")
        exported[kind] = folder / kind
        models = {folder / f"{kind}.pt": [1]}
        export(exported[kind], ABOUT, bank.every, BANK, kind, models, 0)
    members = [FittedRecipe.load(exported[kind]) for kind in ("lda", "cnn")]
    second = []
    for n in (1, 2):
        signal = recorded(n)[0]
        parts = [(member.logits(signal, 1), member.every) for member in members]
        together = side_by_side(parts, len(signal), STACK_EVERY)
        second.append(fitted_on(n, together, STACK_EVERY))
    learn("lr", second, folder / "second.pt")
    exported["stack"] = folder / "stack"
    export(exported["stack"], ABOUT, STACK_EVERY, None, "lr", {folder / "second.pt": [1]}, 2)
    for i, kind in enumerate(("lda", "cnn")):
        exported[kind].rename(exported["stack"] / f"member{i}")
        export(exported[kind], ABOUT, bank.every, BANK, kind, {folder / f"{kind}.pt": [1]}, 0)
    return exported


@pytest.mark.parametrize("kind", [*METHODS, "stack"])
def test_any_number_of_threads_gives_the_same_bytes(kind, recipes):
    recipe, signal = FittedRecipe.load(recipes[kind]), recorded(3)[0]
    before, given = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 4):
            torch.set_num_threads(count)
            with threadpool_limits(count):
                as_it_was = threadpool_info()
                given.append(recipe.predict(signal, 1))
                assert threadpool_info() == as_it_was
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert given[0].shape == (len(signal), len(EVENTS))
    for other in given[1:]:
        np.testing.assert_array_equal(other, given[0])


def test_calls_at_once_wait_for_each_other_and_one_thread_computes(recipes, monkeypatch):
    """Whoever ends first must not give its threads back to one that still computes."""
    recipe, signal = FittedRecipe.load(recipes["lda"]), recorded(3)[0]
    seen, inside = [], []
    whole = FilterBank.transform

    def transform(self, *arguments):
        inside.append(1)
        most = max(pool["num_threads"] for pool in threadpool_info())
        seen.append((len(inside), torch.get_num_threads(), most))
        result = whole(self, *arguments)
        inside.pop()
        return result

    monkeypatch.setattr(FilterBank, "transform", transform)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        calls = [threading.Thread(target=recipe.predict, args=(signal, 1)) for _ in range(4)]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [(1, 1, 1)] * 4


LOAD = """
import json, sys
from pathlib import Path
import numpy as np
from pipeline.serving.fitted_recipe import FittedRecipe
for folder in sys.argv[1:]:
    recipe = FittedRecipe.load(Path(folder))
    recipe.predict(np.zeros((2000, 32)), 1)
print(json.dumps(sorted(sys.modules)))
"""


def test_neither_hydra_nor_training_code_is_loaded_to_predict(recipes):
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, recipes.values())],
        cwd=PROJECT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert "pipeline.detectors.linear" in loaded
    needless = (
        "hydra", "joblib", "mlflow", "pandas", "sklearn", "pipeline.config.compose",
        "pipeline.config.options", "pipeline.detectors.lstm.training",
        "pipeline.detectors.semi_markov.fit", "pipeline.stages", "pipeline.tracking",
        "pipeline.work.runner", "pipeline.work.files",
    )  # fmt: skip
    assert [name for name in needless if name in loaded] == []


def test_what_cannot_be_predicted_is_refused(recipes):
    recipe, samples = FittedRecipe.load(recipes["lda"]), np.zeros((30, 32))
    with pytest.raises(DataError, match="subject=3: none that was learned from; choose from 1"):
        recipe.predict(samples, 3)
    with pytest.raises(DataError, match=r"shape \(30, 31\): expected \(rows, 32\)"):
        recipe.predict(samples[:, 1:], 1)
    with pytest.raises(DataError, match=r"shape \(0, 32\)"):
        recipe.predict(samples[:0], 1)
    samples[7, 2] = np.nan
    with pytest.raises(DataError, match="row 7, channel C2: nan is not a finite number"):
        recipe.predict(samples, 1)
    samples[7, 2] = 1e35  # in a row that no feature shows
    with pytest.raises(DataError, match=r"row 7, channel C2: 1e\+35 is too large"):
        recipe.predict(samples, 1)
    for kind in (complex, bool, object, str, "M8[s]"):
        with pytest.raises(DataError, match=r"samples of type .*: expected real numbers"):
            recipe.predict(np.zeros((30, 32)).astype(kind), 1)


def broken(content: bytes) -> list[bytes | None]:
    """Give what may stand in a file's place; None for nothing."""
    return [None, b"", content[: len(content) // 2], b"hello", b"\xff\xfe", b"[]", b"{}"]


@pytest.mark.parametrize("name", ["recipe.json", "{kind}.pt"])
@pytest.mark.parametrize("kind", ["lda", "gru", "semi_markov", "lstm"])
def test_a_file_that_is_damaged_or_missing_is_named(kind, name, recipes, tmp_path):
    folder = tmp_path / "recipe"
    shutil.copytree(recipes[kind], folder)
    file = folder / name.format(kind=kind)
    for content in broken(file.read_bytes()):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        what = "is missing" if content is None else "is damaged, or another file"
        with pytest.raises(DataError, match=f"{re.escape(str(file))}: {what}") as refused:
            FittedRecipe.load(folder)
        assert "\n" not in str(refused.value)


def test_a_method_of_another_version_is_named(recipes, tmp_path):
    stored = json.loads((recipes["lda"] / "recipe.json").read_text(encoding="utf-8"))
    stored["kind"] = "another"
    (tmp_path / "recipe.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"recipe\.json: kind=another: .* no such method; it has ls"
    ):
        FittedRecipe.load(tmp_path)


def test_the_file_has_the_keys_that_older_exports_have(recipes):
    stored = json.loads((recipes["stack"] / "recipe.json").read_text(encoding="utf-8"))
    newer = {"unseen", "origin"}  # which older ones do without: they cannot be adapted
    assert set(stored) - newer == {"about", "every", "bank", "kind", "models", "members"}


LINEAR = {"weights", "bias", "taps", "scalers"}
TAP_NETWORK = {"weights", "options", "scalers"}
MODEL_FILES = {
    "lda": LINEAR, "lr": LINEAR, "gru": TAP_NETWORK, "cnn": TAP_NETWORK,
    "semi_markov": {"chains", "lags", "half"}, "lstm": {"weights", "options", "scalers", "stride"},
    "hybrid": {"chains", "network", "correction"},
    "lstm_correction": {"weights", "options", "scalers", "stride"},
}  # fmt: skip


@pytest.mark.parametrize("kind", METHODS)
def test_a_model_s_file_has_the_keys_that_older_ones_have(kind, recipes):
    """Registered models must stay readable: another format needs a reader of this one beside it."""
    stored = torch.load(recipes[kind] / f"{kind}.pt", weights_only=True)
    # Blends only where the order of events tells little, as older ones never had it; the others are
    # for a new subject, and older models cannot be adapted.
    optional = {"blends", "deviations", "sums"}
    assert set(stored) - optional == MODEL_FILES[kind]
