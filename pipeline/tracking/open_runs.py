"""Which runs of a command are open, kept in a file so that the same command can continue them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from pipeline.work.files import write_text, write_whole


def identify_process(pid: int | None = None) -> list[float] | None:
    """Identify a process, also against a later one of the same number; None if there is none."""
    try:
        process = psutil.Process(pid)
        return [process.pid, process.create_time()]
    except psutil.Error:
        return None


@dataclass
class OpenRuns:
    """What the file holds.

    Parameters
    ----------
    uri : str
        The store.
    parent : str or None
        The command's run; None if the store could not be reached.
    children : dict of str to str
        Each training's run.
    seconds : dict of str to float
        What stages took that no run knows of.
    process : list of float
        Whose runs they are.
    """

    uri: str
    parent: str | None
    children: dict[str, str]
    seconds: dict[str, float]
    process: list[float] | None = field(default_factory=identify_process)

    @classmethod
    def load(cls, path: Path | None) -> OpenRuns | None:
        """Read the file; None if there is none, or it is none of this version's."""
        try:
            read = cls(**json.loads(path.read_text(encoding="utf-8"))) if path else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return read if read is None or read._is_sound() else None

    def _is_sound(self) -> bool:
        """Tell whether everything has its type."""
        texts = [self.uri, *([] if self.parent is None else [self.parent])]
        owner = self.process
        return (
            all(isinstance(text, str) for text in texts)
            and isinstance(self.children, dict)
            and all(isinstance(run, str) for run in self.children.values())
            and isinstance(self.seconds, dict)
            and all(isinstance(value, int | float) for value in self.seconds.values())
            and (owner is None or (isinstance(owner, list) and len(owner) == 2))
            and all(isinstance(number, int | float) for number in owner or [])
        )

    def save(self, path: Path) -> None:
        """Write the file."""
        write_whole(path, lambda hidden: write_text(hidden, json.dumps(asdict(self))))

    def in_use(self) -> bool:
        """Tell whether the process whose runs they are is another one, and still there."""
        owner = self.process
        return owner is not None and owner != identify_process() and owner == identify_process(
            int(owner[0])
        )  # fmt: skip
