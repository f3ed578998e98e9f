"""The experiment of a data set's runs, and how MLflow's pages show it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# The address that `make ui` prints opens the table of runs with this view: AUCs, the best first.
VIEW = "auc"
COLUMNS = ("auc_mean", "auc_pooled_low", "auc_pooled_high")


def experiment_tags() -> dict[str, str]:
    """Give the tags with which MLflow's pages show an experiment as one of model training."""
    columns = [f"metrics.`{name}`" for name in COLUMNS]
    view = {
        "orderByKey": columns[0], "orderByAsc": False,
        "selectedColumns": [*columns, "params.`seed`", "attributes.`Models`"],
    }  # fmt: skip
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def find_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Find an experiment, or make it.

    Parameters
    ----------
    client : MlflowClient
        Of the store.
    uri : str
        The store's.
    name : str
        The experiment's.

    Returns
    -------
    str
        Its id.
    """
    from mlflow.exceptions import MlflowException

    file, where = store.sqlite_file(uri), None  # a server says where itself
    if file is not None:  # beside the file, wherever the command was given
        where = store.artifact_folder(file).as_uri()
    if (known := client.get_experiment_by_name(name)) is None:
        try:
            tags = experiment_tags()
            return client.create_experiment(name, artifact_location=where, tags=tags)
        except MlflowException:  # another command was faster?
            if (known := client.get_experiment_by_name(name)) is None:
                raise
    for key, value in experiment_tags().items():
        if known.tags.get(key) != value:
            client.set_experiment_tag(known.experiment_id, key, value)
    return known.experiment_id


def below(client: MlflowClient, run: str) -> list[Run]:
    """List the runs right below a run, of whatever experiment."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(
        client.search_runs(
            experiments, f"tags.`mlflow.parentRunId` = '{run}'", max_results=10_000,
            order_by=["attributes.start_time ASC"],
        )
    )  # fmt: skip
