"""Loading large libraries in less time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import without looking for unused objects meanwhile, which takes a fifth of the time.

    Python looks for them again and again while the number of objects grows. What is imported stays,
    so Python looks at none of it later either.
    """
    was_on, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:  # else it would keep what an earlier command has left
            gc.freeze()
        if was_on:
            gc.enable()
