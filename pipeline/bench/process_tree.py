"""The memory of a process and of all that it starts, sampled while it works."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import psutil

EVERY = 0.25  # s between two looks


@dataclass
class Peak:
    """The most memory seen so far, in GiB: of the whole tree, its root, and its largest child."""

    tree: float = 0.0
    root: float = 0.0
    child: float = 0.0

    def with_look(self, root: float, children: list[float]) -> Peak:
        """Take one more look into account."""
        return Peak(
            max(self.tree, root + sum(children)),
            max(self.root, root),
            max(self.child, *children, 0.0),
        )

    def joined(self, other: Peak) -> Peak:
        """Give the larger of each."""
        return Peak(
            max(self.tree, other.tree), max(self.root, other.root), max(self.child, other.child)
        )


def held_gib(process: psutil.Process) -> float:
    """Give the memory that a process holds; what processes share is shared out among them.

    Where the system does not tell who shares what, shared memory counts for each of them.
    """
    try:
        info = process.memory_full_info()
        return getattr(info, "pss", info.rss) / 2**30
    except psutil.AccessDenied:
        return process.memory_info().rss / 2**30


class Watch:
    """Looks at a process tree in a thread, until it is closed.

    Parameters
    ----------
    pid : int
        The root's.
    """

    def __init__(self, pid: int) -> None:
        self._root, self._end = psutil.Process(pid), threading.Event()
        self._peak, self._lock = Peak(), threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def take(self) -> Peak:
        """Give the peak since the last time, and begin anew."""
        with self._lock:
            peak, self._peak = self._peak, Peak()
        return peak

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(EVERY):
            try:
                root = held_gib(self._root)
                there = self._root.children(recursive=True)
            except psutil.Error:  # it has ended
                return
            children = []
            for child in there:
                try:
                    children.append(held_gib(child))
                except psutil.Error:  # it has just ended
                    continue
            with self._lock:
                self._peak = self._peak.with_look(root, children)
