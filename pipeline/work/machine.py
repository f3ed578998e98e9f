"""The machine: its cores, and how many threads a task may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PARALLEL = "PIPELINE_PARALLEL_JOBS"
"""In the environment of a sweep's jobs: how many of them run at once."""

AT_LOADING = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries look at that are loaded by the work itself, PyTorch for example."""


def cores() -> int:
    """Count this process's cores: all, or its share while a sweep's jobs run at once."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (there or 1) // int(os.environ.get(PARALLEL, "1")))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads, whatever the machine and its environment say.

    The last bits of a matrix product depend on the number of threads, so a result must not follow
    from the number of cores.

    Parameters
    ----------
    count : int
        Threads of BLAS, OpenMP and PyTorch.
    """
    from threadpoolctl import threadpool_limits  # here: the command line must start quickly

    torch: Any = sys.modules.get("torch")  # not imported for tasks that do not need it
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(count)
    kept = {name: os.environ.get(name) for name in AT_LOADING}
    os.environ |= dict.fromkeys(AT_LOADING, str(count))
    try:
        with threadpool_limits(count):
            yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if torch:
            torch.set_num_threads(before)
