"""Records commands in MLflow: one parent run per command, one child run per training.

A job of a sweep and a trial of a study are commands too. Their runs lie below one common run.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pipeline.tracking.experiments import below
from pipeline.tracking.models import FittedModel, log_model
from pipeline.tracking.session import SECONDS, Session, flatten, recording
from pipeline.tracking.store import sqlite_file
from pipeline.work.files import write_text, write_whole

__all__ = ["Tracker", "flatten"]


class Tracker(Session):
    """Records a command's work; opens its parent run when there is something to record."""

    @recording
    def _epoch(self, task: str, step: int, values: dict[str, float]) -> None:
        """Record an epoch's metrics in its training's run."""
        assert self._client is not None
        from mlflow.entities import Metric

        if task not in self._children:
            tags = {"mlflow.parentRunId": self.parent or "", "job": task}
            self._start(f"{task} {self.name}", tags)
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items()]
        self._client.log_batch(self._children[task], metrics=metrics)

    def listen(self, task: str, news: dict[str, Any]) -> None:
        """Record what a training reports: an epoch's metrics, in its own child run."""
        if "metrics" in news:
            self._epoch(task, news["step"], news["metrics"])

    def trained(self, histories: dict[str, Path], new: bool) -> None:
        """Note the trainings' tables of epochs; `close` records those that were not reported.

        The process that listened may have been killed while others trained, or the store may have
        been out of reach.

        Parameters
        ----------
        histories : dict of str to Path
            Each training's CSV file.
        new : bool
            Whether this command trained any of them.
        """
        self._histories |= histories
        if self.wants(new):
            self._complete()

    @recording
    def _complete(self) -> None:
        """Record the epochs that a training's table has and its run lacks."""
        import pandas as pd

        assert self._client is not None
        histories, self._histories = self._histories, {}
        for task, path in histories.items():
            known: set[float] = set()
            if task in self._children:
                history = self._client.get_metric_history(self._children[task], "epoch")
                known = {round(each.value, 6) for each in history}
            for row, line in pd.read_csv(path).iterrows():
                numbers = line.drop(["step", "best", "notes"], errors="ignore").dropna()
                values = numbers.astype(float)
                if "epoch" in values and round(values["epoch"], 6) not in known:
                    self._epoch(task, int(row) + 1, values.to_dict())

    def took(self, stage: str, seconds: float) -> None:
        """Note what a stage took; it is recorded when there is a run to record it in."""
        key = f"{SECONDS}{stage}"
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        if self._client is not None:
            self.metrics({key: self._seconds[key]})

    @recording
    def metrics(self, values: dict[str, float]) -> None:
        """Record figures of the whole command."""
        self._metrics(values)

    def join(self, scores: dict[str, float]) -> None:
        """Give a job of a sweep a run also where all of it was fresh, and these figures with it."""
        if not self._above() or set(scores) & self._told:
            return
        if self.is_idle():
            import mlflow

            # The same sweep, cut off after this job: it has its run there.
            above = self._above()
            client = mlflow.MlflowClient(self.uri)
            if any(
                run.info.status == "FINISHED" and run.data.tags.get("number") == above["number"]
                for run in below(client, above["mlflow.parentRunId"])
            ):
                return
        self.metrics(scores)

    @recording
    def describe(self, markdown: str) -> None:
        """Say in the parent run's description what came out."""
        assert self._client is not None
        self._client.set_tag(self.parent or "", "mlflow.note.content", markdown)

    @recording
    def data(self, digest: str, source: str, rows: int, series: int) -> None:
        """Say on which recordings the run learned."""
        assert self._client is not None
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        profile = json.dumps({"num_rows": rows, "num_series": series})
        name = self.config.dataset.name
        used = Dataset(name, digest, "local", json.dumps({"uri": source}), None, profile)
        context = InputTag("mlflow.data.context", "training and validation")
        inputs = [DatasetInput(used, [context])]
        try:
            self._client.log_inputs(self.parent or "", inputs)
        except MlflowException:  # another job has made the same entry meanwhile: now it is found
            self._client.log_inputs(self.parent or "", inputs)

    @recording
    def files(self, paths: list[Path]) -> None:
        """Keep files with the parent run."""
        assert self._client is not None
        for path in paths:
            self._client.log_artifact(self.parent or "", str(path))

    @recording
    def model(self, fitted: FittedModel) -> None:
        """Keep the fitted recipe as a model that MLflow can load and serve, once per run."""
        assert self._client is not None
        assert self.parent is not None
        tags = self._client.get_run(self.parent).data.tags
        if "model" in tags:  # by the command that was cut off
            self._keep_address(tags["model"])
            return
        address = log_model(self._client, self.uri, self.parent, self.name, self.config, fitted)
        described = self._client.get_run(self.parent).data.tags.get("mlflow.note.content", "")
        call = f'load_model("{address}").predict(samples, params={{"subject": {fitted.subject}}})'
        self._client.set_tag(self.parent, "model", address)
        self._client.set_tag(
            self.parent, "mlflow.note.content",
            f"{described}\n\nThe model, for a subject's series: `mlflow.pyfunc.{call}`",
        )  # fmt: skip
        self._keep_address(address)

    def _keep_address(self, address: str) -> None:
        if self._model_file is not None:
            kept = json.dumps({"uri": self.uri, "address": address})
            write_whole(self._model_file, lambda hidden: write_text(hidden, kept))

    def logged_model(self) -> str | None:
        """Give the address of the fitted recipe's model in MLflow.

        It is read from a file, so a command that has nothing to record need not load MLflow.

        Returns
        -------
        str or None
            None if no model was logged, or if it was logged in another store than this one.
        """
        if self._model_file is None or not self.config.tracking.enabled:
            return None
        store = sqlite_file(self.uri)
        if store is not None and not store.exists():
            return None  # somebody deleted it, and the model with it
        try:
            kept = json.loads(self._model_file.read_text(encoding="utf-8"))
            return str(kept["address"]) if kept["uri"] == self.uri else None
        except (OSError, ValueError, TypeError, KeyError):
            return None
