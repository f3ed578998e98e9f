"""Finds the options of all methods: each file of this folder adds its classes by being there."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

from omegaconf import MISSING

from pipeline.config import methods as folder
from pipeline.config.methods.base import Method


def methods() -> dict[str, type[Method]]:
    """List the methods' options, by the method's name: every class that names its kind."""
    for module in iter_modules(folder.__path__):
        import_module(f"{folder.__name__}.{module.name}")

    def below(parent: type[Method]) -> list[type[Method]]:
        return [parent, *(each for child in parent.__subclasses__() for each in below(child))]

    named = {str(each.__dataclass_fields__["kind"].default): each for each in below(Method)}
    return {kind: each for kind, each in named.items() if kind != str(MISSING)}


def option_names(method: Method) -> set[str]:
    """Name the options of a method, as ``method.<name>``."""
    return {field.name for field in fields(method)}
