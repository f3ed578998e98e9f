"""The only module that knows MLflow: one parent run a command, a child a training.

A sweep's jobs and a study's trials are commands, too: their runs lie below one run for all.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pipeline.config.options import Config, plain
from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.work.files import alone, write_text, write_whole

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow sends usage statistics unless told otherwise; whoever wants that can set it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # the stages have their own


PACKAGE = Path(__file__).parent.parent
# What MLflow says of the tables of a new store, of its monitor, of a model's registration.
CHATTY = (
    "alembic", "mlflow.store.db.utils", "mlflow.system_metrics", "mlflow.pyfunc", "mlflow.models",
    "mlflow.tracking",
)  # fmt: skip
SECONDS = "seconds_"  # before a stage's name


def requirements() -> list[str]:
    """Give the packages that this one needs, with their pinned versions."""
    wanted = metadata.requires("grasp-and-lift") or []
    return [line for line in wanted if "extra ==" not in line]


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


def below(client: MlflowClient, run: str) -> list[Run]:
    """List the runs right below a run, of whatever experiment."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(
        client.search_runs(
            experiments, f"tags.`mlflow.parentRunId` = '{run}'", max_results=10_000,
            order_by=["attributes.start_time ASC"],
        )
    )  # fmt: skip


def _process(pid: int | None = None) -> list[float] | None:
    """Identify a process, also against a later one of the same number; None if there is none."""
    try:
        process = psutil.Process(pid)
        return [process.pid, process.create_time()]
    except psutil.Error:
        return None


class Tracker:
    """Records a command's work; opens its parent run when there is something to record.

    A run that was cut off is gone on with: which runs are open is kept in a file until they end.

    Parameters
    ----------
    config : Config
        The whole configuration; ``tracking.enabled=false`` makes every call do nothing.
    name : str
        Of the parent run.
    memory : Path, optional
        The file; without one every command makes new runs.
    """

    def __init__(self, config: Config, name: str, memory: Path | None = None) -> None:
        self.config, self.name, self.memory = config, name, memory
        self.parent: str | None = None
        self._children: dict[str, str] = {}
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
            Whether this command made it; else it may be of one that was cut off before it told.
        """
        left = self.memory is not None and self.memory.exists()
        return self.config.tracking.enabled and (new or self._client is not None or left)

    @property
    def uri(self) -> str:
        """Where runs are recorded."""
        return (
            self.config.tracking.uri
            or os.environ.get("MLFLOW_TRACKING_URI")
            or f"sqlite:///{PROJECT / 'mlflow.db'}"
        )

    def _open(self) -> MlflowClient | None:
        if not self.config.tracking.enabled:
            return None
        if self._client is None:
            import logging

            for chatty in CHATTY:
                logging.getLogger(chatty).setLevel(logging.WARNING)
            import mlflow
            from mlflow.exceptions import MlflowException

            try:
                with self._first():
                    self._client = mlflow.MlflowClient(self.uri)
                    self._experiment = self._named(
                        self.config.tracking.experiment or self.config.dataset.name
                    )
                if not self._go_on():
                    self._begin()
            except (MlflowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise PipelineError(
                    f"tracking.uri={self.uri}: MLflow cannot record there ({reason}); "
                    "correct it, or go without: tracking.enabled=false"
                ) from error
            if self.config.tracking.system_metrics:
                from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

                self._monitor = SystemMetricsMonitor(
                    self.parent, resume_logging=True, tracking_uri=self.uri
                )
                self._monitor.start()
            self.metrics(self._seconds)
        return self._client

    def _first(self) -> Any:
        """Let one process at a time open a file of runs: the first one makes its tables.

        MLflow itself lets two processes make the tables at once, and one of them fails.
        """
        if not self.uri.startswith("sqlite:///"):
            return nullcontext()
        file = Path(self.uri.removeprefix("sqlite:///").split("?")[0])
        return alone(file.with_name(f".{file.name}.lock"))

    def _named(self, experiment: str) -> str:
        """Find an experiment, or make it."""
        assert self._client is not None
        from mlflow.exceptions import MlflowException

        file, where = self.uri.removeprefix("sqlite:///"), None  # a server says where itself
        if file != self.uri:  # beside the file, and not wherever the command was given
            where = Path(file).resolve().with_name("mlruns").as_uri()
        if (known := self._client.get_experiment_by_name(experiment)) is None:
            try:
                return self._client.create_experiment(experiment, artifact_location=where)
            except MlflowException:  # somebody else was faster?
                if (known := self._client.get_experiment_by_name(experiment)) is None:
                    raise
        return known.experiment_id

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
        if self.memory is None or not self.memory.exists():
            return False
        from mlflow.exceptions import MlflowException

        try:
            stored = json.loads(self.memory.read_text(encoding="utf-8"))
            if stored["uri"] != self.uri:
                return False
            owner = stored["process"]
            if owner != _process() and owner == _process(owner[0]):
                self.memory = None  # not cut off: another command is at it, and these are its runs
                return False
            for run in [*stored["children"].values(), stored["parent"]]:
                self._client.update_run(run, status="RUNNING")
                if "failure" in self._client.get_run(run).data.tags:
                    self._client.delete_tag(run, "failure")
        except (MlflowException, ValueError, KeyError):
            return False  # deleted meanwhile
        self.parent, self._children = stored["parent"], stored["children"]
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
            runs = {"parent": self.parent, "children": self._children}
            text = json.dumps({"uri": self.uri, "process": _process(), **runs})
            write_whole(self.memory, lambda path: write_text(path, text))

    def _params(self, run: str, flat: dict[str, str]) -> None:
        assert self._client is not None
        from mlflow.entities import Param

        params = [Param(key, value[:6000]) for key, value in sorted(flat.items())]
        for begin in range(0, len(params), 100):  # MLflow takes no more in one call
            self._client.log_batch(run, params=params[begin : begin + 100])

    def listen(self, task: str, news: dict[str, Any]) -> None:
        """Record what a training reports: an epoch's metrics, into its own child run."""
        client = self._open()
        if client is None or "metrics" not in news:
            return
        from mlflow.entities import Metric

        if task not in self._children:
            tags = {"mlflow.parentRunId": self.parent or "", "job": task}
            self._start(f"{task} {self.name}", tags)
        now = int(time.time() * 1000)
        metrics = [Metric(k, v, now, news["step"]) for k, v in news["metrics"].items()]
        client.log_batch(self._children[task], metrics=metrics)

    def took(self, stage: str, seconds: float) -> None:
        """Note what a stage took; it is recorded when there is a run to record it in."""
        key = f"{SECONDS}{stage}"
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        if self._client is not None:
            self.metrics({key: self._seconds[key]})

    def metrics(self, values: dict[str, float]) -> None:
        """Record figures of the whole command."""
        client = self._open()
        if client is not None and self.parent is not None:
            for key, value in values.items():
                client.log_metric(self.parent, key, value)
            self._told |= set(values)

    def join(self, scores: dict[str, float]) -> None:
        """Give a job of a sweep a run also where all of it was fresh, and these figures with it."""
        above = self._above()
        if not (above and self.config.tracking.enabled) or set(scores) & self._told:
            return
        if self._client is None:
            import mlflow

            # The same sweep, cut off after this job: it has its run there.
            client = mlflow.MlflowClient(self.uri)
            if any(
                run.info.status == "FINISHED" and run.data.tags.get("number") == above["number"]
                for run in below(client, above["mlflow.parentRunId"])
            ):
                return
        self.metrics(scores)

    def describe(self, markdown: str) -> None:
        """Say in the parent run's description what came out."""
        client = self._open()
        if client is not None and self.parent is not None:
            client.set_tag(self.parent, "mlflow.note.content", markdown)

    def data(self, digest: str, source: str, rows: int, series: int) -> None:
        """Say on which recordings the run learned."""
        client = self._open()
        if client is None or self.parent is None:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = json.dumps({"num_rows": rows, "num_series": series})
        name = self.config.dataset.name
        used = Dataset(name, digest, "local", json.dumps({"uri": source}), None, profile)
        context = InputTag("mlflow.data.context", "training and validation")
        client.log_inputs(self.parent, [DatasetInput(used, [context])])

    def files(self, paths: list[Path]) -> None:
        """Keep files with the parent run."""
        client = self._open()
        if client is not None and self.parent is not None:
            for path in paths:
                client.log_artifact(self.parent, str(path))

    def model(
        self, recipe: Path, example: pd.DataFrame, events: tuple[str, ...], subject: int
    ) -> None:
        """Keep the fitted recipe as a model that MLflow can load and serve, once a run.

        Parameters
        ----------
        recipe : Path
            The folder that `pipeline.serving.fitted_recipe.export` wrote.
        example : DataFrame, shape (n, C)
            Raw samples, with the channels' names.
        events : tuple of str
            The columns of what is predicted.
        subject : int
            Whose samples they are.
        """
        client = self._open()
        if client is None or self.parent is None:
            return
        if "model" in client.get_run(self.parent).data.tags:
            return  # by the command that was cut off
        import mlflow
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

        whole = example.dtypes.map(lambda kind: kind.kind in "iu").all()
        sample = DataType.long if whole else DataType.double
        signature = ModelSignature(
            Schema([ColSpec(sample, channel) for channel in example.columns]),
            Schema([ColSpec(DataType.float, event) for event in events]),
            ParamSchema([ParamSpec("subject", DataType.long, subject)]),
        )
        if whole:
            example = example.astype("int64")
        mlflow.set_tracking_uri(self.uri)
        info = Model.log(
            artifact_path=None, name="model", flavor=mlflow.pyfunc, run_id=self.parent,
            registered_model_name=self.config.tracking.register,
            python_model=str(PACKAGE / "serving" / "mlflow_model.py"),
            artifacts={"recipe": str(recipe)},
            code_paths=[str(PACKAGE)], signature=signature,
            input_example=(example, {"subject": subject}), pip_requirements=requirements(),
        )  # fmt: skip
        client.set_tag(self.parent, "model", info.model_uri)
        described = client.get_run(self.parent).data.tags.get("mlflow.note.content", "")
        call = f'load_model("{info.model_uri}").predict(samples, params={{"subject": {subject}}})'
        self.describe(f"{described}\n\nThe model, for a subject's series: `mlflow.pyfunc.{call}`")
        if self.config.tracking.register and info.registered_model_version is not None:
            self._champion(self.config.tracking.register, str(info.registered_model_version))

    def _champion(self, name: str, version: str) -> None:
        """Let the alias ``champion`` name the version, unless the one it names scored higher."""
        assert self._client is not None
        assert self.parent is not None
        from mlflow.exceptions import MlflowException

        mine = self._client.get_run(self.parent).data.metrics.get("auc_mean", 0.0)
        try:
            best = self._client.get_model_version_by_alias(name, "champion")
            before = self._client.get_run(best.run_id or "").data.metrics.get("auc_mean", 0.0)
        except MlflowException:  # none yet, or its run is gone
            before = 0.0
        if mine >= before:
            self._client.set_registered_model_alias(name, "champion", version)

    def explain(self, error: BaseException) -> BaseException:
        """Give MLflow's own error as one that says what to do, and any other as it is."""
        if self._client is None:
            return error
        from mlflow.exceptions import MlflowException

        if not isinstance(error, MlflowException):
            return error
        reason = str(error).splitlines()[0]
        return PipelineError(
            f"tracking.uri={self.uri}: MLflow has stopped recording there ({reason}); what was "
            "made is kept: give the same command again, or go without: tracking.enabled=false"
        )

    def close(self, error: BaseException | None = None) -> None:
        """End the runs; with an error, as failed, or killed where the user stopped it."""
        if self._client is None or self.parent is None:
            return
        from mlflow.exceptions import MlflowException

        if self._monitor is not None:
            self._monitor.finish()
        runs = [*self._children.values(), self.parent]
        if error is not None:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            for run in runs:
                with suppress(MlflowException):  # it must not hide the error that ends the run
                    self._client.set_tag(run, "failure", reason)
                    self._client.set_terminated(run, "KILLED" if stopped else "FAILED")
            return
        for run in runs:
            self._client.set_terminated(run, "FINISHED")
        self._client.set_tag(self.parent, "resumable", "false")
        if self.memory is not None:
            self.memory.unlink(missing_ok=True)
