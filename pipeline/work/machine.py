"""The machine: its cores, and how many threads a task may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import RLock
from typing import Any

PARALLEL = "PIPELINE_PARALLEL_JOBS"
"""In the environment of a sweep's jobs: how many of them run at once."""

AT_LOADING = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries look at that are loaded by the work itself, PyTorch for example."""

EXACTLY = {"MKL_DYNAMIC": "FALSE"}
"""Else the MKL takes no more threads than there are cores, whatever it is told."""


def cores() -> int:
    """Count this process's cores: all, or its share while a sweep's jobs run at once."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (there or 1) // int(os.environ.get(PARALLEL, "1")))


_ALONE = RLock()
"""Numbers of threads belong to the whole process: while one thread has set them, others wait."""


@contextmanager
def threads(count: int, *, all_loaded: bool = False) -> Iterator[None]:
    """Compute with so many threads, whatever the machine and its environment say.

    The last bits of a matrix product depend on the number of threads, so a result must not follow
    from the number of cores. Threads of this process that enter here take turns.

    Parameters
    ----------
    count : int
        Threads of BLAS, OpenMP and PyTorch.
    all_loaded : bool
        Whether the work loads no library. Then the environment stays as it is: for many short
        calls that takes less time, and other threads may read it safely.
    """
    # Here: a command must start quickly.
    from threadpoolctl import OpenBLASController, get_cached_controller

    with _ALONE, nullcontext() if all_loaded else _told_at_loading(count):
        torch: Any = sys.modules.get("torch")  # not imported for work that does not need it
        before = torch.get_num_threads() if torch else 0
        pools = get_cached_controller().lib_controllers
        changed = [(pool, own) for pool in pools if (own := pool.num_threads) != count]
        # The thread that has limited OpenBLAS last may own its pool still. As long as it lives, the
        # limits of all other threads would do nothing, without a word.
        OpenBLASController.clear_controlling_thread(force=True)
        for pool, _ in changed:
            pool.set_num_threads(count)
        if torch:
            torch.set_num_threads(count)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
            for pool, own in changed:
                pool.set_num_threads(own)
            OpenBLASController.clear_controlling_thread()


@contextmanager
def _told_at_loading(count: int) -> Iterator[None]:
    """Set what libraries look at that the work itself loads."""
    wanted = dict.fromkeys(AT_LOADING, str(count)) | EXACTLY
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ |= wanted
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
