"""A fitted recipe as a model in MLflow: logged with its run, with a model card, and registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.config.options import Config
from pipeline.data.names import Id
from pipeline.tracking.card import model_card
from pipeline.tracking.settings import set_defaults

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

set_defaults()

PACKAGE = Path(__file__).parent.parent
CARD = "model_card.md"


def requirements() -> list[str]:
    """Give the packages that this one needs, with their pinned versions."""
    wanted = metadata.requires("grasp-and-lift") or []
    return [line for line in wanted if "extra ==" not in line]


@dataclass(frozen=True)
class FittedModel:
    """What is logged.

    Parameters
    ----------
    recipe : Path
        The folder that `pipeline.serving.fitted_recipe.export` wrote.
    example : DataFrame, shape (n, C)
        Raw samples, with the channels' names.
    events : tuple of str
        The columns of what is predicted.
    subject : int or Name
        Whose samples they are.
    auc : DataFrame or None
        The recipe's AUCs, for the model card; None where nothing was held out.
    """

    recipe: Path
    example: pd.DataFrame
    events: tuple[str, ...]
    subject: Id
    auc: pd.DataFrame | None


def log_model(
    client: MlflowClient, uri: str, run: str, name: str, config: Config, fitted: FittedModel
) -> str:
    """Log a model into its run's experiment, and register it if the configuration says so.

    Parameters
    ----------
    client : MlflowClient
        Of the store.
    uri : str
        The store's.
    run, name : str
        The run's id and name.
    config : Config
        Of the command.
    fitted : FittedModel
        What to log.

    Returns
    -------
    str
        Where MLflow finds it.
    """
    import mlflow
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    # Any type, because MLflow refuses whole numbers where a signature says `double`. The model
    # itself checks that each sample is a finite number.
    kind = DataType.long if isinstance(fitted.subject, int) else DataType.string
    signature = ModelSignature(
        Schema([ColSpec(AnyType(), channel) for channel in fitted.example.columns]),
        Schema([ColSpec(DataType.float, event) for event in fitted.events]),
        ParamSchema([ParamSpec("subject", kind, fitted.subject)]),
    )
    mlflow.set_tracking_uri(uri)  # `Model.log` knows no client
    experiment = client.get_run(run).info.experiment_id
    logged = _begun(client, experiment, run) or client.create_logged_model(
        experiment, name="model", source_run_id=run, params=client.get_run(run).data.params
    )
    address = f"models:/{logged.model_id}"
    card = model_card(config, name, fitted.auc, address, fitted.subject)
    if logged.status != LoggedModelStatus.READY:
        with TemporaryDirectory() as scratch:
            (Path(scratch) / CARD).write_text(card, encoding="utf-8")
            # Before the rest: MLflow takes no more files once a model is finished.
            client.log_model_artifact(logged.model_id, str(Path(scratch) / CARD))
        client.set_logged_model_tags(logged.model_id, {"mlflow.note.content": card})
        with _linked_once(client, run, logged.model_id):
            Model.log(
                artifact_path=None, name="model", flavor=mlflow.pyfunc, run_id=run,
                model_id=logged.model_id,
                python_model=str(PACKAGE / "serving" / "mlflow_model.py"),
                artifacts={"recipe": str(fitted.recipe)}, code_paths=[str(PACKAGE)],
                signature=signature, pip_requirements=requirements(),
                input_example=(fitted.example.astype("float64"), {"subject": fitted.subject}),
            )  # fmt: skip
    if config.tracking.register:
        version = _registered(client, config.tracking.register, address)
        client.update_model_version(config.tracking.register, version, description=card)
        choose_champion(client, config.tracking.register, version, run)
    return address


def _begun(client: MlflowClient, experiment: str, run: str) -> LoggedModel | None:
    """Give the model of a run that a command was killed in the middle of logging, or just after."""
    from mlflow.entities import LoggedModelStatus

    found = client.search_logged_models([experiment], f"source_run_id = '{run}'")
    known = (LoggedModelStatus.READY, LoggedModelStatus.PENDING)
    return next((model for model in found if model.status in known), None)


@contextmanager
def _linked_once(client: MlflowClient, run: str, model: str) -> Iterator[None]:
    """Let MLflow link a model to its run, and copy the run's metrics, unless that is done already.

    MLflow does so before it uploads, refuses to do it twice (the metrics, if there are more than a
    hundred values), and has no option to leave it out.
    """
    from mlflow import MlflowClient as Client

    outputs = client.get_run(run).outputs
    linked = {each.model_id for each in outputs.model_outputs} if outputs else set()
    if model not in linked:
        yield
        return
    link, batch = Client.log_outputs, Client.log_batch
    metrics = client.get_logged_model(model).metrics or []
    there = {(each.key, each.timestamp, each.step) for each in metrics}

    def log_the_rest(self: MlflowClient, run_id: str, metrics: Any = (), **more: Any) -> None:
        rest = [each for each in metrics if (each.key, each.timestamp, each.step) not in there]
        batch(self, run_id, rest, **more)

    try:
        Client.log_outputs = lambda *_, **__: None  # type: ignore[method-assign]
        Client.log_batch = log_the_rest  # type: ignore[method-assign, assignment]
        yield
    finally:
        Client.log_outputs, Client.log_batch = link, batch  # type: ignore[method-assign]


def _registered(client: MlflowClient, name: str, address: str) -> str:
    """Give the version of a registered model that a logged model is; register it if need be."""
    import mlflow

    for version in client.search_model_versions(f"name = '{name}'"):
        if version.source == address:
            return str(version.version)
    return str(mlflow.register_model(address, name).version)


def choose_champion(client: MlflowClient, name: str, version: str, run: str) -> None:
    """Let the alias ``champion`` name the version, unless the one it names scored higher.

    Parameters
    ----------
    client : MlflowClient
        Of the store.
    name, version : str
        The registered model's.
    run : str
        The run that fitted the version.
    """
    from mlflow.exceptions import MlflowException

    mine = client.get_run(run).data.metrics.get("auc_mean", 0.0)
    try:
        best = client.get_model_version_by_alias(name, "champion")
        before = client.get_run(best.run_id or "").data.metrics.get("auc_mean", 0.0)
    except MlflowException:  # none yet, or its run is gone
        before = 0.0
    if mine >= before:
        client.set_registered_model_alias(name, "champion", version)
