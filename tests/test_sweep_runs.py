"""Sweeps: one run above the runs of all jobs, in parallel too, and none is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mlflow
import pytest
from omegaconf import OmegaConf

from pipeline.config.paths import PROJECT
from pipeline.tracking import sweep_runs as multirun
from pipeline.tracking.experiments import below
from pipeline.tracking.runs import Tracker
from pipeline.tracking.session import GROUP, JOB
from pipeline.tracking.sweep_runs import Group, jobs_at_once, name_job, plan, ranking
from pipeline.work.machine import cores
from tests.conftest import (
    LIMIT,
    SMALL_RECIPE,
    kill_alone,
    small_recipe,
    wait_until,
    whole_session,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def recorded(small_config, uri):
    return small_config("tracking.enabled=true", f"tracking.uri={uri}")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in (GROUP, JOB):
        monkeypatch.setenv(name, "{}")  # so that it is as before, afterwards
        monkeypatch.delenv(name)


def a_group(config, tmp_path):
    return Group(config, "sweep-x", "sweep", {"overrides": "seed=0,1"}, tmp_path / ".group.json")


def test_jobs_are_planned_in_hydra_s_order():
    sweep = plan(["seed=0,1", "dataset=simulated", "model.cell=fused,peephole"])
    assert sweep.varied == ["seed", "model.cell"]
    assert sweep.jobs[1] == ["seed=0", "dataset=simulated", "model.cell=peephole"]
    assert len(sweep.jobs) == 4


def test_jobs_are_those_of_hydra_s_own_sweeper():
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # what is to be equalled
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = ["seed=range(3)", "a='x y',z", "b=[1,2]", "~e", "+f={k: 1}", "g=", "h=choice(1,2)"]
    parsed = OverridesParser.create().parse_overrides(given)
    assert plan(given).jobs == BasicSweeper.split_arguments(parsed, None)[0]


def test_the_table_has_the_best_first_and_the_failed_last():
    rows = [("0", ["a"], None, "FAILED"), ("1", ["b"], 0.5, "FINISHED"),
            ("2", ["c"], 0.9, "FINISHED")]  # fmt: skip
    lines = ranking("job", ["model.cell"], rows).splitlines()
    assert lines[0] == "| job | model.cell | mean AUC | status |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 2", "| 1", "| 0"]
    assert lines[-1] == "| 0 | a |  | FAILED |"


def test_no_more_jobs_run_at_once_than_there_are():
    assert jobs_at_once(OmegaConf.create({}), 8) == 1  # the basic launcher
    assert jobs_at_once(OmegaConf.create({"n_jobs": 4}), 8) == 4
    assert jobs_at_once(OmegaConf.create({"n_jobs": 4}), 2) == 2
    assert jobs_at_once(OmegaConf.create({"n_jobs": -1}), 1000) == cores()


def test_a_job_s_run_goes_below_the_sweep_s_and_back_there_when_it_goes_on(recorded, tmp_path):
    group = a_group(recorded, tmp_path)
    group.open()
    name_job(3, "seed=1")
    job = Tracker(recorded, "x", tmp_path / ".job.json")
    job.listen("subj1", {"metrics": {"loss": 1.0}, "step": 1})
    job.close(KeyboardInterrupt())
    group.close(KeyboardInterrupt())
    assert GROUP not in os.environ
    again = a_group(recorded, tmp_path)
    again.open()
    assert again.parent == group.parent
    gone_on = Tracker(recorded, "x", tmp_path / ".job.json")
    gone_on.metrics({"auc_mean": 0.7})
    gone_on.close()
    assert again.members() == {"3": ("FINISHED", 0.7)}
    again.close()
    client = mlflow.MlflowClient(recorded.tracking.uri)
    [run] = below(client, again.parent)
    assert (run.data.tags["overrides"], run.data.tags["resumed"]) == ("seed=1", "true")
    assert client.get_run(again.parent).info.status == "FINISHED"
    third = a_group(recorded, tmp_path)
    third.open()
    assert third.parent != group.parent  # that one had ended well
    third.close()


def test_a_job_of_which_all_is_fresh_has_a_run_too_but_not_twice(recorded, tmp_path):
    group = a_group(recorded, tmp_path)
    group.open()
    for auc in (0.6, 0.8):
        name_job(0, "seed=0")
        job = Tracker(recorded, "x")
        job.join({"auc_mean": auc})
        job.close()
    assert group.members() == {"0": ("FINISHED", 0.6)}
    group.close()
    alone = Tracker(recorded, "x")
    alone.join({"auc_mean": 0.6})
    assert alone.parent is None


def test_what_a_killed_process_left_open_ends_with_the_sweep(recorded, tmp_path):
    group = a_group(recorded, tmp_path)
    group.open()
    name_job(0, "seed=0")
    Tracker(recorded, "x").listen("subj1", {"metrics": {"loss": 1.0}, "step": 1})
    group.close(RuntimeError("a worker died"))
    client = mlflow.MlflowClient(recorded.tracking.uri)
    [job] = below(client, group.parent)
    [training] = below(client, job.info.run_id)
    assert [each.info.status for each in (job, training)] == ["KILLED", "KILLED"]
    assert client.get_run(group.parent).info.status == "FAILED"


def test_runs_of_a_command_that_is_still_at_it_are_not_taken_over(recorded, tmp_path):
    memory = tmp_path / ".job.json"
    first = Tracker(recorded, "x", memory)
    first.metrics({"a": 1.0})
    stored = json.loads(memory.read_text(encoding="utf-8"))
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    from pipeline.tracking.open_runs import identify_process as _process

    memory.write_text(json.dumps({**stored, "process": _process(other.pid)}), encoding="utf-8")
    second = Tracker(recorded, "x", memory)
    second.metrics({"a": 1.0})
    assert second.parent != first.parent
    second.close()
    assert memory.exists()
    other.communicate(b"\n")
    third = Tracker(recorded, "x", memory)
    third.metrics({"a": 1.0})
    assert third.parent == first.parent  # its process is gone
    third.close()


def test_processes_that_make_the_same_store_at_once_lose_no_run(tmp_path):
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    code = (
        "import sys; from pathlib import Path; from pipeline.tracking.sweep_runs import Group\n"
        "from pipeline.config.compose import compose\n"
        "config = compose(['dataset=simulated', f'tracking.uri={sys.argv[2]}'])\n"
        "group = Group(config, 'x', 'sweep', {}, Path(sys.argv[1]) / sys.argv[3])\n"
        "group.open(); group.close()"
    )
    commands = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, uri, f".{i}.json"], cwd=PROJECT)
        for i in range(2)
    ]
    assert [command.wait(LIMIT) for command in commands] == [0, 0]
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name("simulated")
    runs = client.search_runs([found.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


def test_parallel_jobs_lose_no_run_and_one_that_fails_stops_no_other(tmp_path, uri):
    """Through the command line; nothing is left in the shell's folder."""
    (tmp_path / "shell").mkdir()
    small = [o for o in small_recipe("fbl_lda") if not o.startswith(("tracking", "workers"))]
    done = subprocess.run(
        [
            sys.executable, "-m", "pipeline", "-m", *small, "seed=0,1,-1",
            "workers=1", "stage=evaluate", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
            f"data_dir={tmp_path / 'data'}", f"output_dir={tmp_path / 'outputs'}",
            f"tracking.uri={uri}", "tracking.system_metrics=false",
        ],
        cwd=tmp_path / "shell", capture_output=True, text=True, check=False, timeout=LIMIT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "seed=-1: must be 0 or more" in done.stderr
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name("simulated")
    runs = client.search_runs([found.experiment_id])
    [sweep] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    jobs = below(client, sweep.info.run_id)
    assert sorted(run.data.tags["number"] for run in jobs) == ["0", "1"], done.stderr
    assert {run.info.status for run in jobs} == {"FINISHED"}
    assert sweep.info.status == "FAILED"
    assert "1 of 3 jobs failed" in sweep.data.tags["failure"]
    assert "seed=0,1,-1" in sweep.data.params["overrides"]
    table = sweep.data.tags["mlflow.note.content"].splitlines()
    assert table[0] == "| job | seed | mean AUC | status |"
    assert table[-1] == "| 2 | -1 |  | no run |"
    scores = [float(line.split(" | ")[2]) for line in table[2:4]]
    assert scores == sorted(scores, reverse=True)
    assert f"\n{table[0]}\n" in done.stdout
    left = {path.name for path in (tmp_path / "shell").rglob("*") if "mlruns" not in path.parts}
    assert not left


def test_a_sweep_of_stages_that_record_nothing_makes_no_run(tmp_path):
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    overrides = ["dataset=simulated", "stage=filter", f"tracking.uri={uri}", "seed=0,1"]
    sweep = plan(overrides)
    sweep.open(overrides)
    assert sweep.group is None
    assert not (tmp_path / "runs.db").exists()
    assert not multirun.is_job()


def test_when_only_the_sweep_is_killed_its_jobs_end_too(tmp_path):
    places = [f"data_dir={tmp_path / 'data'}", f"output_dir={tmp_path / 'outputs'}"]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "pipeline", "-m", *SMALL_RECIPE, *places, "train.epochs=2000",
            "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        ],
        cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with whole_session(process):
        wait_until(lambda: list(tmp_path.glob("data/derived/*/train-*/.subj*")), process)
        kill_alone(process)
