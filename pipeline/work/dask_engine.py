"""Dask's workers: any number of processes on any number of machines that share the folders."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from distributed import Client, KilledWorker, LocalCluster, as_completed, get_worker

from pipeline.errors import PipelineError

CONNECT_SECONDS = 10
# Messages arrive before the result of the task that sent them; a lost connection must not hang.
LAST_MESSAGE_SECONDS = 30


class Dask:
    """A scheduler and its workers, with one thread each.

    Parameters
    ----------
    address : str or None
        The scheduler's; None starts workers on this machine.
    workers : int
        How many are started.

    Raises
    ------
    PipelineError
        If the scheduler cannot be reached.
    """

    def __init__(self, address: str | None, workers: int) -> None:
        logging.getLogger("distributed").setLevel(logging.ERROR)  # of what is told here in a line
        if address is None:
            # Of this machine alone. The memory is not watched: a task that needs much may have it.
            place: Any = LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1",
                dashboard_address=None, memory_limit=0,
            )  # fmt: skip
        else:
            place = address
        self._place = address or "parallel=dask"
        try:
            self.client = Client(place, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise PipelineError(
                f"parallel.address={address}: no scheduler answers there; start one with "
                "`dask scheduler`, and workers with `dask worker`"
            ) from error

    def size(self, wanted: int) -> int:
        """Count the workers that are there."""
        return max(1, len(self.client.ncores()))

    def mailbox(self, workers: int) -> Letters:
        """Receive what workers send through the scheduler."""
        return Letters(self.client)

    def do(self, calls: Sequence[Any], workers: int, folder: Path) -> Iterator[Any]:
        """See `pipeline.work.engines.Engine`."""
        self._demand_fit(folder)
        # Not by joblib's own backend for Dask, which waits for ever for a task that Dask gives up.
        # Equal calls are not the same one: `pure`.
        futures = [
            self.client.submit(function, *arguments, pure=False, **named)
            for function, arguments, named in calls
        ]
        try:
            for future in as_completed(futures, loop=self.client.loop):
                yield future.result()
        except KilledWorker as error:
            raise PipelineError(
                "a task's workers died again and again, most often for want of memory; what is "
                "done is kept, and the same command goes on from here"
            ) from error
        except ImportError as error:
            raise PipelineError(
                f"a worker cannot import {error.name}: install this project there, too"
            ) from error
        finally:
            self.client.cancel(futures)

    def _demand_fit(self, folder: Path) -> None:
        """Refuse workers that compute several tasks in one process, or do not see the folder."""
        try:
            self.client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise PipelineError(
                f"{self._place}: the scheduler has no workers; start some with `dask worker`"
            ) from error
        several = [name for name, count in self.client.ncores().items() if count != 1]
        if several:
            raise PipelineError(
                f"{_names(several)}: has several threads, which would share random numbers; "
                "start workers with --nthreads 1 (and --nworkers for several)"
            )
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid4().hex}"
        probe.touch()
        try:
            seen = self.client.run(_sees, str(probe))
        except ModuleNotFoundError as error:
            raise PipelineError(
                f"a worker cannot import {error.name}: install this project there, too"
            ) from error
        finally:
            probe.unlink(missing_ok=True)
        blind = [name for name, there in seen.items() if not there]
        if blind:
            raise PipelineError(
                f"{_names(blind)}: does not see {folder}; data_dir and output_dir must lie on a "
                "folder that all machines share, under the same path"
            )


def _names(workers: Iterable[str], most: int = 3) -> str:
    listed = list(workers)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _sees(path: str) -> bool:
    return Path(path).exists()


class Letter:
    """What a worker sends with.

    Parameters
    ----------
    topic : str
        Under which the scheduler passes it on.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def start(self) -> None:
        """Nothing: Dask ends its workers itself."""

    def put(self, message: Any) -> None:
        """Send a message, ahead of the task's result."""
        get_worker().log_event(self.topic, json.dumps(message, default=float))


class Letters:
    """Receives workers' messages in a queue.

    Attributes
    ----------
    messages : queue.Queue
        What has arrived.
    """

    def __init__(self, client: Client) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        self._client, self._topic = client, f"grasp-{uuid4().hex}"
        self._last = threading.Event()
        client.subscribe_topic(self._topic, self._receive)

    def sender(self) -> Letter:
        """Give what a worker sends with."""
        return Letter(self._topic)

    def close(self) -> None:
        """Wait for what was sent, and receive no more."""
        self._client.log_event(self._topic, "")
        self._last.wait(LAST_MESSAGE_SECONDS)
        self._client.unsubscribe_topic(self._topic)

    def _receive(self, event: tuple[float, str]) -> None:
        if event[1]:
            self.messages.put(json.loads(event[1]))
        else:
            self._last.set()
