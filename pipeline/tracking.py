"""The only module that knows MLflow: one parent run a command, a child a training."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import PROJECT, Config, plain
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow sends usage statistics unless told otherwise; whoever wants that can set it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def flatten(tree: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested dicts to dotted keys, with values as text."""
    if not isinstance(tree, dict):
        return {prefix: str(tree)}
    flat: dict[str, str] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


class Tracker:
    """Records a command's work; opens its parent run when there is something to record.

    Parameters
    ----------
    config : Config
        The whole configuration; ``tracking.enabled=false`` makes every call do nothing.
    name : str
        Of the parent run.
    """

    def __init__(self, config: Config, name: str) -> None:
        self.config, self.name = config, name
        self.parent: str | None = None
        self._children: dict[str, str] = {}
        self._client: MlflowClient | None = None
        self._experiment = ""

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

            for chatty in (
                "alembic",
                "mlflow.store.db.utils",
            ):  # the tables they make for a new store
                logging.getLogger(chatty).setLevel(logging.WARNING)
            import mlflow
            from mlflow.exceptions import MlflowException

            try:
                self._client = mlflow.MlflowClient(self.uri)
                experiment = self.config.tracking.experiment or self.config.dataset.name
                known = self._client.get_experiment_by_name(experiment)
                local = self.uri == f"sqlite:///{PROJECT / 'mlflow.db'}"
                where = (PROJECT / "mlruns").as_uri() if local else None
                self._experiment = (
                    known.experiment_id
                    if known
                    else self._client.create_experiment(experiment, artifact_location=where)
                )
                self.parent = self._start(self.name, {})
            except (MlflowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise PipelineError(
                    f"tracking.uri={self.uri}: MLflow cannot record there ({reason}); "
                    "correct it, or go without: tracking.enabled=false"
                ) from error
            flat = flatten(plain(self.config))
            self._params(self.parent, flat)
            self._client.log_dict(self.parent, plain(self.config), "config.yaml")
        return self._client

    def _start(self, name: str, tags: dict[str, str]) -> str:
        assert self._client is not None
        simulated = str(self.config.dataset.source.name == "simulated").lower()
        common = {"mlflow.runName": name, "recipe": self.config.recipe, "simulated": simulated}
        run = self._client.create_run(self._experiment, run_name=name, tags={**common, **tags})
        return run.info.run_id

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
            self._children[task] = self._start(f"{self.name} {task}", tags)
        now = int(time.time() * 1000)
        metrics = [Metric(k, v, now, news["step"]) for k, v in news["metrics"].items()]
        client.log_batch(self._children[task], metrics=metrics)

    def metrics(self, values: dict[str, float]) -> None:
        """Record figures of the whole command."""
        client = self._open()
        if client is not None and self.parent is not None:
            for key, value in values.items():
                client.log_metric(self.parent, key, value)

    def files(self, paths: list[Path]) -> None:
        """Keep files with the parent run."""
        client = self._open()
        if client is not None and self.parent is not None:
            for path in paths:
                client.log_artifact(self.parent, str(path))

    def close(self, reason: str | None = None) -> None:
        """End the runs; with a reason, as failed."""
        if self._client is None or self.parent is None:
            return
        status = "FAILED" if reason else "FINISHED"
        for run in [*self._children.values(), self.parent]:
            if reason:
                self._client.set_tag(run, "failure", reason)
            self._client.set_terminated(run, status)
