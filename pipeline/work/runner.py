"""Does tasks: caching, atomic writes, parallel execution, progress.

A task is done already when its manifest says that the same code, with the same options and the same
input contents, wrote the files that are there now; every other task is done. Outputs are written in
a hidden folder and renamed into place, the manifest last. Commands that run at once share the
folders: only one of them works at a task, and the others wait.

A file that was damaged after it was written is found by the task that reads it: its bytes are not
those that its maker recorded. Then its maker makes it again.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from joblib import delayed
from tqdm import tqdm

from pipeline.errors import PipelineError
from pipeline.work.engines import Engine, Local
from pipeline.work.files import alone, content, contents, why
from pipeline.work.keys import digest
from pipeline.work.machine import cores, threads
from pipeline.work.messages import Outbox
from pipeline.work.tasks import Task

Listen = Callable[[str, dict[str, Any]], None]

# Of every file that a task of this process made or found made: its maker, and its bytes' digest.
_made: dict[Path, tuple[Task, str]] = {}


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
            return f"{self.stage:<9}up to date ({len(self.fresh)} of {len(self.fresh)})"
        kept = f", {len(self.fresh)} up to date" if self.fresh else ""
        return f"{self.stage:<9}{len(self.done)} done{kept} in {self.seconds:.1f} s"


def read_manifest(task: Task) -> dict[str, Any] | None:
    """Read what was written last; None where there is nothing, or no manifest."""
    try:
        manifest = json.loads(task.manifest.read_text(encoding="utf-8"))
        outputs = manifest["outputs"]
        whole = all(len(known) == 3 for known in outputs.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return manifest if whole else None


def is_fresh(task: Task, inputs: dict[str, str]) -> bool:
    """Tell whether a task's outputs are there, whole, and made from these input contents."""
    manifest = read_manifest(task)
    if manifest is None:
        return False
    if manifest.get("key") != task.key or manifest.get("inputs") != inputs:
        return False
    recorded = manifest["outputs"]
    if sorted(recorded) != sorted(task.outputs):
        return False
    for output, (size, mtime_ns, known) in recorded.items():
        file = task.folder.path / output
        if not file.is_file():
            return False
        stat = file.stat()
        touched = (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns)
        if (touched or task.verify) and content(file) != known:
            return False
    for output, (_, _, known) in recorded.items():
        _made[task.folder.path / output] = (task, known)
    return True


def run(
    stage: str,
    tasks: Iterable[Task],
    workers: int = 1,
    listen: Listen | None = None,
    say: Callable[[str], None] = print,
    engine: Engine | None = None,
) -> Summary:
    """Do those of a stage's tasks that are not done already, in parallel, under a progress bar.

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
    engine : Engine, optional
        Where the work is done; without one on this machine.

    Returns
    -------
    Summary
        Which tasks were done before and which were done now.

    Raises
    ------
    PipelineError
        From the work, or when an output folder cannot be written.
    """
    begun = time.perf_counter()
    tasks, summary, fresh, stale = list(tasks), Summary(stage), [], []
    engine = engine or Local()
    _mend({path for task in tasks for path in task.inputs}, workers, say, engine)
    inputs_of = _in_threads(lambda task: contents(task.inputs), tasks, workers)
    for task, inputs in zip(tasks, inputs_of, strict=True):
        if is_fresh(task, inputs):
            summary.fresh.append(task.name)
            fresh.append(task)
        else:
            stale.append((task, inputs))
    _tidy(fresh)
    if stale:
        _run_stale(stage, stale, min(workers, len(stale)), listen, summary, engine)
        summary.seconds = time.perf_counter() - begun
        for task, inputs in stale:
            is_fresh(task, inputs)  # remembers what was made
    say(summary.line())
    return summary


def _in_threads(
    function: Callable[[Any], Any], things: Sequence[Any], workers: int
) -> Iterator[Any]:
    """Give a function of each thing, in order; files are digested by several threads at once."""
    with ThreadPoolExecutor(min(workers, cores())) as pool:
        yield from pool.map(function, things)


def _mend(files: set[Path], workers: int, say: Callable[[str], None], engine: Engine) -> None:
    """Make files again whose bytes are not those that were recorded when they were made."""
    makers: dict[Path, Task] = {}
    ours = sorted(path for path in files if path in _made)
    there = _in_threads(lambda path: content(path) if path.is_file() else None, ours, workers)
    for path, now in zip(ours, there, strict=True):
        maker, known = _made[path]
        if now != known:
            say(f"{path}: is damaged (its bytes have changed); making it again")
            makers[maker.manifest] = maker
    for manifest in makers:
        manifest.unlink(missing_ok=True)
    if makers:
        run("repair", list(makers.values()), workers, None, say, engine)


def _tidy(fresh: Sequence[Task]) -> None:
    """Remove what commands have left that were killed just after a task was done."""
    names: dict[Path, set[str]] = {}
    for task in fresh:
        names.setdefault(task.folder.path, set()).add(task.name)
    for folder, known in names.items():
        hidden = {path.name[1:].rpartition(".")[0] for path in folder.glob(".*.*")}
        for name in known & hidden:
            # Somebody works there, or it cannot be written.
            with suppress(OSError), alone(folder / f".{name}.lock", _do_not_wait):
                _remove_scratch(folder, name)


def _do_not_wait() -> None:
    raise BlockingIOError


def _remove_scratch(folder: Path, name: str, but: Path | None = None) -> None:
    """Remove a task's scratch folders, of commands that were killed."""
    for left in folder.glob(f".{name}.*"):
        if left != but and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _execute(task: Task, inputs: dict[str, str], report: _Reporter, key: str) -> tuple[str, bool]:
    """Do one task, unless another command does it meanwhile; tell whether it was done here."""
    report.messages.start()
    if task.key != key:
        raise PipelineError(
            f"a worker on {platform.node()} has other code, or other versions of packages, than "
            "this program: install the same there, and start the workers again"
        )
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
        unique = f"resume-{digest(task.key, inputs)}"
    scratch = folder / f".{task.name}.{unique}"
    _remove_scratch(folder, task.name, but=scratch)
    if task.manifest.is_dir():  # something else took its place
        raise PipelineError(f"{task.manifest}: is a folder, where a file is written; remove it")
    scratch.mkdir(exist_ok=True)
    try:
        with threads(task.threads):
            task.work(scratch, report, **task.arguments)
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
            "key": task.key,
            "options": task.folder.options,
            "inputs": inputs,
            "outputs": written,
            "seconds": round(time.perf_counter() - begun, 3),
        }
        (scratch / "manifest").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        os.replace(scratch / "manifest", task.manifest)
    except OSError as error:
        place = error.filename or folder
        raise PipelineError(f"{place}: {why(error, folder)}") from error
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise PipelineError(
            f"{task.name}: needs more memory than there is; what is done is kept: give the same "
            "command with fewer workers, or with smaller options"
        ) from error
    finally:
        if not task.resumable:
            shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether there was too little memory; PyTorch says so in words alone."""
    told = re.search("allocate memory|out of memory|enough memory", str(error))
    return isinstance(error, MemoryError) or told is not None


class _Reporter:
    """Carries a worker's progress to the process that draws the bar."""

    def __init__(self, messages: Outbox, name: str, weight: float) -> None:
        self.messages, self.name, self.left = messages, name, weight

    def __call__(self, progress: float, news: dict[str, Any]) -> None:
        progress = min(progress, self.left)  # an early stop or a resumed epoch may not add up
        self.left -= progress
        self.messages.put((self.name, progress, news))

    def waiting(self) -> None:
        self(0.0, {"show": "waits for another command"})

    def finish(self) -> None:
        self(self.left, {})


def _drain(messages: Any, bar: tqdm, listen: Listen | None, deaf: list[Exception]) -> None:
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
            if "note" in news:
                bar.write(f"{name}: {news['note']}")
            if "show" in news:
                bar.set_postfix_str(f"{name} {news['show']}", refresh=False)


def _run_stale(
    stage: str,
    stale: Sequence[tuple[Task, dict[str, str]]],
    workers: int,
    listen: Listen | None,
    summary: Summary,
    engine: Engine,
) -> None:
    mailbox = engine.mailbox(workers)
    sender, messages = mailbox.sender(), mailbox.messages
    total = sum(task.weight for task, _ in stale)
    deaf: list[Exception] = []
    layout = "{desc:<9}{percentage:3.0f}%|{bar:24}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=total, desc=stage, bar_format=layout, mininterval=0.5, leave=False) as bar:
        drain = threading.Thread(target=_drain, args=(messages, bar, listen, deaf), daemon=True)
        drain.start()
        try:
            calls = [
                delayed(_execute)(task, inputs, _Reporter(sender, task.name, task.weight), task.key)
                for task, inputs in stale
            ]
            for name, worked in engine.do(calls, workers, stale[0][0].folder.path):
                (summary.done if worked else summary.fresh).append(name)
        finally:
            mailbox.close()
            messages.put(None)
            drain.join()  # what was reported is recorded before this stage ends
    if deaf:  # only now: the work itself is done and kept
        raise deaf[0]
