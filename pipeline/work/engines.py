"""Where tasks are done: by processes of this machine, or by Dask's workers on other ones.

A process does one task at a time. The results are the same bytes, because what a task computes
depends on nothing of the place where it is done.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from joblib import Parallel

from pipeline.errors import PipelineError
from pipeline.work.messages import Direct, Mailbox, Receiver


class Engine(Protocol):
    """A place with processes that do tasks."""

    def size(self, wanted: int) -> int:
        """Say how many tasks may be done at once, where so many are wanted."""

    def mailbox(self, workers: int) -> Receiver:
        """Make what receives the messages of so many workers."""

    def do(self, calls: Sequence[Any], workers: int, folder: Path) -> Iterator[Any]:
        """Do joblib's delayed calls, and give their results as they come.

        Parameters
        ----------
        calls : sequence
            By `joblib.delayed`.
        workers : int
            How many at once.
        folder : Path
            Where they write.

        Raises
        ------
        PipelineError
            If a worker died, or cannot work for this program.
        """


class Local:
    """Processes of this machine; one alone is this process."""

    def size(self, wanted: int) -> int:
        """See `Engine`."""
        return wanted

    def mailbox(self, workers: int) -> Receiver:
        """See `Engine`."""
        return Mailbox() if workers > 1 else Direct()

    def do(self, calls: Sequence[Any], workers: int, folder: Path) -> Iterator[Any]:
        """See `Engine`."""
        # Loky by name: inside of a sweep's job joblib would take threads, which share a seed.
        pool = Parallel(
            n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1
        )
        with warnings.catch_warnings():
            # One that has grown is replaced by joblib between two tasks; nothing is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            try:
                yield from pool(calls)
            except BrokenProcessPool as error:
                raise PipelineError(
                    "a worker process was killed, perhaps for want of memory; what is done is "
                    f"kept: give the same command again, or with fewer than workers={workers}"
                ) from error


@cache
def engine(kind: str, address: str | None, workers: int) -> Engine:
    """Give the place where tasks are done; a process has one of each.

    Parameters
    ----------
    kind : str
        ``local`` or ``dask``.
    address : str or None
        Of Dask's scheduler; None starts workers on this machine.
    workers : int
        How many are started.

    Raises
    ------
    PipelineError
        If Dask is not installed, or the scheduler cannot be reached.
    """
    if kind == "local":
        return Local()
    try:
        from pipeline.work.dask_engine import Dask  # an extra package
    except ImportError as error:
        raise PipelineError(
            f"parallel=dask needs the package {error.name}: pip install -e '.[cluster]'"
        ) from error
    return Dask(address, workers)
