"""Files that are written whole or not at all, and locks between commands."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import xxhash
from filelock import FileLock, Timeout

from pipeline.errors import PipelineError

PROBE_BYTES = 1 << 16
DIGEST = "xxh3_128"  # of a file's bytes
BLOCK_BYTES = 1 << 18  # read at once; stays in a processor's cache


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
        raise PipelineError(f"{path}: cannot be written: {why(error, path.parent)}") from error
    finally:
        with suppress(OSError):  # the folder itself may be unreadable
            hidden.unlink(missing_ok=True)


def probe(folder: Path) -> None:
    """Find out whether files can be written into a folder that may not be there yet.

    Raises
    ------
    OSError
        They cannot: the disk is full, something else has the folder's name, or it is forbidden.
    """
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    hidden = there / f".{uuid4().hex}.probe"
    try:
        with open(hidden, "wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, f"{there}: {error.strerror}") from error
    finally:
        with suppress(OSError):  # there is no such folder
            hidden.unlink(missing_ok=True)


def why(error: OSError, folder: Path) -> str:
    """Say why something could not be written into a folder.

    NumPy tells of a disk that fills up only how much it has written; `probe` finds the reason.
    """
    if not error.strerror:
        try:
            probe(folder)
        except OSError as found:
            return os.strerror(found.errno or 0)
    return error.strerror or str(error)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    path.write_text(text, encoding="utf-8")


@lru_cache(maxsize=16384)
def _content(path: str, size: int, mtime_ns: int) -> str:
    hasher = getattr(xxhash, DIGEST)()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


def content(path: Path) -> str:
    """Digest a file's bytes; one process reads them once while size and time stay the same.

    Raises
    ------
    PipelineError
        When the file cannot be read.
    """
    try:
        stat = path.stat()
        return _content(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read: {error.strerror or error}") from error


def contents(files: Sequence[Path]) -> dict[str, str]:
    """Digest each file, by its name; by its folder's too where two have the same."""
    names = Counter(file.name for file in files)
    return {
        file.name if names[file.name] == 1 else f"{file.parent.name}/{file.name}": content(file)
        for file in files
    }


@contextmanager
def alone(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes out until the end; a process that dies lets the next one in.

    Parameters
    ----------
    path : Path
        The lock's file, which is there as long as somebody works.
    waiting : callable
        Called if another process is in. If it raises an exception, nobody waits.
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
