"""The configuration: what composes, and what is refused with the key's name."""

from __future__ import annotations

import re

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.paths import CONF
from pipeline.errors import ConfigError
from pipeline.stages.flow import run
from tests.conftest import RECIPES, make_config


@pytest.mark.parametrize("dataset", ["kaggle", "simulated"])
@pytest.mark.parametrize("experiment", RECIPES)
def test_every_experiment_composes_and_passes_the_checks(tmp_path, experiment, dataset):
    config = make_config(tmp_path, f"dataset={dataset}", f"experiment={experiment}")
    assert config.recipe == experiment


CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name != "experiment"
)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_composes(tmp_path, choice):
    make_config(tmp_path, choice)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.hiden=3", "hiden"),
        ("modle.hidden=3", "modle"),
        ("model.hidden=many", "model.hidden"),
        ("model.hidden=1.5", "model.hidden"),
        ("model.cell=gru", "model.cell"),
        ("train.scope=none", "train.scope"),
        ("stage=fly", "stage"),
        ("filter.lowpass_hz=3", "filter.lowpass_hz"),
        ("dataset=mars", "dataset/mars"),
    ],
)
def test_typos_and_wrong_types_name_the_key(tmp_path, override, key):
    with pytest.raises((HydraException, OmegaConfBaseException)) as error:
        make_config(tmp_path, override)
    assert key in f"{error.value} {error.value.__cause__}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("workers=-1", "workers=-1"),
        ("seed=-1", "seed=-1"),
        ("dataset.rate=0", "dataset.rate"),
        ("dataset.channels=[Cz,Cz]", "dataset.channels"),
        ("dataset.valid_series=[6,7]", r"dataset.valid_series=\[6, 7\]: series \[6\] also stand"),
        ("dataset.test_series=[7]", "dataset.test_series"),
        ("dataset.test_series=[]", "dataset.test_series"),
        ("filter.highpass_hz=250", "filter.highpass_hz"),
        ("filter.lowpass_hz=[250]", "filter.lowpass_hz"),
        ("filter.power_bands_hz=[[14.0,8.0]]", "filter.power_bands_hz"),
        ("filter.power_smoothing_hz=0", "filter.power_smoothing_hz"),
        ("filter.decimate=0", "filter.decimate"),
        ("window.length=0", "window.length"),
        ("window={streams:0,burn_in:80,length:80}", "window.burn_in=80"),
        ("filter.subsample=9", r"filter.lowpass_hz=.*half of the rate"),
        ("window.join=true", r"window\.(stride|streams)=.*one joined stream"),
        ("train.validate_every=-1", "train.validate_every"),
        ("train.smoothing=1", "train.smoothing"),
        ("train.decay=0", "train.decay"),
        ("train.clip_value=-1", "train.clip_value"),
        ("model.layers=0", "model.layers"),
        ("model.dropout=1", "model.dropout"),
        ("model={cell:vanilla,forget_bias:1}", "model.forget_bias.*no forget gate"),
        ("model.init_range=0", "model.init_range"),
        ("train.epochs=0", "train.epochs"),
        ("train.learning_rate=0", "train.learning_rate"),
        ("stage=check", "submission=None: stage=check needs the file"),
        ("stage=simulate", "stage=.*dataset=simulated"),
    ],
)
def test_contradictions_name_the_key(tmp_path, override, message):
    overrides = [override]
    if match := re.fullmatch(r"(\w+)=\{(.*)\}", override):
        overrides = [f"{match[1]}.{pair.replace(':', '=')}" for pair in match[2].split(",")]
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, *overrides)


@pytest.mark.parametrize(
    "override",
    ["dataset.simulation.subjects=13", "dataset.simulation.series=9", "dataset.subjects=[4]",
     "dataset.simulation.trials=-1", "dataset.simulation.seed=-1"],
)  # fmt: skip
def test_impossible_simulations_name_the_key(tmp_path, override):
    with pytest.raises(ConfigError, match=r"dataset\.(simulation|subjects)"):
        make_config(tmp_path, "dataset=simulated", override)


def test_every_key_is_explained_where_it_is_set():
    """Each value in conf/ has a comment on its line, or its group's first line speaks for it."""
    silent = []
    for path in sorted(CONF.rglob("*.yaml")):
        lines = path.read_text().splitlines()
        headed = lines[0].startswith("#")
        for line in lines:
            setting = re.match(r"\s*(\w+):\s*\S", line) and not line.startswith(("defaults", " "))
            if setting and "#" not in line and not headed:
                silent.append(f"{path.name}: {line}")
    assert not silent


def test_windows_without_carried_state_train_too(small_config):
    config = small_config("window=crops", "window.length=20", "stage=evaluate")
    assert run(config, say=lambda line: None).auc is not None


def test_the_schema_has_no_key_that_no_file_sets(tmp_path):
    composed = OmegaConf.structured(make_config(tmp_path))
    assert not OmegaConf.missing_keys(composed)
