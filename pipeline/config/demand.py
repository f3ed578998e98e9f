"""Refuses values that cannot be, naming the key, its value and what it must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipeline.errors import ConfigError

Demand = Callable[[bool, str, str], None]
"""Called as ``demand(holds, key, what it must be)``; refuses the key where it does not hold."""


LONGEST = 60  # bytes of a folder's name; the names of runs and files hold two of them
PLAIN_NAME = f"must be a plain folder name: letters, digits, and - + . within, at most {LONGEST}"
"""What `is_plain_name` asks for."""


def is_plain_name(text: str) -> bool:
    """Tell whether a text may name a folder: one that leads nowhere else and that can be made."""
    plain = re.fullmatch(r"[\w-](?:[\w .+-]*[\w+-])?", text)
    return plain is not None and len(text.encode()) <= LONGEST


def demand_of(group: str, options: object) -> Demand:
    """Give the `Demand` of one group of the configuration, which names the key and its value.

    Parameters
    ----------
    group : str
        E.g. ``filter``.
    options : object
        Whose attributes are checked.

    Raises
    ------
    ConfigError
        From what is returned, where something does not hold.
    """

    def demand(holds: bool, key: str, what: str) -> None:
        if not holds:
            value: Any = getattr(options, key)
            value = getattr(value, "name", value)
            raise ConfigError(f"{group}.{key}={value}: {what}")

    return demand
