"""What MLflow runs to load a logged model ("models from code"); nothing here imports it.

Tensors are read by ``torch.load(weights_only=True)`` and the rest is JSON: no code is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.tracking.settings import set_defaults

set_defaults()  # before MLflow is imported, where nobody has done that yet

import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.pyfunc import PythonModel  # noqa: E402
from mlflow.telemetry import set_telemetry_client  # noqa: E402

from pipeline.data.names import identity  # noqa: E402
from pipeline.errors import DataError  # noqa: E402
from pipeline.serving.fitted_recipe import FittedRecipe  # noqa: E402

set_telemetry_client()  # stops what has begun if MLflow was imported before

QUOTED = 40  # characters of a cell that is no number


class ServedRecipe(PythonModel):
    """Raw samples of one series to probabilities."""

    def load_context(self, context: Any) -> None:
        """Read the exported recipe."""
        self.recipe = FittedRecipe.load(Path(context.artifacts["recipe"]))

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,  # what MLflow hands over; called directly, an array will do
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Predict one series.

        Parameters
        ----------
        context : object
            MLflow's; not used.
        model_input : DataFrame or ndarray, shape (T, C)
            Real numbers of any type. A frame's columns are found by the channels' names; an
            array's are in their order.
        params : dict
            ``subject``: whose series it is.

        Returns
        -------
        DataFrame of float32, shape (T, E)

        Raises
        ------
        MlflowException
            A sample that is not a finite number, with its row and channel; a channel that is
            missing; a subject that is not known.
        """
        about = self.recipe.about
        subject = (params or {}).get("subject", min(self.recipe.detectors))
        try:
            samples = real_numbers(model_input, about.channels)
            probabilities = self.recipe.predict(samples, identity(subject))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(probabilities, columns=list(about.events))


def real_numbers(model_input: Any, channels: tuple[str, ...]) -> np.ndarray:
    """Take samples as numbers.

    Parameters
    ----------
    model_input : DataFrame or ndarray, shape (T, C)
        Numbers of any type.
    channels : tuple of str
        The C channels.

    Returns
    -------
    ndarray of float64, shape (T, C)

    Raises
    ------
    DataError
        A channel is missing, or a cell is not a finite number.
    """
    frame = model_input
    if not isinstance(frame, pd.DataFrame):
        frame = pd.DataFrame(np.asarray(model_input))
        if frame.shape[1] != len(channels):
            raise DataError(f"samples of shape {frame.shape}: expected (rows, {len(channels)})")
        frame.columns = list(channels)
    if missing := [channel for channel in channels if channel not in frame.columns]:
        raise DataError(f"channel {missing[0]}: missing; expected are {', '.join(channels)}")
    samples = np.empty((len(frame), len(channels)))
    for column, channel in enumerate(channels):
        cells = frame[channel]
        if cells.dtype.kind in "iuf":
            samples[:, column] = cells.to_numpy(np.float64, na_value=np.nan)
            continue
        for row, cell in enumerate(cells):
            samples[row, column] = _number(cell, row, channel)
    return samples


def _number(cell: Any, row: int, channel: str) -> float:
    """Take one cell of a column that holds not only numbers."""
    if isinstance(cell, int | float | np.integer | np.floating) and not isinstance(cell, bool):
        try:
            return float(cell)
        except OverflowError:
            return float("inf")  # refused with its place, as any number that is too large
    what = "null" if cell is None or cell is pd.NA else repr(cell)[:QUOTED]
    raise DataError(f"row {row}, channel {channel}: {what} is not a finite number")


mlflow.models.set_model(ServedRecipe())
