"""Machine code of a function's loops, by numba (https://numba.pydata.org), kept on disk.

Each sum and each product is rounded as it is written, unless a function asks for something else. So
the result is the same to the bit wherever the arrays lie in memory; with numba's ``fastmath`` it is
not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import intrinsic

HOW: dict[str, Any] = {"error_model": "numpy", "nogil": True}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, and keep the machine code on disk where there is a place for it."""
    try:
        return njit(cache=True, **HOW)(function)
    except RuntimeError:  # neither the program's folder nor the user's can be written
        return njit(**HOW)(function)


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a part of each compiled function that calls it; see `compiled`."""
    return njit(inline="always", **HOW)(function)


def instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a part of what LLVM itself offers: the function types it, and gives what emits it."""
    return intrinsic(function)
