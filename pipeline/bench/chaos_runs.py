"""Commands that are killed and given again, for `pipeline.bench.chaos`.

Most commands are forked from a process that has loaded all modules already, so that a fault meets
the stages and not the imports. From there on they are ``python -m pipeline``, in a process group of
their own.
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import re
import runpy
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.config.paths import PROJECT

# Two subjects with three short series each, and a checkpoint after each batch.
SMALL = (
    "dataset=simulated", "experiment=lstm", "dataset.simulation.subjects=2",
    "dataset.simulation.series=3", "dataset.simulation.trials=3", "dataset.train_series=[1]",
    "dataset.valid_series=[2]", "dataset.test_series=[3]", "filter.lowpass_hz=[1,5]",
    "filter.power_bands_hz=[]", "filter.decimate=25", "model.hidden=6", "model.projection=3",
    "window.length=20", "window.batch=2", "window.burn_in=0", "train.epochs=2",
    "train.checkpoint_seconds=0", "device=cpu", "workers=1",
)  # fmt: skip
EXACT = (".npy", ".npz", ".pt", ".png", ".csv")  # but not histories: they tell times
LIMIT = 1200.0  # s, after which a command counts as hanging
POLL = 0.005  # s
STAGE_LINE = re.compile(r"^(\w+) +(?:up to date|\d+ done)", re.MULTILINE)
HOST = "127.0.0.1"


class HangsError(Exception):
    """What was waited for did not come."""


def wait_for(there: Callable[[], object], every: float = POLL) -> None:
    """Wait until something is there."""
    limit = time.monotonic() + LIMIT
    while not there():
        if time.monotonic() > limit:
            raise HangsError
        time.sleep(every)


def digest(path: Path) -> str:
    """Digest a file's bytes, now: what is remembered of them would be inherited by a fork."""
    return hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def run_pipeline() -> None:
    """Be ``python -m pipeline``."""
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)


def _forked(main: Callable[[], object], arguments: list[str], log: Path, before: Any) -> None:
    """Be the command: the process that was forked."""
    os.setsid()
    tqdm.set_lock(multiprocessing.RLock())
    vars(tqdm).get("_instances", set()).clear()  # the bench's bar would move those of the command
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(log / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2)
    )
    sys.argv = ["pipeline", *arguments]
    os.chdir(PROJECT)
    (log / "begun").touch()
    if before is not None:
        before()
    try:
        main()
    finally:
        loaded = "\n".join(sorted(sys.modules))
        (log / "modules").write_text(loaded, encoding="utf-8")


def preload(log: Path) -> None:
    """Import what a command has loaded, so that those that are forked need not."""
    for name in (log / "modules").read_text(encoding="utf-8").split():
        if not name.startswith("_"):
            with suppress(Exception):  # one that can be imported only from within another
                importlib.import_module(name)


class Command:
    """A command in a process group of its own.

    Parameters
    ----------
    arguments : sequence of str
        Overrides.
    log : Path
        A folder for what it says.
    real : bool
        Start ``python -m pipeline`` afresh, instead of a fork.
    environment : dict, optional
        Added to that of a real one.
    before : callable, optional
        Called first in a fork.
    main : callable
        What a fork runs.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, real: bool = False,
        environment: dict[str, str] | None = None, before: Callable[[], None] | None = None,
        main: Callable[[], object] = run_pipeline,
    ) -> None:  # fmt: skip
        self.log = log
        log.mkdir(parents=True)
        self._process: Any = None
        if real:
            with open(log / "out", "wb") as out, open(log / "err", "wb") as err:
                self._popen = subprocess.Popen(
                    [sys.executable, "-m", "pipeline", *arguments], stdout=out, stderr=err,
                    cwd=PROJECT, start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                )  # fmt: skip
            self.pid = self._popen.pid
            return
        self._process = multiprocessing.get_context("fork").Process(
            target=_forked, args=(main, list(arguments), log, before)
        )
        self._process.start()
        self.pid = self._process.pid
        wait_for(lambda: (log / "begun").exists() or self.status is not None)

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._popen.poll() if self._process is None else self._process.exitcode

    def kill(self) -> None:
        """Kill the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for the end; give the exit status."""
        wait_for(lambda: self.status is not None)
        return int(self.status or 0)

    @property
    def stages(self) -> list[str]:
        """The stages that it has said to be done."""
        return STAGE_LINE.findall((self.log / "out").read_text(encoding="utf-8"))

    @property
    def said(self) -> str:
        """Everything that it said."""
        return "".join((self.log / name).read_text(encoding="utf-8") for name in ("out", "err"))

    @property
    def errors(self) -> list[str]:
        """Its error lines."""
        text = (self.log / "err").read_text(encoding="utf-8")
        lines = re.split(r"[\r\n]+|\x1b\[A", text)
        return [line for line in lines if line.startswith("error:")]

    def not_one_line(self, *words: str) -> list[str]:
        """Say what is wrong with how it failed: it must do so in one line, with these words."""
        found = []
        if self.status in (0, None):
            found.append("the command did not fail")
        if len(self.errors) != 1 or "Traceback" in self.said:
            found.append(f"not one line: {self.said[-300:]!r}")
        elif not all(word in self.errors[0] for word in words):
            found.append(f"another line: {self.errors[0]}")
        return found


def durations(command: Command) -> dict[str, float]:
    """Wait for an undisturbed command; give the seconds up to each stage's line, and to its end."""
    begun, taken = time.monotonic(), dict[str, float]()
    while True:
        ended = command.status is not None
        for stage in command.stages[len(taken) :]:
            taken[stage] = time.monotonic() - begun
            begun = time.monotonic()
        if ended:
            return taken | {"recording": time.monotonic() - begun}
        time.sleep(POLL)


@dataclass
class Whole:
    """An undisturbed run.

    Parameters
    ----------
    submission : bytes
        What it submits.
    files : dict of str to str
        Each file that it made, and its bytes' digest.
    seconds : dict of str to float
        From one stage's end to that of the next.
    """

    submission: bytes
    files: dict[str, str]
    seconds: dict[str, float]


@dataclass
class Place:
    """A folder for commands, with a store of runs beside it.

    Parameters
    ----------
    base : Path
        For the logs and the store.
    folder : Path, optional
        For data and outputs, if elsewhere.
    uri : str
        Of the store, if it is no file in ``base``.
    main : callable
        What a forked command runs.
    """

    base: Path
    folder: Path | None = None
    uri: str = ""
    main: Callable[[], object] = run_pipeline
    commands: list[Command] = field(default_factory=list)

    @property
    def files_folder(self) -> Path:
        """Where data and outputs are."""
        return self.folder or self.base / "work"

    @property
    def store(self) -> Path:
        """The file of the store."""
        return self.base / "runs.db"

    def start(self, *more: str, **how: Any) -> Command:
        """Start a command."""
        arguments = [
            *SMALL, f"data_dir={self.files_folder / 'data'}",
            f"output_dir={self.files_folder / 'outputs'}",
            f"tracking.uri={self.uri or f'sqlite:///{self.store}'}", *more,
        ]  # fmt: skip
        log = self.base / f"log{len(self.commands)}"
        self.commands.append(Command(arguments, log, main=self.main, **how))
        return self.commands[-1]

    def finish(self, *more: str, **how: Any) -> Command:
        """Run a command to its end."""
        command = self.start(*more, **how)
        command.wait()
        return command

    def submissions(self) -> list[Path]:
        """Give the submission, or nothing."""
        return list(self.files_folder.glob("outputs/*/*/submission_*.csv"))

    def files(self) -> dict[str, str]:
        """Digest each file of data and outputs."""
        return {
            path.relative_to(self.files_folder).as_posix(): digest(path)
            for path in sorted(self.files_folder.rglob("*"))
            if path.is_file() or path.name.startswith(".")
        }

    def training(self) -> bool:
        """Tell whether a training has begun: its scratch folder has files."""
        return any(self.files_folder.glob("data/derived/*/train-*/.subj*resume*/*"))

    def runs(self, store: Path | None = None) -> tuple[list[str], list[str]]:
        """Give the states of the runs of commands and of those of trainings."""
        with closing(sqlite3.connect(store or self.store)) as connection:
            rows = connection.execute(
                "SELECT status, (SELECT count(*) FROM tags WHERE tags.run_uuid = runs.run_uuid "
                "AND key = 'mlflow.parentRunId') FROM runs"
            ).fetchall()
        return [state for state, n in rows if not n], [state for state, n in rows if n]

    def models(self, store: Path | None = None) -> int:
        """Count the logged models."""
        with closing(sqlite3.connect(store or self.store)) as connection:
            return connection.execute("SELECT count(*) FROM logged_models").fetchone()[0]

    def faults(self, whole: Whole, commands: int = 1) -> list[str]:
        """Say what is not as after an undisturbed run, where the last command has ended.

        Parameters
        ----------
        whole : Whole
            The undisturbed run.
        commands : int
            How many may have a run of their own.
        """
        found = []
        if self.commands[-1].status != 0:
            found.append(f"the last command failed: {self.commands[-1].said[-300:]!r}")
        sent = self.submissions()
        if len(sent) != 1 or sent[0].read_bytes() != whole.submission:
            found.append("another submission")
        files = self.files()
        names = set(files)
        if other := sorted(
            name
            for name in names & set(whole.files)
            if name.endswith(EXACT) and "_history" not in name and files[name] != whole.files[name]
        ):
            found.append(f"other bytes: {', '.join(other[:3])}")
        if more := sorted(names - set(whole.files)):
            found.append(f"left behind: {', '.join(more[:3])}")
        if less := sorted(set(whole.files) - names):
            found.append(f"missing: {', '.join(less[:3])}")
        if hidden := [path.name for path in self.base.glob(".*")]:
            found.append(f"left beside the store: {', '.join(hidden)}")
        if not self.uri:
            parents, children = self.runs()
            if not 1 <= len(parents) <= commands or {*parents, *children} != {"FINISHED"}:
                found.append(f"runs: {parents}, trainings: {children}")
            if not 1 <= self.models() <= commands:
                found.append(f"{self.models()} logged models")
        return found


def free_port() -> int:
    """Give a port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """Let MLflow's server run in a folder; at the end it is killed."""
    folder.mkdir(exist_ok=True)
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", HOST,
                "--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'runs.db'}",
                "--serve-artifacts", "--artifacts-destination", str(folder / "files"),
            ],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true",
                 "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        wait_for(lambda: answers(port), 0.2)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    """Tell whether MLflow's server answers."""
    try:
        urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=30).close()
    except OSError:
        return False
    return True
