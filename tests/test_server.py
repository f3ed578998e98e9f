"""`make ui` and `make serve`: what is wrong is told in one line, before a server starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import mlflow
import pytest

from pipeline.bench.chaos_runs import free_port
from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.tracking import server
from pipeline.tracking.experiments import find_experiment

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("target", ["ui", "serve"])
def test_a_port_that_is_taken_is_told_in_one_line(target):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            ["make", "-s", "-o", f"{sys.prefix}/.installed",  # which is never to install here
             target, f"PORT={port}", "MODEL=models:/x/1", f"VENV={sys.prefix}"],
            cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert told == [
        f"error: PORT={port}: cannot be used (Address already in use); "
        f"give another one, e.g. PORT={min(port + 1, 65535)}"
    ]


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(PipelineError, match=f"PORT={port}: must be a whole number"):
        server.check_port(port)


def test_serve_wants_a_model():
    with pytest.raises(PipelineError, match="MODEL=: name a logged model"):
        server.command(["serve", str(free_port()), ""])


def test_ui_tells_where_the_runs_are_with_their_auc(uri, monkeypatch, capsys):
    client = mlflow.MlflowClient(uri)
    experiment = find_experiment(client, uri, "a data set")
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    port = free_port()
    assert server.command(["ui", str(port)])[1] == "ui"
    where = f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs"
    assert capsys.readouterr().out.splitlines() == [
        f"a data set: {where}?workflowType=machine_learning&viewStateShareKey=auc"
    ]
