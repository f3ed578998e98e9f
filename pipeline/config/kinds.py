"""Finds the options of all methods, and of all kinds of features.

Each file of ``config/methods`` and of ``config/filters`` adds its classes by being there.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from omegaconf import MISSING

from pipeline.config import filters as filter_folder
from pipeline.config import methods as method_folder
from pipeline.config.filters.base import Filter
from pipeline.config.methods.base import Method


def _kinds(folder: Any, parent: type) -> dict[str, type]:
    """List the classes below a parent that name their kind, by it."""
    for module in iter_modules(folder.__path__):
        import_module(f"{folder.__name__}.{module.name}")

    def below(each: Any) -> list[Any]:
        return [each, *(one for child in each.__subclasses__() for one in below(child))]

    named = {str(each.__dataclass_fields__["kind"].default): each for each in below(parent)}
    return {kind: each for kind, each in named.items() if kind != str(MISSING)}


def methods() -> dict[str, type[Method]]:
    """List the methods' options, by the method's name."""
    return _kinds(method_folder, Method)


def filters() -> dict[str, type[Filter]]:
    """List the options of the kinds of features, by the kind's name."""
    return _kinds(filter_folder, Filter)


def option_names(options: Any) -> set[str]:
    """Name the options of a class, or of an object of it."""
    return {field.name for field in fields(options)}
