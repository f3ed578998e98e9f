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

EXACTLY = {"MKL_DYNAMIC": "FALSE"}
"""Else the MKL takes no more threads than there are cores, whatever it is told."""


def cores() -> int:
    """Count this process's cores: all, or its share while a sweep's jobs run at once."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (there or 1) // int(os.environ.get(PARALLEL, "1")))


class Threads:
    """`threads` for many short calls: it looks for the libraries once, which takes a millisecond.

    Libraries that are loaded after the first use are not limited.

    Parameters
    ----------
    count : int
        Threads of BLAS, OpenMP and PyTorch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._controller: Any = None
        self._limits: Any = None
        self._before = 0

    def __enter__(self) -> None:
        if self._controller is None:
            from threadpoolctl import ThreadpoolController

            self._controller = ThreadpoolController()
        torch: Any = sys.modules.get("torch")
        if torch:
            self._before = torch.get_num_threads()
            torch.set_num_threads(self.count)
        self._limits = self._controller.limit(limits=self.count)

    def __exit__(self, *error: object) -> None:
        self._limits.restore_original_limits()
        torch: Any = sys.modules.get("torch")
        if torch and self._before:
            torch.set_num_threads(self._before)


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
    wanted = dict.fromkeys(AT_LOADING, str(count)) | EXACTLY
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ |= wanted
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
