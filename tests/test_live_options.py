"""The options of live and replay, what a stream must be, and what a mistake of the user's gets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.config.live import Live, Out, Shown, full_keys
from pipeline.config.options import Config
from pipeline.data.recording import Description
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.live import run as live_run
from pipeline.live.channels import Announced, select
from pipeline.live.lsl import load_lsl
from pipeline.live.model import USUAL_THRESHOLD, chosen_settings
from pipeline.live.recorded import RecordedFeed, read_recording
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.stages.record import Given, next_step
from pipeline.tracking.logged_recipe import find_recipe
from tests.conftest import COMPETITION

ABOUT = Description(("Fp1", "C3", "Cz"), ("reach",), 500.0, 1e-7, "standard_1005")
STREAM = Announced("amp", ("Fp1", "C3", "Cz"), ("microvolts",) * 3, 500.0)
LIVE = ["stage=live", "live.model=models:/grasp@champion", "live.stream=amp", "live.subject=3"]
REPLAY = ["stage=replay", "live.model=folder", "live.subject=1", "live.series=9"]


def test_the_short_keys_are_those_of_the_group():
    short = ["stage=live", "model=models:/grasp@champion", "stream=amp", "subject=3", "view=web"]
    assert full_keys(short) == [
        "stage=live", "live.model=models:/grasp@champion", "live.stream=amp", "live.subject=3",
        "live.view=web",
    ]  # fmt: skip
    assert compose(full_keys(short)).live.model == "models:/grasp@champion"
    assert full_keys(["model=paszke2015", "stage=train"]) == ["model=paszke2015", "stage=train"]
    for other in (
        ["stage=replay", "dataset.rate=500", "--cfg", "job"],
        ["stage=live", "live.port=0"],
    ):
        assert full_keys(other) == other


@cache
def options(kind: str) -> Live:
    """The options of a stage; ``sent`` is a replay that is sent to other programs."""
    if kind == "sent":
        return replace(options("replay"), model=None, out=Out.lsl)
    return compose(LIVE if kind == "live" else REPLAY).live


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("live", {"model": None}, "live.model=None: .*models:/NAME@champion"),
        ("live", {"subject": None}, "live.subject=None"),
        ("live", {"stream": None}, "live.stream=None"),
        ("replay", {"series": None}, "live.series=None"),
        ("sent", {"subject": ""}, "live.subject="),
        ("live", {"threshold": 1.5}, "live.threshold=1.5"),
        ("live", {"unit_volts": 0}, "live.unit_volts=0"),
        ("live", {"chunk_seconds": 0}, "live.chunk_seconds=0"),
        ("live", {"wait_seconds": 0}, "live.wait_seconds=0"),
        ("live", {"bridge_seconds": -1}, "live.bridge_seconds=-1"),
        ("live", {"dwell_seconds": -1}, "live.dwell_seconds=-1"),
        ("live", {"buffer_seconds": 0.01}, "live.buffer_seconds=0.01"),
        ("live", {"port": 70000}, "live.port=70000"),
        ("live", {"subject": [1, 2]}, "live.subject="),
        ("live", {"unit_volts": 1e9}, "live.unit_volts=1000000000.0: .* at most 1 V"),
        ("live", {"chunk_seconds": 1e5, "buffer_seconds": 1e6}, "live.chunk_seconds=1.*3600 s"),
        ("live", {"buffer_seconds": 1e9}, "live.buffer_seconds=1.*: .* at most 3600 s"),
        ("live", {"dwell_seconds": 1e9}, "live.dwell_seconds=1.*: .* at most 3600 s"),
        ("replay", {"refractory_seconds": 1e9}, "live.refractory_seconds=1.*: .* 3600 s"),
        ("replay", {"chunk_seconds": 5.0}, "live.chunk_seconds=5.0: must be below 5 s"),
        ("sent", {"chunk_seconds": 5.0}, "live.chunk_seconds=5.0: must be below 5 s"),
    ],
)
def test_what_is_missing_or_cannot_be_is_refused_by_name(stage, changes, message):
    name = "replay" if stage == "sent" else stage
    options(stage).check(name)
    changed = replace(options(stage), **changes)
    with pytest.raises(ConfigError, match=message):
        changed.check(name)
    changed.check("submit")  # which reads none of it


@pytest.mark.parametrize(
    ("stage", "keys", "message"),
    [
        ("live", ["live.series"], "live.series: is not read by stage=live"),
        ("live", ["live.speed"], "live.speed: is not read"),
        ("live", ["live.threshold", "model.hidden"], "model.hidden: is not read by stage=live"),
        ("live", ["experiment"], "experiment: is not read by stage=live; the fitted recipe"),
        ("live", ["dataset"], "dataset: is not read by stage=live"),
        ("live", ["output_dir"], "output_dir: is not read by stage=live"),
        ("replay", ["live.stream"], "live.stream: is not read by stage=replay out=view"),
        ("replay", ["live.bridge_seconds"], "live.bridge_seconds: is not read"),
        ("sent", ["live.model"], "live.model: is not read by stage=replay out=lsl"),
        ("submit", ["live.stream"], "live.stream: is read by stage=live and stage=replay only"),
    ],
)
def test_what_is_not_read_is_refused_by_name(stage, keys, message):
    chosen = options("live" if stage == "submit" else stage)
    with pytest.raises(ConfigError, match=message):
        chosen.refuse_unread("replay" if stage == "sent" else stage, keys)


def test_what_is_read_is_not_refused():
    options("live").refuse_unread(
        "live", ["stage", "live", "live.stream", "tracking.uri", "hydra.x"]
    )
    replayed = ["dataset", "dataset.simulation.seed", "data_dir", "live.speed"]
    options("replay").refuse_unread("replay", replayed)
    options("sent").refuse_unread("replay", ["live.stream", "live.series"])
    options("live").refuse_unread("submit", ["model.hidden"])


def test_the_configuration_s_check_looks_at_them():
    for overrides, key in ((["stage=live"], "live.model"), ([*LIVE, "model.hidden=3"], "model")):
        with pytest.raises(ConfigError, match=key):
            compose(overrides)


def test_the_warm_up_is_so_much_signal_however_small_the_chunks_are(monkeypatch):
    class Counts:
        rows = 0

        def __init__(self, *_: object) -> None:
            pass

        def push(self, samples: np.ndarray) -> None:
            self.rows += len(samples)

        def reset(self) -> None:
            pass

    monkeypatch.setattr(live_run, "Stream", Counts)
    model = SimpleNamespace(recipe=SimpleNamespace(about=ABOUT), subject=1)
    for seconds in (1e-6, 0.02, 1.0):
        assert live_run.warmed_up(model, seconds).rows == live_run.WARM_UP_SECONDS * ABOUT.rate


def test_channels_are_found_by_their_names_and_units():
    order = ("EEG Cz", "battery", "C3-REF", "FP1")
    stream = replace(STREAM, channels=order, units=("uV", "none", "mV", "-6"))
    chosen = select(stream, ABOUT)
    assert list(chosen.columns) == [3, 2, 0]
    np.testing.assert_allclose(chosen.factors, [10, 1e4, 10])
    samples = np.array([[1, 99, 2, 3]], dtype=np.float32)
    np.testing.assert_allclose(chosen(samples), [[30, 2e4, 10]])
    assert "another order" in chosen.notes[0]
    assert "battery" in chosen.notes[1]
    assert select(STREAM, ABOUT).notes == ()


def test_with_the_recording_s_own_units_no_sample_changes():
    chosen = select(replace(STREAM, units=("", "", "")), ABOUT, unit_volts=1e-7)
    samples = np.array([[123, -45, 2**14]], dtype=np.int16)
    np.testing.assert_array_equal(chosen(samples), samples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 250.0}, "announces 250 Hz; the recipe was fitted at 500 Hz"),
        ({"rate": 0.0}, "no regular rate"),
        ({"rate": float("nan")}, "announces nan Hz"),
        ({"channels": ()}, "does not name its channels"),
        ({"channels": ("Fp1", "C3", "C4")}, "channel Cz is missing; the stream has Fp1, C3, C4$"),
        ({"channels": ("Fp1", "C3", "Cz", "c3"), "units": ("uV",) * 4}, "C3 stands there twice"),
        ({"units": ("uV", "", "uV")}, "channel C3 has no unit.*live.unit_volts"),
        ({"units": ("uV", "uV", "tesla")}, "channel Cz has the unit 'tesla'"),
        ({"units": ()}, "channel Fp1 has no unit"),
    ],
)  # fmt: skip
def test_a_stream_that_cannot_be_used_is_refused_by_name(changes, message):
    with pytest.raises(DataError, match=f"stream 'amp': .*{message}"):
        select(replace(STREAM, **changes), ABOUT)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_lsl", None)
    monkeypatch.setitem(sys.modules, "mne_lsl.lsl", None)
    with pytest.raises(ConfigError, match=re.escape("pip install -c constraints.txt -e '.[live]'")):
        load_lsl()


def test_a_folder_without_a_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"live.model=.*no folder with recipe.json"):
        find_recipe(str(tmp_path), tmp_path, None, "live.model")


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PipelineError, match="models:/x@champion"):
        find_recipe(
            "models:/x@champion", tmp_path, f"sqlite:///{tmp_path / 'none.db'}", "live.model"
        )
    assert not list(tmp_path.iterdir())


def test_the_settings_of_onsets_are_the_model_s_own_unless_others_are_given(tmp_path):
    recipe = FittedRecipe(ABOUT, 10, {}, (), {})
    given = options("live")
    settings, said = chosen_settings(given, recipe, tmp_path)
    assert settings.thresholds == (USUAL_THRESHOLD,)
    assert "the model has no decisions.json" in said
    own = {"events": ["reach"], "rate": 500.0, "thresholds": [0.3], "dwell_seconds": [0.2],
           "refractory_seconds": [4.0]}  # fmt: skip
    (tmp_path / "decisions.json").write_text(json.dumps(own), encoding="utf-8")
    settings, said = chosen_settings(given, recipe, tmp_path)
    assert (settings.thresholds, settings.refractory_seconds) == ((0.3,), (4.0,))
    assert "own decisions.json" in said
    settings, said = chosen_settings(replace(given, threshold=0.7), recipe, tmp_path)
    assert (settings.thresholds, settings.dwell_seconds) == ((0.7,), (given.dwell_seconds,))
    assert "live.threshold=0.7" in said
    (tmp_path / "decisions.json").write_text(
        json.dumps(own | {"events": ["hold"]}), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"decisions.json: is for other events"):
        chosen_settings(given, recipe, tmp_path)


def small(*overrides: str) -> Config:
    """A replay of a small simulated data set."""
    size = ["dataset.simulation.subjects=1", "dataset.simulation.trials=1"]
    return compose([*REPLAY, "dataset=simulated", *size, *overrides])


def test_a_recording_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"live.series=12: not in the splits of simulated"):
        read_recording(small("live.series=12"))
    with pytest.raises(ConfigError, match=r"live.subject=2: .*subjects=1"):
        read_recording(small("live.subject=2"))


@pytest.mark.parametrize("paced", [False, True])
def test_a_recording_is_played_whole_in_its_order_with_its_labels(paced):
    config = small("live.series=7")
    recording = read_recording(config)
    rows = 400
    recording = replace(recording, signal=recording.signal[:rows], events=recording.events[:rows])
    feed = RecordedFeed(recording, COMPETITION, 0.02, paced)
    feed.start()
    chunks = []
    while (chunk := feed.read()) is not None:
        chunks.append(chunk)
        assert feed.now() >= chunk.times[-1] - 1e-9  # no sample comes before its time
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), recording.signal)
    times = np.concatenate([c.times for c in chunks])
    np.testing.assert_array_equal(times, np.arange(rows) / 500)
    np.testing.assert_array_equal(feed.labels(times), recording.events)
    assert paced or {len(c.samples) for c in chunks} == {10}


def test_a_view_that_shows_nothing_says_nothing(capsys):
    view = live_run.make_view(replace(options("live"), view=Shown.none))
    view.begin(ABOUT, "a title")
    view.end(None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", ["/plain/data", "/a b/it's", '/with "quotes" and $dollars'])
def test_the_line_that_a_submission_ends_with_is_read_by_shell_and_make(tmp_path, place):
    """Only what the replay reads is in the line, and names keep their spaces and quotes."""
    given = Given("mne", (f"data_dir={place}", "train.epochs=3", "dataset.subjects=[a]", "seed=1"))
    tracker = SimpleNamespace(logged_model=lambda: "models:/m-1", is_idle=lambda: False)
    context = SimpleNamespace(tracker=tracker)
    found = [
        SimpleNamespace(labelled=True, subject=1, series=1),
        SimpleNamespace(labelled=False, subject="S 1", series=9),
    ]
    model, watch = next_step(context, found, given)
    assert model == "fitted model: models:/m-1"
    makefile = "replay:\n\t@printf '%s\\n' $(DATASET) $(ARGS)\n"
    (tmp_path / "Makefile").write_text(makefile, encoding="utf-8")
    line = watch.removeprefix("watch it detect: ")
    shell = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    read = subprocess.run(
        line, shell=True, cwd=tmp_path, env=shell, capture_output=True, text=True
    )  # fmt: skip
    assert read.stdout.splitlines() == [
        "mne", "model=models:/m-1", "subject=S 1", "series=9", f"data_dir={place}",
        "dataset.subjects=[a]",
    ], read.stderr  # fmt: skip
    assert next_step(context, found, None) == [model]
    context.tracker.logged_model = lambda: None
    assert next_step(context, found, given) == []
