"""What MLflow runs to load a logged model ("models from code"); nothing here imports it.

Tensors are read by ``torch.load(weights_only=True)`` and the rest is JSON: no code is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel

from pipeline.errors import DataError
from pipeline.serving.fitted_recipe import FittedRecipe


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
            A frame's columns are found by the channels' names; an array's are in their order.
        params : dict
            ``subject``: whose series it is.

        Returns
        -------
        DataFrame of float32, shape (T, E)
        """
        about = self.recipe.about
        if isinstance(model_input, pd.DataFrame):
            model_input = model_input[list(about.channels)].to_numpy()
        samples = np.ascontiguousarray(model_input)
        subject = (params or {}).get("subject", min(self.recipe.detectors))
        try:
            probabilities = self.recipe.predict(samples, int(subject))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(probabilities, columns=list(about.events))


mlflow.models.set_model(ServedRecipe())
