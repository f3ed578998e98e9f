"""Applies a fitted recipe to new recordings: at once, in chunks, and as MLflow serves it."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Give `FittedRecipe` to models that were logged before this package had modules.

    Their own code says ``from pipeline.serving import FittedRecipe``. If a process has already
    imported this package, Python takes it in place of the copy that lies beside the model.
    """
    if name == "FittedRecipe":
        from pipeline.serving.fitted_recipe import FittedRecipe

        return FittedRecipe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
