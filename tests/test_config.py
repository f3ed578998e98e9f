"""The configuration: what composes, and what is refused with the key's name."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import MISSING
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.compose import compose, mistake
from pipeline.config.kinds import methods
from pipeline.config.options import check
from pipeline.config.paths import CONF
from pipeline.errors import ConfigError
from pipeline.stages.checks import check_before_work
from pipeline.stages.context import Context
from pipeline.stages.flow import run
from tests.conftest import RECIPES, SMALL_RECIPE, composed_by_hydra, make_config


@pytest.mark.parametrize("experiment", RECIPES)
def test_every_experiment_composes_and_passes_the_checks(tmp_path, experiment):
    assert make_config(tmp_path, f"experiment={experiment}").recipe == experiment


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=lstm", *SMALL_RECIPE],
        ["model.hidden=3", "model=paszke2015", "model.hidden=4", "train=global"],
        ["dataset=mne", "+dataset.markers.a=b", "++seed=3", "hydra.verbose=true"],
        ["~model.hidden"],
        ["model={cell:vanilla}"],
        ["seed@model=1"],
        ["seed=[1"],
    ],
)
def test_the_tests_way_to_compose_gives_what_hydra_gives(overrides):
    def outcome(way):
        try:
            return way(overrides)
        except (ConfigError, HydraException, OmegaConfBaseException) as error:
            return type(error), str(error)

    assert outcome(compose) == outcome(composed_by_hydra)


def test_what_is_set_in_one_configuration_is_not_in_the_next():
    assert compose(["seed=5", "model.hidden=7"]).seed == 5
    assert compose([]) == composed_by_hydra([])


CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name != "experiment"
)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_composes(tmp_path, choice):
    # What corrects a stack's member needs one; one network per subject says nothing of a new one.
    needed = {"method=lstm_correction": "stack=members"}
    more = "experiment=fbl_lda" if choice.startswith("protocol=") else needed.get(choice)
    make_config(tmp_path, choice, *([more] if more else []))


def test_what_corrects_a_member_needs_one(tmp_path):
    with pytest.raises(ConfigError, match=r"method\.kind=lstm_correction: is for a stack"):
        make_config(tmp_path, "method=lstm_correction")


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
        ("filter.power_bands_hz=[[null,8.0]]", "filter.power_bands_hz"),
        ("filter.power_bands_hz=[[250.0,null]]", "filter.power_bands_hz.*high may be null"),
        ("filter.power_bands_hz=[[30.0]]", "filter.power_bands_hz"),
        ("filter.power_smoothing_hz=0", "filter.power_smoothing_hz"),
        ("filter.decimate=0", "filter.decimate"),
        ("window.length=0", "window.length"),
        ("window={streams:0,burn_in:80,length:80}", "window.burn_in=80"),
        ("filter.subsample=9", r"filter.lowpass_hz=.*half of the filtered rate"),
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
        ("+x=1", "x: there is no such key"),
        ("+model.hiden=1", "model.hiden: there is no such key"),
        ("dataset.train_series=[[1]]", r"dataset.train_series=\[\[1\]\]: must be whole numbers"),
        ("dataset.subjects=[1,1]", r"dataset.subjects=\[1, 1\]: names one thing twice"),
        ("dataset.channels=['','Cz']", "dataset.channels=.*must be names"),
        ("dataset.channels=['C,z']", "dataset.channels=.*must be names"),
        ("dataset.channels=[id,Cz]", "dataset.channels=.*not id or mean"),
        ("dataset.events=[mean]", "dataset.events=.*not id or mean"),
        ("dataset.events=[../x]", "dataset.events=.*must be names"),
        ("dataset.events=['a(b']", "dataset.events=.*letters, digits"),
        ("filter.decimate=100000000", "filter.decimate=100000000: leaves less than one row in"),
        ("filter.subsample=100000000", "filter.subsample=100000000: leaves less than one row in"),
        ("threads=100000000", "threads=100000000: must be 1 to 1024"),
        ("threads=0", "threads=0: must be 1 to 1024"),
        ("workers=100000", "workers=100000: .* at most 1024"),
        ("seed=99999999999999999999", "seed=99999999999999999999: .* below 2"),
        ("data_dir=", "data_dir=: must name a folder"),
        ("output_dir=' '", "output_dir= : must name a folder"),
        ("recipe=..", "recipe=..: must be a plain folder name"),
        (f"recipe={'a' * 61}", "at most 60"),
        ("tracking.register=a/b", "tracking.register=a/b: must be a model's name"),
        ("tracking.register=", "tracking.register=: must be a model's name"),
    ],
)
def test_contradictions_name_the_key(tmp_path, override, message):
    overrides = [override]
    if match := re.fullmatch(r"(\w+)=\{(.*)\}", override):
        overrides = [f"{match[1]}.{pair.replace(':', '=')}" for pair in match[2].split(",")]
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, *overrides)


def test_too_few_training_series_for_a_method_are_refused_before_any_work(tmp_path):
    message = r"dataset.train_series=\[1\]: method.kind=hybrid needs 2 or more"
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, "experiment=hybrid", "dataset.train_series=[1]")


@pytest.mark.parametrize(
    "override",
    ["dataset.simulation.trials=100000000", "dataset.simulation.subjects=13",
     "dataset.simulation.series=9", "dataset.subjects=[4]",
     "dataset.simulation.trials=-1", "dataset.simulation.seed=-1"],
)  # fmt: skip
def test_impossible_simulations_name_the_key(tmp_path, override):
    with pytest.raises(ConfigError, match=r"dataset\.(simulation|subjects)"):
        make_config(tmp_path, "dataset=simulated", override)


SETTING = re.compile(r"^\s*(\w+):(?P<rest>.*)$")


def explained(path: Path) -> dict[str, bool]:
    """Say of each key that a file sets whether its line has a comment."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if (match := SETTING.match(line)) and match[1] not in ("defaults", "hydra"):
            found[match[1]] = "#" in match["rest"] or not match["rest"].strip()
    return found


def silent_keys(folder: Path) -> set[str]:
    """Name the keys of a group that none of its files explains on the line that sets them."""
    files = [explained(path) for path in sorted(folder.glob("*.yaml"))]
    return {key for each in files for key in each} - {
        key for each in files for key, told in each.items() if told
    }


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "experiment")


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_is_explained_where_it_is_set(group):
    assert not silent_keys(CONF / group)


def test_a_key_without_an_explanation_is_found(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "# A comment.\nbatch: 3  # told\nlength: 4\n", encoding="utf-8"
    )
    (tmp_path / "b.yaml").write_text("length: 5\nbatch: 6\n", encoding="utf-8")
    assert silent_keys(tmp_path) == {"length"}


def test_a_submission_is_looked_for_from_the_shell_s_folder(small_config, tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("id\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    context = Context(small_config("stage=check", "submission=mine.csv"))
    check_before_work(context)  # it is found


def test_a_submission_that_is_not_there_is_told_before_anything_is_read(small_config, tmp_path):
    config = small_config("stage=check", f"submission={tmp_path / 'none.csv'}")
    with pytest.raises(ConfigError, match=r"submission=.*none\.csv: there is no such file"):
        run(config, say=lambda line: None)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_windows_without_carried_state_train_too(small_config):
    config = small_config("window=crops", "window.length=20", "stage=evaluate")
    assert run(config, say=lambda line: None).auc is not None


def test_a_key_without_a_value_is_refused_by_name(tmp_path):
    config = make_config(tmp_path)
    config.filter.order = MISSING
    with pytest.raises(ConfigError, match=r"filter\.order has no value"):
        check(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hidden=3", "model.hidden: is not read by method.kind=lda"),
        ("window.length=3", "window.length: is not read by method.kind=lda"),
        ("train.epochs=3", "train.epochs: is not read by method.kind=lda"),
        ("stack.folds=3", "stack.folds: is read by a stack only; set stack.members, too"),
    ],
)
def test_an_option_of_another_method_is_refused_by_name(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, "experiment=fbl_lda", override)


def test_what_every_method_reads_of_the_training_is_not_refused(tmp_path):
    config = make_config(tmp_path, "experiment=fbl_lda", "train.scope=global", "train.refit=false")
    assert config.train.scope.name == "global"


@pytest.mark.parametrize("method", methods())
def test_another_method_s_options_are_not_in_a_method_s_class(tmp_path, method):
    own = {field.name for field in fields(methods()[method])}
    others = {f.name for each in methods().values() for f in fields(each)} - own
    file = next(path for path in (CONF / "method").glob("*.yaml")
                if f"{method}_options" in path.read_text(encoding="utf-8"))  # fmt: skip
    key = min(others)  # composing takes a third of a second, so not each of them
    with pytest.raises(HydraException) as error:
        make_config(tmp_path, f"method={file.stem}", f"method.{key}=1")
    assert f"method.{key}" in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stack.members=['fbl_lda dataset.rate=250']"], "all members share dataset"),
        (["stack.members=['fbl_lda dataset=simulated']"], "all members share dataset"),
        (["stack.members=['fbl_lda workers=1']"], "all members share workers"),
        (["stack.members=[stack]"], "it is a stack itself"),
        (["stack.members=[3]"], "'3': .*must be a string"),
        (["stack.members=['lstm +x=1']"], "x: there is no such key"),
        (["stack.members=['lstm experiment=fbl_lda']"], "the member's recipe is its first word"),
        (["stack.members=[]"], r"stack.members=\[\]: .*needs members"),
        (["recipe=..", "stack.members=[lstm]"], "recipe"),
    ],
)
def test_stacks_that_cannot_be_name_the_key(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        Context(make_config(tmp_path, "dataset=simulated", "experiment=stack", *overrides))


def test_an_unquoted_member_with_a_blank_says_how_to_quote_it():
    with pytest.raises(HydraException) as error:
        compose(["experiment=stack", "stack.members=[fbl_lda filter=fbl]"])
    assert "\"stack.members=[lstm,'fbl_lda filter=fbl']\"" in mistake(error.value)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", ".hidden", "a\\\\b", "a..", "a ", "a" * 61, "é" * 31]
)
def test_a_data_set_s_name_does_not_lead_out_of_its_folders(tmp_path, name):
    with pytest.raises((ConfigError, HydraException)):
        make_config(tmp_path, f"dataset.name='{name}'")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("filter.order=1000", "filter"),
        ("filter.highpass_hz=1e-300", "filter"),
        ("filter.lowpass_hz=[1e-9]", "filter"),
        ("dataset.rate=inf", "dataset.rate"),
        ("dataset.rate=nan", "dataset.rate"),
        ("dataset.montage=nonsense", "dataset.montage=nonsense"),
        ("device=abacus", "device=abacus"),
        ("device=meta", "device=meta"),
        ("output_dir=/dev/null/x", "output_dir=/dev/null/x: cannot be written"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(tmp_path, override, key):
    with pytest.raises(ConfigError, match=key):
        check_before_work(Context(make_config(tmp_path, "dataset=simulated", override)))


def test_a_home_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="~nobody-of-that-name/x: there is no such home folder"):
        Context(compose(["dataset=simulated", "data_dir='~nobody-of-that-name/x'"]))
