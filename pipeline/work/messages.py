"""Messages from worker processes to the process that started them, and what ends with it.

A `Mailbox` listens on the loopback address in a thread of its process, so there is no helper
process that could be left behind. Workers end themselves when their parent is gone.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing import AuthenticationError, connection
from typing import Any, Protocol

WATCH_SECONDS = 1.0


class Outbox(Protocol):
    """What a task sends its messages with, wherever it is done."""

    def start(self) -> None:
        """Get ready; called before anything is sent."""

    def put(self, message: Any) -> None:
        """Send a message."""


class Receiver(Protocol):
    """Receives the tasks' messages in its queue `messages`."""

    messages: queue.Queue[Any]

    def sender(self) -> Outbox:
        """Give what a task sends with."""

    def close(self) -> None:
        """Receive no more; what was sent is in the queue."""


class Direct:
    """Sends and receives within one process."""

    def __init__(self) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        self.put = self.messages.put

    def sender(self) -> Direct:
        """Give itself."""
        return self

    def start(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@cache
def end_with_parent(parent: int) -> None:
    """End this process soon after its parent is gone, e.g. killed for want of memory.

    What it does is kept: a task's checkpoint and outputs are written whole or not at all.

    Parameters
    ----------
    parent : int
        The parent's process id; a process that is not its child is left alone.
    """
    if os.name != "posix" or os.getpid() == parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)  # no clean-up: it might wait for the parent

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


@lru_cache(maxsize=1)
def _line_to(address: Any, key: bytes) -> connection.Connection:
    """Connect a process to a mailbox, once for all of its tasks.

    To connect takes 40 ms: two short messages in one direction wait for TCP's acknowledgement.
    """
    return connection.Client(address, authkey=key)


@dataclass(frozen=True)
class Sender:
    """A mailbox's address, as a worker gets it.

    Parameters
    ----------
    address : tuple
        Where the mailbox listens.
    key : bytes
        Only who knows it may send.
    parent : int
        Process id of the mailbox's process.
    """

    address: Any
    key: bytes
    parent: int

    def start(self) -> None:
        """Tie the worker to its parent's life."""
        end_with_parent(self.parent)

    def put(self, message: Any) -> None:
        """Send a message, and wait until it has arrived."""
        try:
            line = _line_to(self.address, self.key)
            line.send(message)
            line.recv()
        except (OSError, EOFError):  # most likely the parent is gone, and this process ends soon
            _line_to.cache_clear()


class Mailbox:
    """Receives workers' messages in a queue.

    Attributes
    ----------
    messages : queue.Queue
        What has arrived.
    """

    def __init__(self) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        self._key = secrets.token_bytes(32)
        self._listener = connection.Listener(("127.0.0.1", 0), backlog=64, authkey=self._key)
        self._open = True
        threading.Thread(target=self._accept, name="mailbox", daemon=True).start()

    def sender(self) -> Sender:
        """Give what a worker sends with."""
        return Sender(self._listener.address, self._key, os.getpid())

    def close(self) -> None:
        """Stop listening."""
        self._open = False
        with suppress(OSError, EOFError):  # wakes the thread that waits for a worker
            connection.Client(self._listener.address, authkey=self._key).close()
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                line = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):
                time.sleep(0.01)
                continue  # not one of ours, or closed
            threading.Thread(target=self._receive, args=(line,), daemon=True).start()

    def _receive(self, line: connection.Connection) -> None:
        with suppress(OSError, EOFError), line:
            while True:
                self.messages.put(line.recv())
                line.send(None)
