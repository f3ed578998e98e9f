"""Against real services: MLflow's server, with its runs in PostgreSQL and its files on disk.

`make test-services` runs this; `make test` does not. All is started here, on loopback, and stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from pipeline.bench.chaos_runs import free_port
from pipeline.config.paths import PROJECT
from pipeline.tracking.experiments import below
from tests.conftest import LIMIT, SMALL, answers, wait_until

ON_PATH = shutil.which("initdb")  # Debian has it elsewhere
FOUND = [Path(ON_PATH).parent] if ON_PATH else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SEEDS = range(8)

pytestmark = pytest.mark.skipif(
    not FOUND, reason="PostgreSQL is not installed (Debian: apt-get install postgresql)"
)


def as_postgres(*command: str | Path) -> list[str]:
    """Give the command as the user postgres runs it: the server refuses to be root's."""
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    return [*user, str(FOUND[-1] / command[0]), *map(str, command[1:])]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Start PostgreSQL on an empty folder; give its address."""
    folder = Path(tempfile.mkdtemp(prefix="gal-pg-", dir="/tmp"))  # a short path, for its socket
    port = free_port()
    try:
        (folder / "password").write_text("test\n", encoding="utf-8")
        if os.getuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        subprocess.run(
            as_postgres(
                "initdb", "-D", folder / "data", "-U", "postgres", "-A", "scram-sha-256",
                f"--pwfile={folder / 'password'}", "--no-sync",
            ),
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        started = subprocess.run(
            as_postgres("pg_ctl", "-D", folder / "data", "-w", "-t", "60", "-l", folder / "log",
                        "-o", options, "start"),
            check=False, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert started.returncode == 0, (folder / "log").read_text(encoding="utf-8")
        yield f"postgresql+psycopg2://postgres:test@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            as_postgres("pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop"),
            check=False, cwd="/", capture_output=True,
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(database, tmp_path_factory) -> Iterator[str]:
    """Start MLflow's server on the database, with a folder for the files; give its address."""
    folder = tmp_path_factory.mktemp("server")
    uri = f"http://127.0.0.1:{(port := free_port())}"
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database,
                "--serve-artifacts", "--artifacts-destination", str(folder / "files"),
                "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
            ],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true",
                 "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        said = folder / "log"
        wait_until(lambda: answers(f"{uri}/health"), process, lambda: said.read_text("utf-8"))
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def swept(server, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """Sweep eight jobs, four at once, with the command line."""
    folder = tmp_path_factory.mktemp("sweep")
    small = [each for each in SMALL if "tracking" not in each]
    done = subprocess.run(
        [
            sys.executable, "-m", "pipeline", "-m", "dataset=simulated", *small,
            f"seed=range({len(SEEDS)})", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4",
            f"data_dir={folder / 'data'}", f"output_dir={folder / 'outputs'}",
        ],
        cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "MLFLOW_TRACKING_URI": server},
    )  # fmt: skip
    return folder, done


@pytest.fixture(scope="module")
def runs(server, swept) -> tuple[mlflow.MlflowClient, list, list]:
    """Give the client, the runs above all, and the jobs' runs."""
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("simulated")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    top = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return client, top, below(client, top[0].info.run_id)


def test_eight_parallel_jobs_are_eight_finished_runs_below_one(swept, runs):
    _, done = swept
    assert done.returncode == 0, done.stderr
    client, top, jobs = runs
    assert [run.info.status for run in top] == ["FINISHED"]
    assert sorted(int(run.data.tags["number"]) for run in jobs) == list(SEEDS)
    assert {run.info.status for run in jobs} == {"FINISHED"}
    assert {int(run.data.params["seed"]) for run in jobs} == set(SEEDS)
    for job in jobs:
        trainings = below(client, job.info.run_id)
        assert {run.info.status for run in trainings} == {"FINISHED"}
        assert {run.data.tags["job"] for run in trainings} == {
            f"subj{subject}_{kind}" for subject in (1, 2) for kind in ("validate", "final")
        }
        assert "auc_mean" in job.data.metrics
    table = top[0].data.tags["mlflow.note.content"].splitlines()
    assert len(table) == 2 + len(SEEDS)


def test_every_file_comes_back_as_it_was(swept, runs, tmp_path):
    folder, _ = swept
    client, _, jobs = runs
    for job in jobs:
        assert job.info.artifact_uri.startswith("mlflow-artifacts:/")
        [local] = (folder / "outputs" / "simulated").glob(
            f"lstm-{job.info.run_name.rsplit('-', 1)[1]}*"
        )
        got = Path(client.download_artifacts(job.info.run_id, "", str(tmp_path)))
        made = {path.name for path in local.iterdir() if not path.name.endswith(".json")}
        came = [path for path in got.rglob("*") if path.is_file()]
        assert made <= {path.name for path in came}
        for path in came:
            twin = local / path.relative_to(got)
            if twin.name in made - {"config.yaml"}:  # that one MLflow writes itself
                assert path.read_bytes() == twin.read_bytes(), path.name
        shutil.rmtree(got)


def test_nothing_is_kept_where_the_command_ran(swept):
    folder, _ = swept
    assert sorted(path.name for path in folder.iterdir()) == ["data", "outputs"]
