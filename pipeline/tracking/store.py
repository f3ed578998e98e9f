"""The store of runs if it is a file: whether it can be written, and where its files are.

MLflow writes absolute paths of runs and models into its SQLite file, so a project folder that is
moved would lose them. `repair` corrects the paths. It runs whenever the store is opened, and as a
command: ``python -m pipeline.tracking.store [URI]``.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.work.files import alone, probe

BUSY_SECONDS = 10.0  # another command may be writing at this moment

# Every column in which MLflow 3 keeps an absolute path; it has no call that changes them.
PATHS = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"), ("model_versions", "storage_location"),
    ("model_versions", "source"),
)  # fmt: skip


def default_uri() -> str:
    """Give the store that is used if the configuration names none."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{PROJECT / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """Give the file of a SQLite store; None for a server or another database.

    Raises
    ------
    PipelineError
        It names no file.
    """
    if not uri.startswith("sqlite:"):
        return None
    name = uri.removeprefix("sqlite:///").split("?")[0]
    if name in (uri, ":memory:") or name.endswith("/") or not name:
        raise PipelineError(refusal(uri, "it names no file; write sqlite:///FILE"))
    return Path(name).absolute()


def artifact_folder(file: Path) -> Path:
    """Say where a SQLite store's runs keep their files: beside it."""
    return file.with_name("mlruns")


def lock(uri: str) -> Any:
    """Let one process at a time open a store: MLflow may not make its tables twice at once."""
    file = sqlite_file(uri)
    return alone(file.with_name(f".{file.name}.lock")) if file else nullcontext()


@contextmanager
def _connected(file: Path) -> Iterator[sqlite3.Connection]:
    address = f"{file.as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
        connection.isolation_level = None  # transactions are begun below, by name
        yield connection


def check(uri: str) -> None:
    """Refuse a store that cannot be written, before any work is done.

    Parameters
    ----------
    uri : str
        Only a SQLite file is looked at: a server may be there again when there is something to
        record. The file need not exist, and it is not made.

    Raises
    ------
    PipelineError
        The disk is full, a folder or the file may not be written, the file is no store, or another
        program holds it.
    """
    if "://" not in uri or uri.startswith("file:"):
        why = "it keeps no runs in plain folders; name sqlite:///FILE or a server's address"
        raise PipelineError(refusal(uri, why))
    file = sqlite_file(uri)
    if file is None:
        return
    try:
        for folder in (file.parent, artifact_folder(file)):
            probe(folder)
        if file.exists() and file.stat().st_size:
            with _connected(file) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                connection.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        raise PipelineError(refusal(uri, reason(error))) from error


def reason(error: BaseException) -> str:
    """Give the first line of an error, short enough to be read."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if "database is locked" in text:
        return "another program holds the file locked"
    if found := re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)", text):
        return found[1] or found[2]  # of a request, whose message is long
    text = re.sub(r"\(raised as a result of [^)]*\)", "", text)  # SQLAlchemy's, before the reason
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 160 else f"{line[:157]}..."


def refusal(uri: str, why: str) -> str:
    """Say that a store cannot be used, and what to do."""
    return (
        f"tracking.uri={uri}: MLflow cannot record there ({why}); "
        "correct it, or go without: tracking.enabled=false"
    )


def make(uri: str) -> None:
    """Make a SQLite store that does not exist yet, whole or not at all.

    MLflow makes its tables one after another. If it is killed meanwhile, it can never open the file
    again. So the file gets its name only when it has all tables.
    """
    file = sqlite_file(uri)
    if file is None or (file.exists() and file.stat().st_size):
        return
    import mlflow

    file.parent.mkdir(parents=True, exist_ok=True)
    for left in file.parent.glob(f".{file.name}.*.new*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    hidden = file.with_name(f".{file.name}.{uuid4().hex}.new")
    try:
        mlflow.MlflowClient(f"sqlite:///{hidden}")
        os.replace(hidden, file)
    finally:
        hidden.unlink(missing_ok=True)


def repair(uri: str) -> int:
    """Let a store that was moved with its ``mlruns`` folder find its runs' and models' files.

    The paths below another ``mlruns`` folder are changed if files of theirs are found beside the
    store.

    Parameters
    ----------
    uri : str
        Anything but a SQLite file that exists is left alone.

    Returns
    -------
    int
        How many paths were changed.
    """
    file = sqlite_file(uri)
    if file is None or not file.exists() or not file.stat().st_size:
        return 0
    own, changed = artifact_folder(file), 0
    with _connected(file) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        places = [
            (table, column, location)
            for table, column in PATHS
            if table in tables
            for (location,) in connection.execute(f"SELECT DISTINCT {column} FROM {table}")
        ]
        apart = [(*place, _apart(place[2])) for place in places]
        moved = {
            found[0] for *_, found in apart
            if found and found[0] != own and found[1].parts and (own / found[1]).exists()
        }  # fmt: skip
        connection.execute("BEGIN IMMEDIATE")
        for table, column, location, found in apart:
            if found is None or found[0] not in moved:
                continue
            now = own / found[1]
            text = now.as_uri() if location.startswith("file:") else str(now)
            changed += connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (text, location)
            ).rowcount
        connection.execute("COMMIT")
    return changed


def _apart(location: str | None) -> tuple[Path, Path] | None:
    """Split a local path into its ``mlruns`` folder and what is below that."""
    if not location or not location.startswith(("file:///", "/")):
        return None
    path = Path(unquote(urlsplit(location).path) if location.startswith("file:") else location)
    if "mlruns" not in path.parts:
        return None
    end = len(path.parts) - path.parts[::-1].index("mlruns")
    return Path(*path.parts[:end]), Path(*path.parts[end:])


def main() -> None:
    """Run the command."""
    uri = sys.argv[1] if len(sys.argv) > 1 else default_uri()
    try:
        check(uri)
        with lock(uri):
            changed = repair(uri)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{uri}: {changed} paths corrected")


if __name__ == "__main__":
    main()
