"""``make ui`` and ``make serve``: start MLflow's servers, after looking whether they can start.

``python -m pipeline.tracking.server ui PORT`` shows the runs, and
``python -m pipeline.tracking.server serve PORT MODEL`` answers requests with a logged model.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.tracking import store
from pipeline.tracking.settings import set_defaults

HOST = "127.0.0.1"
SHOWN = "workflowType=machine_learning"  # else MLflow's pages begin with those for language models


def check_port(text: str) -> int:
    """Give a free port of the loopback address.

    Parameters
    ----------
    text : str
        As given on the command line.

    Raises
    ------
    PipelineError
        It is no port, or another program listens there.
    """
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise PipelineError(f"PORT={text}: must be a whole number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((HOST, int(text)))
        except OSError as error:
            raise PipelineError(
                f"PORT={text}: cannot be used ({error.strerror}); give another one, e.g. "
                f"PORT={min(int(text) + 1, 65535)}"
            ) from error
    return int(text)


def addresses(uri: str, port: int) -> list[str]:
    """List where each experiment's table of runs is shown, with its AUC columns."""
    import mlflow

    from pipeline.tracking.experiments import VIEW, experiment_tags

    lines = []
    for experiment in mlflow.MlflowClient(uri).search_experiments():
        if experiment_tags().keys() <= experiment.tags.keys():
            where = f"http://{HOST}:{port}/#/experiments/{experiment.experiment_id}/runs"
            lines.append(f"{experiment.name}: {where}?{SHOWN}&viewStateShareKey={VIEW}")
    return lines


def command(arguments: list[str]) -> list[str]:
    """Check what was asked for, and give the command of MLflow's that does it.

    Parameters
    ----------
    arguments : list of str
        ``ui PORT`` or ``serve PORT MODEL``.

    Raises
    ------
    PipelineError
        The port is taken, the store cannot be read, or no model is named.
    """
    what, port = arguments[0], check_port(arguments[1])
    uri = store.default_uri()
    with store.lock(uri):
        store.repair(uri)
    mlflow = str(Path(sys.executable).with_name("mlflow"))
    if what == "serve":
        if len(arguments) < 3 or not arguments[2]:
            raise PipelineError("MODEL=: name a logged model, e.g. MODEL=models:/NAME@champion")
        os.environ["MLFLOW_TRACKING_URI"] = uri
        return [
            mlflow, "models", "serve", "--model-uri", arguments[2], "--env-manager", "local",
            "--host", HOST, "--port", str(port),
        ]  # fmt: skip
    if uri.startswith("http"):
        raise PipelineError(f"MLFLOW_TRACKING_URI={uri}: that server shows its runs itself")
    file = store.sqlite_file(uri)
    if file is None or file.exists():
        print("\n".join(addresses(uri, port)), flush=True)
    return [
        mlflow, "ui", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", uri,
    ]  # fmt: skip


def main() -> None:
    """Run the command line: this process becomes MLflow's."""
    set_defaults()
    try:
        parts = command(sys.argv[1:])
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # `mlflow` starts programs of its own environment by their names.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execv(parts[0], parts)


if __name__ == "__main__":
    main()
