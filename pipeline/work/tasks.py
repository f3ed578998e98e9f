"""What a task is: declared inputs, declared outputs, options, and the work.

A task's result depends on its code, its options and the bytes of its inputs, and on nothing else.
Each configuration has a folder of its own, so switching an option from A to B and back to A finds
A's results again. `pipeline.work.runner` does the tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.work.files import DIGEST
from pipeline.work.keys import code_key, digest

Report = Callable[[float, dict[str, Any]], None]
"""How work tells its progress: the share of its weight since last time, and any news."""


@dataclass(frozen=True)
class Folder:
    """A stage's folder for one configuration: ``<stage>-<key>`` below the data set's.

    Parameters
    ----------
    parent : Path
        The data set's folder of derived files.
    stage : str
        The stage's name.
    options : object
        What the stage reads of the configuration, plain.
    code : tuple of str
        Modules that do the work; the key follows their imports.
    upstream : str
        The key of the folder it reads from, empty for the first.
    """

    parent: Path
    stage: str
    options: Any
    code: tuple[str, ...]
    upstream: str = ""

    @property
    def key(self) -> str:
        """What the folder's content depends on, apart from the inputs' bytes."""
        return digest(self.stage, self.options, code_key(*self.code), self.upstream)

    @property
    def path(self) -> Path:
        """Where the stage's outputs lie."""
        return self.parent / f"{self.stage}-{self.key}"


@dataclass(frozen=True)
class Task:
    """One piece of a stage's work.

    Parameters
    ----------
    folder : Folder
        Where its outputs lie.
    name : str
        E.g. ``subj3_series7``; its manifest is ``<name>.json``.
    inputs : tuple of Path
        Every file that it reads.
    outputs : tuple of str
        Every file that it writes.
    work : callable
        Called as ``work(scratch, report, **arguments)``; writes the outputs into ``scratch``.
    arguments : dict
        What else the work is told, by name.
    weight : float
        Its share of the progress bar.
    threads : int
        How many the work computes with.
    resumable : bool
        Keep the scratch folder when the work is cut off: it finds its checkpoint there again.
    verify : bool
        Compare the outputs' bytes with what was recorded before they are taken for the result.
        What later tasks read is compared by them.
    """

    folder: Folder
    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[str, ...]
    work: Callable[..., None]
    arguments: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    threads: int = 1
    resumable: bool = False
    verify: bool = False

    @property
    def key(self) -> str:
        """What the result depends on, apart from the inputs' bytes: also on the work's own code.

        With the kind of the files' digests, so that those of another kind are not compared.
        """
        return digest(self.folder.key, code_key(self.work.__module__), DIGEST)

    @property
    def manifest(self) -> Path:
        """The file that is written last."""
        return self.folder.path / f"{self.name}.json"

    def paths(self) -> list[Path]:
        """Give the outputs with their folder."""
        return [self.folder.path / output for output in self.outputs]
