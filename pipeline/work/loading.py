"""Loading large libraries in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import without looking for unused objects meanwhile, which takes a fifth of the time.

    Python looks for them again and again while the number of objects grows. What is imported stays,
    so Python looks at none of it later either.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
