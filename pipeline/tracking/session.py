"""The runs of a command in MLflow, from their beginning to their end.

The store may be full, locked or out of reach. Then the work goes on, a line tells what is wrong,
and the command ends with an error. A file remembers that there is something to record, and the same
command records it later.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from tqdm import tqdm

from pipeline.config.options import Config, plain
from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.tracking import store
from pipeline.tracking.experiments import find_experiment
from pipeline.tracking.open_runs import OpenRuns
from pipeline.tracking.settings import set_defaults

if TYPE_CHECKING:
    from mlflow import MlflowClient

set_defaults()

# MLflow logs here about a new store's tables, a model's registration, and its monitor's requests.
CHATTY = (
    "alembic", "mlflow.store.db.utils", "mlflow.pyfunc", "mlflow.models", "mlflow.tracking",
)  # fmt: skip
# These log each request that fails; `Session` tells the loss itself, once.
SILENT = ("mlflow.system_metrics", "urllib3.connectionpool")
SECONDS = "seconds_"  # before a stage's name

# In the environment of a sweep's jobs, which may run in other processes than the one that began it:
# in which store, under which run theirs go; and a job's number and overrides.
GROUP, JOB = "PIPELINE_GROUP", "PIPELINE_JOB"


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested dicts to dotted keys, with values as text."""
    if not isinstance(tree, dict):
        return {prefix: str(tree)}
    flat: dict[str, str] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def code_version() -> tuple[str, bool] | None:
    """Give the commit of this code and whether files differ from it; None outside of git."""
    command = ["git", "-C", str(PROJECT)]
    try:
        commit = subprocess.run(
            [*command, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        changes = subprocess.run(
            [*command, "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip(), bool(changes.stdout.strip())


def _is_fault(error: Exception) -> bool:
    """Tell whether an error comes from the store, and not from a fault of this program."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError | sqlite3.Error | OSError)


Parameters = ParamSpec("Parameters")
Recorder = TypeVar("Recorder", bound="Session")


def recording(
    method: Callable[Concatenate[Recorder, Parameters], None],
) -> Callable[Concatenate[Recorder, Parameters], None]:
    """Let a method record if the store can: a store that fails is told once and left alone."""

    @functools.wraps(method)
    def wrapped(tracker: Recorder, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        if not tracker.config.tracking.enabled or tracker.lost is not None:
            return
        try:
            tracker._open()
            method(tracker, *args, **kwargs)
        except Exception as error:
            if not _is_fault(error):
                raise
            tracker._lose(error)

    return wrapped


class Session:
    """The runs of a command, opened when there is something to record.

    If a command was cut off, the same command continues its runs: a file keeps which runs are open
    until they end.

    Parameters
    ----------
    config : Config
        The whole configuration; ``tracking.enabled=false`` makes every call do nothing.
    name : str
        Of the parent run.
    memory : Path, optional
        The file; without one every command makes new runs.

    Attributes
    ----------
    lost : str or None
        Why nothing is recorded any more, if the store has failed.
    """

    def __init__(self, config: Config, name: str, memory: Path | None = None) -> None:
        self.config, self.name, self.memory = config, name, memory
        self._model_file = memory.with_name(".mlflow_model.json") if memory else None
        self.parent: str | None = None
        self.lost: str | None = None
        self._children: dict[str, str] = {}
        self._histories: dict[str, Path] = {}
        self._client: MlflowClient | None = None
        self._monitor: Any = None
        self._experiment = ""
        self._seconds: dict[str, float] = {}
        self._told: set[str] = set()

    def wants(self, new: bool) -> bool:
        """Tell whether a result is to be recorded: a new one, or one of a run that is not ended.

        Parameters
        ----------
        new : bool
            Whether this command made it. If not, an earlier command may have made it and been cut
            off before it recorded it.
        """
        left = self.memory is not None and self.memory.exists()
        able = self.config.tracking.enabled and self.lost is None
        return able and (new or self._client is not None or left)

    def is_idle(self) -> bool:
        """Tell whether it could record, and had nothing to."""
        return self.config.tracking.enabled and self.lost is None and self._client is None

    @property
    def uri(self) -> str:
        """Where runs are recorded."""
        return self.config.tracking.uri or store.default_uri()

    def check(self) -> None:
        """Refuse a store that cannot be written, before any work is done.

        Raises
        ------
        PipelineError
            See `pipeline.tracking.store.check`.
        """
        if self.config.tracking.enabled:
            store.check(self.uri)

    @recording
    def begin(self) -> None:
        """Open the runs."""

    def _open(self) -> MlflowClient:
        if self._client is not None:
            return self._client
        import logging

        for chatty in CHATTY:
            logging.getLogger(chatty).setLevel(logging.WARNING)
        for silent in SILENT:
            logging.getLogger(silent).setLevel(logging.CRITICAL)
        import mlflow

        try:
            with store.lock(self.uri):
                store.make(self.uri)
                store.repair(self.uri)
                self._client = mlflow.MlflowClient(self.uri)
                name = self.config.tracking.experiment or self.config.dataset.name
                self._experiment = find_experiment(self._client, self.uri, name)
            if not self._go_on():
                self._begin()
        except BaseException:
            self._client = None  # half open is not open
            raise
        if self.config.tracking.system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(
                self.parent, resume_logging=True, tracking_uri=self.uri
            )
            self._monitor.start()
        self._metrics(self._seconds)
        return self._client

    def _lose(self, error: BaseException) -> None:
        """Tell that the store has failed, and remember that the work is not recorded."""
        self.lost = store.reason(error)
        tqdm.write(
            f"warning: tracking.uri={self.uri}: MLflow does not record ({self.lost}); "
            "the work goes on",
            file=sys.stderr,
        )
        with suppress(PipelineError):  # the disk may be full here too
            self._remember()

    def _failed(self) -> PipelineError:
        return PipelineError(
            f"tracking.uri={self.uri}: MLflow did not record all of this ({self.lost}); the "
            "results are kept: give the same command again when the store can be reached and "
            "written, or go without: tracking.enabled=false"
        )

    def _above(self) -> dict[str, str]:
        """Say, in a job of a sweep, which job this is, and under which run its own goes."""
        group = json.loads(os.environ.get(GROUP, "{}"))
        if group.get("uri") != self.uri:
            return {}
        return {"mlflow.parentRunId": group["run"], **json.loads(os.environ.get(JOB, "{}"))}

    def _begin(self) -> None:
        """Make the parent run, with all that is known of it beforehand."""
        assert self._client is not None
        tags = {"resumable": "true", **self._above()}
        if version := code_version():
            tags |= {"mlflow.source.git.commit": version[0], "git_dirty": str(version[1]).lower()}
        self.parent = self._start(self.name, tags)
        self._params(self.parent, flatten(plain(self.config)))
        self._client.log_dict(self.parent, plain(self.config), "config.yaml")

    def _go_on(self) -> bool:
        """Open the runs again that an earlier command of the same name left unfinished."""
        assert self._client is not None
        stored = OpenRuns.load(self.memory)
        if stored is None or stored.uri != self.uri:
            return False
        if stored.in_use():
            self.memory = None  # not cut off: another command continues them
            return False
        self._seconds = {**stored.seconds, **self._seconds}
        if stored.parent is None:
            return False
        from mlflow.exceptions import MlflowException

        try:
            for run in [*stored.children.values(), stored.parent]:
                self._client.update_run(run, status="RUNNING")
                if "failure" in self._client.get_run(run).data.tags:
                    self._client.delete_tag(run, "failure")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False  # deleted meanwhile
        self.parent, self._children = stored.parent, stored.children
        before = self._client.get_run(self.parent).data.metrics
        for key in [key for key in before if key.startswith(SECONDS)]:
            self._seconds[key] = self._seconds.get(key, 0.0) + before[key]
        for key, value in {"resumed": "true", **self._above()}.items():
            self._client.set_tag(self.parent, key, value)
        self._remember()
        return True

    def _start(self, name: str, tags: dict[str, str]) -> str:
        assert self._client is not None
        simulated = str(self.config.dataset.source == "simulated").lower()
        common = {
            "mlflow.runName": name, "recipe": self.config.recipe, "simulated": simulated,
            "mlflow.source.name": "python -m pipeline", "mlflow.source.type": "LOCAL",
        }  # fmt: skip
        made = self._client.create_run(self._experiment, run_name=name, tags={**common, **tags})
        run = made.info.run_id
        if self.parent is None:
            self.parent = run
        else:
            self._children[tags["job"]] = run
        self._remember()
        return run

    def _remember(self) -> None:
        """Keep which runs are open, and whose they are."""
        if self.memory is not None:
            lost = self._seconds if self.lost else {}
            seconds = {key: value for key, value in lost.items() if key not in self._told}
            OpenRuns(self.uri, self.parent, self._children, seconds).save(self.memory)

    def _params(self, run: str, flat: dict[str, str]) -> None:
        assert self._client is not None
        from mlflow.entities import Param

        params = [Param(key, value[:6000]) for key, value in sorted(flat.items())]
        for begin in range(0, len(params), 100):  # MLflow takes no more in one call
            self._client.log_batch(run, params=params[begin : begin + 100])

    def _metrics(self, values: dict[str, float]) -> None:
        assert self._client is not None
        for key, value in values.items():
            self._client.log_metric(self.parent or "", key, value)
        self._told |= set(values)

    @recording
    def _end(self) -> None:
        assert self._client is not None
        for run in [*self._children.values(), self.parent]:
            self._client.set_terminated(run or "", "FINISHED")
        self._client.set_tag(self.parent or "", "resumable", "false")

    def close(self, error: BaseException | None = None) -> None:
        """End the runs; with an error, as failed, or killed where the user stopped it.

        Raises
        ------
        PipelineError
            If there is no other error, and the store has failed before or does so now.
        """
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        if error is not None:
            self._fail(error)
            return
        if self._client is not None:
            self._end()
        if self.lost is not None:
            with suppress(PipelineError):
                self._remember()  # with the stages' seconds
            raise self._failed()
        if self._client is not None and self.memory is not None:
            self.memory.unlink(missing_ok=True)

    def _fail(self, error: BaseException) -> None:
        if self._client is None or self.lost is not None:
            return
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        try:
            for run in [*self._children.values(), self.parent]:
                self._client.set_tag(run or "", "failure", reason)
                self._client.set_terminated(run or "", "KILLED" if stopped else "FAILED")
        except Exception as also:
            if not _is_fault(also):  # a store's must not hide the error that ends the run
                raise
