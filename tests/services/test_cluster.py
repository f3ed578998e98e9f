"""Dask's scheduler and workers as processes of their own, on loopback: the results are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from pipeline.bench.chaos_runs import free_port
from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.work.engines import engine
from pipeline.work.tasks import Folder, Task
from tests.conftest import LIMIT, SMALL_RECIPE, wait_until

distributed = pytest.importorskip("distributed", reason="Dask is not installed: .[cluster]")

HERE = Path(__file__).parent  # workers import this file, too
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")
RECIPE = (
    "experiment=lstm", *SMALL_RECIPE, "dataset.simulation.subjects=4", "train.epochs=6",
    "tracking.enabled=true",
)  # fmt: skip


def dask(program: str, log: Path, *options: str) -> subprocess.Popen:
    """Start the scheduler, or workers, as its command does."""
    with open(log, "w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{program}", *LOOPBACK, *options],
            cwd=log.parent, env={**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{HERE}"},
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """A scheduler and two workers, each with a local folder of its own; give its address."""
    folder = tmp_path_factory.mktemp("cluster")
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    programs = [dask("scheduler", folder / "scheduler.log", "--port", str(port))]
    try:
        for number in (1, 2):
            local = folder / f"local{number}"
            local.mkdir()
            programs.append(
                dask("worker", folder / f"worker{number}.log", address, "--nthreads", "1",
                     "--memory-limit", "0", "--local-directory", str(local))
            )  # fmt: skip
        with distributed.Client(address, timeout=LIMIT, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=LIMIT)
        yield address
    finally:
        for program in reversed(programs):
            program.terminate()
        for program in programs:
            program.wait(LIMIT)


def start(folder: Path, *more: str) -> subprocess.Popen:
    """Start the small recipe in a folder of its own."""
    places = [f"data_dir={folder / 'data'}", f"output_dir={folder / 'outputs'}"]
    tracking = [f"tracking.uri=sqlite:///{folder / 'runs.db'}"]
    folder.mkdir(exist_ok=True)
    with open(folder / "log", "w", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *RECIPE, *places, *tracking, *more],
            cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def submission(process: subprocess.Popen, folder: Path) -> bytes:
    assert process.wait(LIMIT) == 0, (folder / "log").read_text(encoding="utf-8")
    (file,) = folder.glob("outputs/*/*/submission_*.csv")
    return file.read_bytes()


def losses(folder: Path) -> list[list[tuple[int, float]]]:
    """Give each fit's recorded losses."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'runs.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'simulated'")
    histories = [
        [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "loss")]
        for run in client.search_runs([experiment.experiment_id])
    ]
    return sorted(sorted(history) for history in histories)


def test_a_worker_that_dies_in_the_middle_changes_nothing(cluster, tmp_path):
    plain = start(tmp_path / "local", "workers=2")
    expected = submission(plain, tmp_path / "local")

    folder = tmp_path / "spread"
    process = start(folder, "parallel=dask", f"parallel.address={cluster}")
    at_it = lambda: list(folder.glob("data/derived/*/train-*/.subj*resume*/*"))  # noqa: E731
    wait_until(at_it, process, (folder / "log").read_text)
    with distributed.Client(cluster, set_as_default=False) as client:
        before = client.run(os.getpid)
        os.kill(max(before.values()), signal.SIGKILL)
        assert submission(process, folder) == expected
        client.wait_for_workers(2, timeout=LIMIT)
        after = client.run(os.getpid)
    assert len(set(before.values()) - set(after.values())) == 1
    assert losses(folder) == losses(tmp_path / "local")
    assert any(losses(folder))


def quick(scratch, report):
    report(0.5, {"show": "half"})
    (scratch / "out.txt").write_text(threading.current_thread().name, encoding="utf-8")


def tasks(folder: Path) -> list[Task]:
    return [Task(Folder(folder, "quick", 1, ()), "one", (), ("out.txt",), quick)]


def test_no_scheduler_is_one_line():
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(PipelineError, match=rf"parallel.address={address}: no scheduler answers"):
        engine("dask", address, 2)


@pytest.mark.parametrize(
    ("workers", "threads", "message"),
    [(0, 1, "the scheduler has no workers"), (1, 2, "has several threads.*--nthreads 1")],
)
def test_workers_that_cannot_do_it_are_told(workers, threads, message, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.work.dask_engine.CONNECT_SECONDS", 3)
    from pipeline.work.runner import run

    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=threads, processes=False, host="127.0.0.1",
        dashboard_address=None, protocol="tcp",
    ) as place:  # fmt: skip
        with pytest.raises(PipelineError, match=message):
            run("quick", tasks(tmp_path), 2, engine=engine("dask", place.scheduler_address, 2))
        assert not list(tmp_path.glob("*/out.txt"))


def test_folders_that_are_not_shared_are_told(cluster, tmp_path, monkeypatch):
    from pipeline.work.runner import run

    monkeypatch.setattr("pipeline.work.dask_engine._sees", _sees_nothing)
    with pytest.raises(PipelineError, match=r"does not see .*data_dir and output_dir must lie"):
        run("quick", tasks(tmp_path), 2, engine=engine("dask", cluster, 2))


def _sees_nothing(path: str) -> bool:
    return False


def test_a_worker_with_other_code_is_told(cluster, tmp_path, monkeypatch):
    from pipeline.work import runner

    monkeypatch.setattr(Task, "key", property(lambda task: "here"))
    with pytest.raises(PipelineError, match="has other code, or other versions of packages"):
        runner.run("quick", tasks(tmp_path), 2, engine=engine("dask", cluster, 2))


def test_what_a_task_reports_arrives(cluster, tmp_path):
    from pipeline.work.runner import run

    heard = []
    run("quick", tasks(tmp_path), 2, lambda name, news: heard.append((name, news)),
        engine=engine("dask", cluster, 2))  # fmt: skip
    assert heard == [("one", {"show": "half"})]


def dies(scratch, report):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_its_workers_ends_in_one_line(cluster, tmp_path):
    from pipeline.work.runner import run

    deadly = [Task(Folder(tmp_path, "deadly", 1, ()), "one", (), ("out.txt",), dies)]
    with pytest.raises(PipelineError, match="a task's workers died again and again"):
        run("deadly", deadly, 2, engine=engine("dask", cluster, 2))
    run("quick", tasks(tmp_path), 2, engine=engine("dask", cluster, 2))  # there are workers again
