"""Machine code of a function's loops, by numba (https://numba.pydata.org), kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
HOW: dict[str, Any] = {"error_model": "numpy", "nogil": True}


def compiled(**how: Any) -> Decorator:
    """Compile a function, and keep the machine code on disk where there is a place for it.

    Parameters
    ----------
    **how
        More of numba's options. Without ``fastmath`` each sum and each product is rounded as it is
        written, so the result is the same to the bit on every processor.

    Returns
    -------
    callable
        A decorator.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, **HOW, **how)(function)
        except RuntimeError:  # neither the program's folder nor the user's can be written
            return njit(**HOW, **how)(function)

    return decorate


def part(**how: Any) -> Decorator:
    """Make a function a part of each compiled function that calls it; see `compiled`."""
    return njit(inline="always", **HOW, **how)
