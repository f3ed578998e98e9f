"""The search for a recipe's parameters: resumable, honest about failures, and back to a recipe."""

from __future__ import annotations

import shutil
import subprocess
import sys

import mlflow
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from pipeline.config import compose as compose_module
from pipeline.config.compose import compose
from pipeline.config.paths import CONF, PROJECT
from pipeline.errors import ConfigError, PipelineError
from pipeline.stages.flow import run
from pipeline.studies import search as sweep
from pipeline.studies.search import (
    SPACE,
    Study,
    counted,
    cut_off,
    inner_split,
    main,
    search,
    write_recipe,
)
from pipeline.tracking.experiments import below
from pipeline.tracking.session import GROUP, JOB
from pipeline.tracking.sweep_runs import Group
from tests.conftest import SMALL_RECIPE, wait_until

pytestmark = pytest.mark.slow

# What a study does not choose itself.
PLACES = [each for each in SMALL_RECIPE if each.partition("=")[0] not in SPACE]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in (GROUP, JOB):
        monkeypatch.setenv(name, "{}")  # so that it is as before, afterwards
        monkeypatch.delenv(name)


def study(folder, *more, name=None):
    overrides = [*SMALL_RECIPE, f"output_dir={folder}", *more]
    return Study(compose(overrides), overrides, name)


def hidden(values):
    """Score without training: the more units the better."""
    return int(dict(value.split("=") for value in values)["model.hidden"]) / 1000


def test_trials_never_see_the_held_out_series(tmp_path):
    common = [*SMALL_RECIPE, "dataset.simulation.series=10", "dataset.test_series=[9,10]"]
    for train, inner in (
        ("[1,2,3,4,5,6]", ["dataset.train_series=[1, 2, 3, 4]", "dataset.valid_series=[5, 6]"]),
        ("[1,2]", ["dataset.train_series=[1]", "dataset.valid_series=[2]"]),
    ):
        config = compose([*common, f"dataset.train_series={train}", "dataset.valid_series=[7,8]"])
        assert inner_split(config) == inner
    with pytest.raises(ConfigError, match=r"dataset.train_series=\[1\]"):
        inner_split(compose([*SMALL_RECIPE, "dataset.train_series=[1]"]))


def test_the_first_trial_is_the_recipe_itself_and_every_key_exists(tmp_path):
    found = search(study(tmp_path, "model.hidden=96", "model.projection=16", "train.epochs=6"), 1,
                   hidden)  # fmt: skip
    [trial] = found.trials
    default = compose(["experiment=lstm"])
    for key, value in trial.params.items():
        group, leaf = key.split(".")
        assert value == getattr(getattr(default, group), leaf), key


def test_the_search_gets_better_and_the_same_seed_gives_the_same(tmp_path):
    first, again = (search(study(tmp_path / each), 15, hidden) for each in "ab")
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    other = search(study(tmp_path / "c", "seed=1"), 3, hidden)
    assert [t.params for t in other.trials] != [t.params for t in first.trials[:3]]
    assert first.best_params["model.hidden"] == 192


def test_a_failed_trial_is_kept_with_its_reason_and_ends_nothing(tmp_path):
    calls = []

    def sometimes(values):
        calls.append(values)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return float("nan") if len(calls) == 3 else 0.5

    found = search(study(tmp_path), 4, sometimes)
    states = [trial.state for trial in found.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert found.trials[1].user_attrs["failure"] == "RuntimeError: out of memory"
    assert "undefined" in found.trials[2].user_attrs["failure"]
    assert "fail: RuntimeError: out of memory" in sweep.table(found)
    assert len(counted(search(study(tmp_path), 4, sometimes))) == 4  # it has them all
    assert len(calls) == 4

    def never(values):
        raise RuntimeError("no luck")

    with pytest.raises(PipelineError, match=r"no trial has a score; .*no luck"):
        search(study(tmp_path / "other"), 2, never)


KILLED = """
import sys, threading
from pathlib import Path
from tests.test_sweep import hidden, search, study
count = 0
def slow(values):
    global count
    count += 1
    if count == 4:
        (Path(sys.argv[1]) / "fourth").touch()
        threading.Event().wait()  # until it is killed
    return hidden(values)
search(study(Path(sys.argv[1]), *sys.argv[2:]), 6, slow)
"""


def test_killed_and_given_again_it_ends_as_if_it_had_never_been_killed(tmp_path, uri):
    recorded = ("tracking.enabled=true", f"tracking.uri={uri}")
    whole = search(study(tmp_path / "whole"), 6, hidden)
    (tmp_path / "cut").mkdir()
    command = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "cut"), *recorded], cwd=PROJECT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until((tmp_path / "cut" / "fourth").exists, command)
        mine = study(tmp_path / "cut", *recorded)
        with pytest.raises(PipelineError, match="another command is running it"):
            search(mine, 6, hidden)
    finally:
        command.kill()
        command.wait()
    found = search(mine, 6, hidden)
    assert [cut_off(trial) for trial in found.trials] == [False] * 3 + [True] + [False] * 3
    assert found.trials[4].user_attrs["retry_of"] == 3
    assert [trial.params for trial in counted(found)] == [trial.params for trial in whole.trials]
    client = mlflow.MlflowClient(uri)
    [parent] = client.search_runs([client.get_experiment_by_name("simulated").experiment_id])
    assert (parent.info.status, parent.data.tags["resumed"]) == ("FINISHED", "true")
    assert len(parent.data.tags["mlflow.note.content"].splitlines()) == 2 + 7
    search(study(tmp_path / "cut", *recorded), 7, hidden)  # more trials, the same run
    [same] = client.search_runs([parent.info.experiment_id])
    assert same.info.run_id == parent.info.run_id
    assert len(same.data.tags["mlflow.note.content"].splitlines()) == 2 + 8


def test_a_study_of_another_configuration_is_refused(tmp_path):
    search(study(tmp_path), 1, hidden)
    with pytest.raises(ConfigError, match=r"study=lstm-simulated has model.layers=1, not 2; .*"):
        search(study(tmp_path, "model.layers=2"), 2, hidden)
    with pytest.raises(ConfigError, match=r"has recipe=lstm, not naive_lstm"):
        search(study(tmp_path, "experiment=naive_lstm", name="lstm-simulated"), 2, hidden)
    search(study(tmp_path, "workers=2"), 1, hidden)  # changes nothing
    linear = Study(compose(["experiment=fbl_lda", "dataset=simulated"]), ["experiment=fbl_lda"])
    with pytest.raises(ConfigError, match="experiment=fbl_lda: a study searches around an LSTM"):
        search(linear, 1, hidden)


def test_mistakes_are_told_by_name(tmp_path):
    places = [*PLACES, f"output_dir={tmp_path}"]
    for arguments, message in (
        (["trials=0"], "trials=0: must be 1 or more"),
        (["trials=many"], "trials=many: must be 1 or more"),
        (["study=a/b"], "study=a/b: must be a plain name"),
        (["stage=train"], "stage: cannot be set in a study"),
        (["model.hidden=64"], "model.hidden: cannot be set in a study: it tries values"),
        (["best", "name=x"], "study=lstm-simulated: there is no such study yet .*; make sweep"),
        (["best", "name=lstm"], "lstm.yaml: exists already; choose another name=, or overwrite"),
        (["best", "name=a b"], "name=a b: must be letters"),
        (["best", "overwrite=yes"], "overwrite=yes: must be true or false"),
    ):
        with pytest.raises(ConfigError, match=message):
            main([*arguments, *places])
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.studies.search", "trails=3", *places],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "trails" in line


def test_a_study_runs_and_its_best_becomes_a_recipe_that_runs(
    tmp_path, recipes_folder, monkeypatch, capsys, uri
):
    few = {
        "model.hidden": IntDistribution(4, 8),
        "model.projection": CategoricalDistribution((0, 3)),
        "train.epochs": IntDistribution(1, 2),
    }
    for key, values in few.items():
        monkeypatch.setitem(SPACE, key, values)  # small, as all else here
    monkeypatch.setattr(compose_module, "CONF", tmp_path / "conf")
    monkeypatch.setattr(sweep, "CONF", tmp_path / "conf")
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    places = [
        *PLACES, "model.layers=2", f"output_dir={tmp_path / 'outputs'}",
        f"data_dir={recipes_folder / 'data'}", "tracking.enabled=true", f"tracking.uri={uri}",
        "tracking.system_metrics=false",
    ]  # fmt: skip
    main(["trials=2", *places])
    assert "best: trial" in capsys.readouterr().out
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("simulated").experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = below(client, parent.info.run_id)
    assert [run.data.tags["number"] for run in trials] == ["0", "1"]
    assert {run.data.params["dataset.valid_series"] for run in trials} == {"[2]"}
    best = max(trials, key=lambda run: run.data.metrics["auc_mean"])
    assert parent.data.metrics["auc_best"] == best.data.metrics["auc_mean"]

    main(["best", "name=tuned", *places])
    recipe = tmp_path / "conf" / "experiment" / "tuned.yaml"
    head = recipe.read_text(encoding="utf-8").splitlines()[1:4]
    assert "study lstm-simulated, trial" in head[0]
    assert "the best of 2 trials: mean AUC 0." in head[1]
    config = compose(["experiment=tuned", "dataset=simulated"])
    assert config.recipe == "tuned"
    assert config.model.layers == 2  # what the study was told, too
    for key in SPACE:
        group, leaf = key.split(".")
        assert str(getattr(getattr(config, group), leaf)) == best.data.params[key]
    with pytest.raises(ConfigError, match="exists already"):
        main(["best", "name=tuned", *places])
    main(["best", "name=tuned", "overwrite=true", *places])
    small = [each for each in places if "model." not in each and "epochs" not in each]
    done = run(
        compose(["experiment=tuned", *small, "stage=evaluate"]),
        say=lambda line: None,
    )
    assert done.auc is not None
    assert done.folder.name.startswith("tuned-")


def test_nothing_half_is_written_where_a_recipe_cannot_be(tmp_path, monkeypatch):
    search(study(tmp_path), 1, hidden)
    monkeypatch.setattr(sweep, "write_text", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_recipe(study(tmp_path), "half")
    assert not list((CONF / "experiment").glob("*half*"))


def test_a_study_without_tracking_records_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Group, "_begin", lambda self: 1 / 0)
    search(study(tmp_path), 1, hidden)
    assert not list(tmp_path.rglob("runs.db"))
