"""What a stage is: tasks with declared inputs, outputs and a slice of the configuration.

A task is fresh when its manifest says that the same code, with the same slice of the
configuration and the same input contents, wrote the files that are there now. Everything else is
stale and is done again. The outputs are written in a hidden folder and renamed into place, the
manifest last, so that a stage is there whole or not at all. Each configuration has a folder of its
own, so that switching a parameter from A to B and back to A finds A's results again. Commands that
run at once share the folders: a task is one's alone while it is being done, and the others wait.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout
from joblib import Parallel, delayed
from tqdm import tqdm

from pipeline.errors import PipelineError
from pipeline.work.messages import Mailbox, Sender

Report = Callable[[float, dict[str, Any]], None]
"""How work tells its progress: the share of its weight since last time, and any news."""


def digest(*parts: Any) -> str:
    """Digest anything that JSON can write; equal content gives equal text of 12 characters."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@lru_cache(maxsize=4096)
def _content(path: str, size: int, mtime_ns: int) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            hasher.update(block)
    return hasher.hexdigest()


def content(path: Path) -> str:
    """Digest a file's bytes; read only once while its size and time stay the same."""
    stat = path.stat()
    return _content(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache
def _source(module: ModuleType) -> str:
    """Read a module's source once, so that an edit during a run cannot change the run's keys."""
    return Path(module.__file__ or "").read_text(encoding="utf-8")


@lru_cache
def _version(package: str) -> str:
    """Look up a package's version once: it is a file that is read each time."""
    return metadata.version(package)


def code_digest(modules: Sequence[ModuleType], packages: Sequence[str] = ()) -> str:
    """Digest the source of the modules that do a stage's work, and its packages' versions."""
    return digest([_source(m) for m in modules], [_version(p) for p in packages])


@dataclass(frozen=True)
class Folder:
    """A stage's folder for one configuration: ``<stage>-<key>`` below the data set's.

    Parameters
    ----------
    parent : Path
        The data set's folder of derived files.
    stage : str
        The stage's name.
    config : object
        The slice of the configuration that the stage reads, plain.
    code : str
        From `code_digest`.
    upstream : str
        The key of the folder it reads from, empty for the first.
    """

    parent: Path
    stage: str
    config: Any
    code: str
    upstream: str = ""

    @property
    def key(self) -> str:
        """What the folder's content depends on, apart from the inputs' bytes."""
        return digest(self.stage, self.config, self.code, self.upstream)

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
        Whose piece it is.
    name : str
        E.g. ``subj3_series7``; its manifest is ``<name>.json``.
    inputs : tuple of Path
        Every file that it reads.
    outputs : tuple of str
        Every file that it writes.
    work : callable
        Called as ``work(scratch, report, *arguments)``; writes the outputs into ``scratch``.
    arguments : tuple
        What else the work is told.
    weight : float
        Its share of the progress bar.
    resumable : bool
        Keep the scratch folder when the work is cut off: it finds its checkpoint there again.
    """

    folder: Folder
    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[str, ...]
    work: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    weight: float = 1.0
    resumable: bool = False

    @property
    def manifest(self) -> Path:
        """The file that is written last."""
        return self.folder.path / f"{self.name}.json"

    def paths(self) -> list[Path]:
        """Give the outputs with their folder."""
        return [self.folder.path / output for output in self.outputs]


@dataclass
class Summary:
    """What became of a stage's tasks."""

    stage: str
    fresh: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """Say it in one line."""
        if not self.done:
            return f"{self.stage:<9}fresh, nothing to do ({len(self.fresh)} of {len(self.fresh)})"
        kept = f", {len(self.fresh)} fresh" if self.fresh else ""
        return f"{self.stage:<9}{len(self.done)} done{kept} in {self.seconds:.1f} s"


def contents(files: Sequence[Path]) -> dict[str, str]:
    """Digest each file, by its name; by its folder's too where two have the same."""
    names = Counter(file.name for file in files)
    return {
        file.name if names[file.name] == 1 else f"{file.parent.name}/{file.name}": content(file)
        for file in files
    }


def is_fresh(task: Task, inputs: dict[str, str]) -> bool:
    """Tell whether a task's outputs are there, whole, and made from these input contents."""
    try:
        manifest = json.loads(task.manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if manifest.get("key") != task.folder.key or manifest.get("inputs") != inputs:
        return False
    recorded = manifest.get("outputs", {})
    if sorted(recorded) != sorted(task.outputs):
        return False
    for output, (size, mtime_ns, known) in recorded.items():
        file = task.folder.path / output
        if not file.exists():
            return False
        stat = file.stat()
        if (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns) and content(file) != known:
            return False
    return True


PARALLEL = "PIPELINE_PARALLEL_JOBS"
"""In the environment of a sweep's jobs: how many of them run at once."""


def cores() -> int:
    """Count this process's cores: all, or its share while a sweep's jobs run at once."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (there or 1) // int(os.environ.get(PARALLEL, "1")))


def threads_each(workers: int) -> int:
    """Share the cores among so many processes; none gets more than OMP_NUM_THREADS says."""
    share = max(1, cores() // workers)
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(wanted)) if wanted.isdecimal() and int(wanted) else share


@contextmanager
def alone(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes out until the end; a process that dies lets the next one in.

    Parameters
    ----------
    path : Path
        The lock's file, which is there as long as somebody works.
    waiting : callable
        Called if another process is in.
    """
    lock = FileLock(path, poll_interval=0.1)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        # Whoever waits has this file open, finds that it is gone, and asks for a new one.
        with suppress(OSError):  # Windows removes no open file
            path.unlink()
        lock.release()


def _execute(task: Task, inputs: dict[str, str], report: _Reporter) -> tuple[str, bool]:
    """Do one task, unless another command does it meanwhile; tell whether it was done here."""
    if isinstance(report.messages, Sender):  # in a worker
        report.messages.start()
    folder = task.folder.path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / f".{task.name}.lock", report.waiting):
            if work := not is_fresh(task, inputs):
                _do(task, inputs, report)
    except OSError as error:
        raise PipelineError(f"{folder}: cannot be written: {error.strerror}") from error
    report.finish()
    return task.name, work


def _do(task: Task, inputs: dict[str, str], report: _Reporter) -> None:
    """Do one task: scratch folder, work, rename, manifest."""
    begun = time.perf_counter()
    folder = task.folder.path
    unique = f"{os.getpid()}-{uuid4().hex[:8]}"
    if task.resumable:  # the same work finds the same folder again
        unique = f"resume-{digest(task.folder.key, inputs)}"
    scratch = folder / f".{task.name}.{unique}"
    for left in folder.glob(f".{task.name}.*"):  # of commands that were killed
        if left != scratch and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir(exist_ok=True)
    try:
        task.work(scratch, report, *task.arguments)
        written = {}
        for output in task.outputs:
            file = scratch / output
            stat = file.stat()
            written[output] = (stat.st_size, stat.st_mtime_ns, content(file))
        for output in task.outputs:
            (folder / output).parent.mkdir(exist_ok=True)
            os.replace(scratch / output, folder / output)
        manifest = {
            "stage": task.folder.stage,
            "key": task.folder.key,
            "config": task.folder.config,
            "inputs": inputs,
            "outputs": written,
            "seconds": round(time.perf_counter() - begun, 3),
        }
        (scratch / "manifest").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        os.replace(scratch / "manifest", task.manifest)
    except OSError as error:
        place = error.filename or folder
        raise PipelineError(f"{place}: {error.strerror or error}") from error
    finally:
        if not task.resumable:
            shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)


class _Reporter:
    """Carries a worker's progress to the process that draws the bar."""

    def __init__(self, messages: Any, name: str, weight: float) -> None:
        self.messages, self.name, self.left = messages, name, weight

    def __call__(self, progress: float, news: dict[str, Any]) -> None:
        progress = min(progress, self.left)  # an early stop or a resumed epoch may not add up
        self.left -= progress
        self.messages.put((self.name, progress, news))

    def waiting(self) -> None:
        self(0.0, {"show": "waits for another command"})

    def finish(self) -> None:
        self(self.left, {})


def _drain(
    messages: Any,
    bar: tqdm,
    listen: Callable[[str, dict[str, Any]], None] | None,
    deaf: list[Exception],
) -> None:
    """Pass on what the work reports; a listener that fails is told nothing more."""
    while (message := messages.get()) is not None:
        name, progress, news = message
        if progress:
            bar.update(min(progress, bar.total - bar.n))  # rounding must not pass the end
        if news:
            if listen is not None and not deaf:
                try:
                    listen(name, news)
                except Exception as error:
                    deaf.append(error)
            if "show" in news:
                bar.set_postfix_str(f"{name} {news['show']}", refresh=False)


def run(
    stage: str,
    tasks: Iterable[Task],
    workers: int = 1,
    listen: Callable[[str, dict[str, Any]], None] | None = None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Do the stale ones of a stage's tasks, in parallel, under a progress bar.

    Parameters
    ----------
    stage : str
        What the bar and the summary are headed with.
    tasks : iterable of Task
        The whole stage.
    workers : int
        Processes; with 1 the work is done in this one.
    listen : callable, optional
        Called in this process as ``listen(task name, news)`` with what the work reports. If it
        fails, that is raised when all tasks are done.
    say : callable
        Prints a line.

    Returns
    -------
    Summary
        Which tasks were fresh and which were done.

    Raises
    ------
    PipelineError
        From the work, or when an output folder cannot be written.
    """
    begun = time.perf_counter()
    summary, stale = Summary(stage), []
    for task in tasks:
        inputs = contents(task.inputs)
        if is_fresh(task, inputs):
            summary.fresh.append(task.name)
        else:
            stale.append((task, inputs))
    if stale:
        _run_stale(stage, stale, min(workers, len(stale)), listen, summary)
        summary.seconds = time.perf_counter() - begun
    say(summary.line())
    return summary


def _run_stale(
    stage: str,
    stale: list[tuple[Task, dict[str, str]]],
    workers: int,
    listen: Callable[[str, dict[str, Any]], None] | None,
    summary: Summary,
) -> None:
    mailbox = Mailbox() if workers > 1 else None
    messages: queue.Queue[Any] = mailbox.messages if mailbox else queue.Queue()
    sender = mailbox.sender() if mailbox else messages
    total = sum(task.weight for task, _ in stale)
    deaf: list[Exception] = []
    layout = "{desc:<9}{percentage:3.0f}%|{bar:24}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=total, desc=stage, bar_format=layout, mininterval=0.5, leave=False) as bar:
        drain = threading.Thread(target=_drain, args=(messages, bar, listen, deaf), daemon=True)
        drain.start()
        try:
            jobs = (
                delayed(_execute)(task, inputs, _Reporter(sender, task.name, task.weight))
                for task, inputs in stale
            )
            # Loky by name: inside of a sweep's job joblib would take threads, which share a seed.
            pool = Parallel(
                n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1
            )
            with warnings.catch_warnings():
                # One that has grown is replaced by joblib between two tasks; nothing is lost.
                warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
                for name, worked in pool(jobs):
                    (summary.done if worked else summary.fresh).append(name)
        finally:
            messages.put(None)
            drain.join()  # what was reported is recorded before this stage ends
            if mailbox:
                mailbox.close()
    if deaf:  # only now: the work itself is done and kept
        raise deaf[0]


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a hidden name beside it, then rename it into place.

    Parameters
    ----------
    path : Path
        The file.
    write : callable
        Called with the hidden name.

    Raises
    ------
    PipelineError
        When the folder cannot be written; nothing is left behind.
    """
    hidden = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(hidden)
        os.replace(hidden, path)
    except OSError as error:
        raise PipelineError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        hidden.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    path.write_text(text, encoding="utf-8")
