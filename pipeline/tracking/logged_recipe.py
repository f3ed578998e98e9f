"""Finds a recipe that was logged: by a registered model's alias or version, or by its run."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError, PipelineError
from pipeline.tracking.settings import set_defaults
from pipeline.tracking.store import default_uri, lock, reason, repair, sqlite_file

SCHEMES = ("models:/", "runs:/")
WHERE = "artifacts/recipe"  # in a logged model: what `log_model` was given
HOW = "name one as models:/NAME@champion, models:/NAME/VERSION or runs:/RUN_ID/model"


def find_recipe(model: str, scratch: Path, uri: str | None, key: str) -> Path:
    """Give the folder of a fitted recipe.

    Parameters
    ----------
    model : str
        An address in MLflow, or a folder with ``recipe.json``.
    scratch : Path
        Where files are put that do not lie on this machine.
    uri : str or None
        Of MLflow's store; None for the usual one.
    key : str
        Which option named it, e.g. ``live.model``.

    Raises
    ------
    PipelineError
        If there is no such model.
    """
    if model.startswith(SCHEMES):
        return recipe_folder(model, scratch, uri)
    folder = Path(model).expanduser()
    if not (folder / "recipe.json").is_file():
        raise ConfigError(f"{key}={model}: no folder with recipe.json; {HOW}")
    return folder


def recipe_folder(address: str, folder: Path, uri: str | None = None) -> Path:
    """Fetch a logged recipe, for `pipeline.serving.fitted_recipe.FittedRecipe.load`.

    Parameters
    ----------
    address : str
        MLflow's: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/MODEL_ID`` or
        ``runs:/RUN_ID/model``.
    folder : Path
        Where to put it if it does not lie on this machine.
    uri : str, optional
        The store; by default ``MLFLOW_TRACKING_URI``, or else the project's.

    Returns
    -------
    Path
        With ``recipe.json``, and ``decisions.json`` if onsets were decided.

    Raises
    ------
    PipelineError
        There is no such model, it holds no recipe, or the store cannot be reached.
    """
    if not address.startswith(SCHEMES):
        raise PipelineError(f"model={address}: {HOW}")
    uri = uri or default_uri()
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise PipelineError(f"model={address}: there is no store of runs at {uri}")
    set_defaults()
    import mlflow
    from mlflow.exceptions import MlflowException

    before = mlflow.get_tracking_uri()
    try:
        with lock(uri):
            repair(uri)
            mlflow.set_tracking_uri(uri)
            found = mlflow.artifacts.download_artifacts(address, dst_path=str(folder))
    except (MlflowException, OSError) as error:
        raise PipelineError(f"model={address}: {reason(error)} (store {uri}); {HOW}") from error
    finally:
        mlflow.set_tracking_uri(before)
    recipe = Path(found) / WHERE
    if not (recipe / "recipe.json").is_file():
        raise PipelineError(
            f"model={address}: it holds no recipe; name a model that this program has logged"
        )
    return recipe
