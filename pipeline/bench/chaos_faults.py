"""The faults that `pipeline.bench.chaos` injects, besides kills; each gives rows of its table."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from pipeline.bench.chaos_runs import (
    HOST,
    Command,
    Place,
    Whole,
    free_port,
    run_pipeline,
    server,
    wait_for,
)

SHARES = (0.2, 0.6, 0.95)  # of what a run writes: the sizes of the disks that fill up
DAY = 86_400
TIMED = ("_history.csv", "report_simulated.html")  # they tell times
# Another time at every half second: up to twelve hours too early or too late.
JUMPING = """
import random, time
_real, _begun = time.time, time.monotonic()
def _jumping():
    step = int(2 * (time.monotonic() - _begun))
    return _real() + 3600 * random.Random(step).uniform(-12, 12)
time.time, time.time_ns = _jumping, lambda: int(_jumping() * 1e9)
"""
SAME = "The same command ends with the bytes of an undisturbed run; nothing is left behind"


@dataclass
class Row:
    """A row of the table.

    Parameters
    ----------
    done, must, happened : str
        The fault, what must hold, and the details.
    faults : list of str
        What does not hold.
    skipped : bool
        Whether it is impossible here; ``happened`` says why.
    """

    done: str
    must: str
    happened: str
    faults: list[str]
    skipped: bool = False

    def line(self) -> str:
        """Give the row in Markdown."""
        result = "LOST" if self.faults else "skipped" if self.skipped else "green"
        lost = "".join(f"; {fault}" for fault in dict.fromkeys(self.faults))
        cells = (self.done, self.must, f"{result}: {self.happened}{lost}")
        return "| " + " | ".join(each.replace("|", "/").replace("\n", " ") for each in cells) + " |"


class UnableError(Exception):
    """A fault that is impossible on this computer."""


@dataclass
class Bench:
    """What all faults share.

    Parameters
    ----------
    folder : Path
        For the runs.
    seed : int
        Of the random moments.
    whole : Whole
        The undisturbed run.
    step : callable
        Called with the progress.
    main : callable
        The program.
    """

    folder: Path
    seed: int
    whole: Whole
    step: Callable[[int], object]
    main: Callable[[], object] = run_pipeline

    def place(self, name: str, folder: Path | None = None, uri: str = "") -> Place:
        """Give an empty folder."""
        base = self.folder / name
        base.mkdir()
        return Place(base, folder, uri, self.main)


def worker(bench: Bench) -> list[Row]:
    """Kill one of two worker processes."""
    place = bench.place("worker")
    command = place.start("workers=2", "train.epochs=20", real=True)

    def workers() -> list[psutil.Process]:
        with suppress(psutil.Error):
            there = psutil.Process(command.pid).children(recursive=True)
            return [each for each in there if "LokyProcess" in " ".join(each.cmdline())]
        return []

    wait_for(lambda: command.status is not None or (place.training() and workers()))
    with suppress(IndexError, psutil.Error):
        workers()[0].kill()
    command.wait()
    faults = command.not_one_line("a worker process was killed")
    again = place.finish("workers=2", "train.epochs=20", real=True)
    other = bench.place("no-worker")
    other.finish("train.epochs=20")
    expected = Whole(other.submissions()[0].read_bytes(), other.files(), {})
    faults += place.faults(expected)
    told = f"status {command.status}, one line; the same command: status {again.status}"
    must = f"One line, status not 0. {SAME}, with one worker or two"
    return [Row("one of two worker processes killed in a training", must, told, faults)]


# ----------------------------------------------------------------------------------------- disks


def mount(*arguments: str) -> None:
    """Mount something; say why if that is impossible."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise UnableError("only root can mount a small disk")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnableError(f"no disk can be mounted: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk of so many bytes."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def full_disk(bench: Bench) -> list[Row]:
    """Let disks of several sizes fill up, then give them more space."""
    must = f"One line that names a file and the reason. With space again: {SAME.lower()}"
    source = bench.folder / "whole" / "work"
    need = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    faults, told = [], []
    for share in SHARES:
        place = bench.place(f"disk{share}")
        with small_disk(place.base / "disk", int(need * share)) as disk:
            place.folder = disk / "work"
            failed = place.finish()
            faults += failed.not_one_line(str(disk), "No space left on device")
            faults += ["a whole submission is missing rows"] * len(
                [p for p in place.submissions() if p.read_bytes() != bench.whole.submission]
            )
            told.append(f"{share:.0%} (full after {(failed.stages or ['the start'])[-1]})")
            mount("-o", f"remount,size={4 * need}", str(disk))
            place.finish()
            faults += place.faults(bench.whole)
    return [Row("disk full: a file system that is too small", must, ", ".join(told), faults)]


def large_file(bench: Bench) -> list[Row]:
    """Forbid files of more than some size: a disk that is full for any user."""
    must = f"One line. Without the limit: {SAME.lower()}"
    source = bench.folder / "whole" / "work"
    sizes = sorted(path.stat().st_size for path in source.rglob("*") if path.is_file())
    limit = sizes[-1] - 1
    place = bench.place("limit")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    failed = place.finish(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)))
    faults = failed.not_one_line("File too large")
    place.finish()
    faults += place.faults(bench.whole)
    told = f"after {(failed.stages or ['the start'])[-1]}: {shown(failed, place)}"
    return [
        Row("no file may be longer than the second longest one (RLIMIT_FSIZE)", must, told, faults)
    ]


def shown(command: Command, place: Place) -> str:
    """Give an error line without the temporary folder's name."""
    line = command.errors[0] if command.errors else "no error line"
    return "`" + line.replace(str(place.files_folder), "").replace(str(place.base), "") + "`"


def read_only(bench: Bench) -> list[Row]:
    """Forbid writing from the start, and amid a training."""
    must = f"One line that names the folder. When it can be written again: {SAME.lower()}"
    rows = []
    for when in ("from the start", "amid a training"):
        place = bench.place(f"read-only-{when.replace(' ', '-')}")
        with small_disk(place.base / "disk", 1 << 28) as disk:
            place.folder = disk / "work"
            place.folder.mkdir()
            if when == "from the start":
                mount("-o", "remount,ro", str(disk))
                command = place.finish()
            else:
                command = place.start("train.epochs=20")
                forbid_amid(command, place, disk)
            faults = command.not_one_line(str(disk), "Read-only file system")
            mount("-o", "remount,rw", str(disk))
            if when == "from the start":
                place.finish()
                faults += place.faults(bench.whole)
            else:
                faults += as_another(bench, place, "train.epochs=20")
        rows.append(Row(f"folder read-only {when}", must, shown(command, place), faults))
    return rows


def forbid_amid(command: Command, place: Place, disk: Path) -> None:
    """Make a disk read-only when a training has begun, and wait for the command's end."""
    wait_for(lambda: command.status is not None or place.training())
    wait_for(lambda: command.status is not None or forbid(disk))
    command.wait()


def forbid(disk: Path) -> bool:
    """Make a disk read-only; False while a file of it is open for writing."""
    try:
        mount("-o", "remount,ro", str(disk))
    except UnableError:
        return False
    return True


def as_another(bench: Bench, place: Place, *more: str) -> list[str]:
    """Give a command again, and compare with an undisturbed one of the same options."""
    place.finish(*more)
    other = bench.place(f"{place.base.name}-undisturbed")
    other.finish(*more)
    return place.faults(Whole(other.submissions()[0].read_bytes(), other.files(), {}))


# --------------------------------------------------------------------------------- damaged files


def damage(bench: Bench) -> list[Row]:
    """Damage one file of each folder at once, after a run that was whole."""
    rows = []
    ways = {"cut short to half": halve, "with one byte flipped, size and time as before": flip}
    random = np.random.default_rng(bench.seed)
    place = bench.place("damage")
    place.finish()
    for number, (way, change) in enumerate(ways.items()):
        whole = place.files()
        folders: dict[str, list[str]] = {}
        for name in whole:
            if not Path(name).name.startswith(".") and not name.endswith(".json"):
                folders.setdefault(Path(name).parent.as_posix(), []).append(name)
        chosen = {str(random.choice(names)) for names in folders.values()}
        chosen |= {name for name in whole if Path(name).name.startswith("submission")}
        for name in chosen:
            change(place.files_folder / name, random)
        damaged = place.files()
        again = place.finish()
        after = place.files()
        faults = place.faults(bench.whole, 2 + number)  # what is trained again has a run of its own
        for name in sorted(chosen):
            kept = name.endswith(TIMED) or after.get(name) == whole[name]
            if after.get(name) == damaged[name] or not kept:
                faults.append(f"{name} stays damaged")
        done = sum(f"{stage:<9}up to date" not in again.said for stage in again.stages)
        told = f"{len(chosen)} files at once, of every folder; {done} stages made files again"
        must = "The same command makes them again, with the same bytes"
        rows.append(Row(f"derived files {way}", must, told, faults))
        bench.step(1)
    return rows


def halve(path: Path, random: np.random.Generator) -> None:
    """Cut a file short."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path, random: np.random.Generator) -> None:
    """Flip the bits of one byte, and leave size and time as they were."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[int(random.integers(len(data)))] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# ------------------------------------------------------------------------------- several at once


def at_once(bench: Bench) -> list[Row]:
    """Give the same command two and four times at once, in one folder."""
    rows = []
    for number in (2, 4):
        place = bench.place(f"at-once{number}")
        commands = [place.start(real=number == 2) for _ in range(number)]
        states = [command.wait() for command in commands]
        faults = [f"status {state}: {command.said[-300:]}"
                  for state, command in zip(states, commands, strict=True) if state]  # fmt: skip
        faults += place.faults(bench.whole, number)
        again = place.finish()
        faults += place.faults(bench.whole, number)
        faults += [f"{stage} was done again" for stage in again.stages
                   if f"{stage:<9}up to date" not in again.said]  # fmt: skip
        parents, children = place.runs()
        told = f"{len(parents)} runs of commands and {len(children)} of trainings, all finished"
        must = "All end with status 0 and the same bytes; every training is done once"
        rows.append(Row(f"{number} equal commands at once in one folder", must, told, faults))
        bench.step(1)
    return rows


# ---------------------------------------------------------------------------------------- MLflow


def mlflow_away(bench: Bench) -> list[Row]:
    """Let MLflow's server be away at the start, and go away amid a training."""
    port = free_port()
    uri, home = f"http://{HOST}:{port}", bench.folder / "server"
    store = home / "runs.db"
    rows = []
    must = (
        "The work is done; one line at the end, status not 0. With the server, the same command "
        "records one finished run with all trainings"
    )

    def kept(command: Command, place: Place) -> list[str]:
        """Say what is wrong where the work is done and the store is away."""
        faults = command.not_one_line(uri)
        if [path.read_bytes() for path in place.submissions()] != [bench.whole.submission]:
            faults.append("another submission")
        return faults

    away = bench.place("away", uri=uri)
    failed = away.finish()
    faults = kept(failed, away)
    with server(home, port):
        away.finish()
        faults += away.faults(bench.whole) + recorded(away, store, 1)
        rows.append(Row("MLflow's server away at the start", must, shown(failed, away), faults))
        bench.step(1)
        amid = bench.place("amid", uri=uri)
        command = amid.start()
        wait_for(lambda: command.status is not None or amid.training())
    command.wait()  # the server is killed
    faults = kept(command, amid)
    with server(home, port):
        amid.finish()
        faults += amid.faults(bench.whole) + recorded(amid, store, 2)
    rows.append(Row("MLflow's server killed amid a training", must, shown(command, amid), faults))
    return rows


def recorded(place: Place, store: Path, commands: int) -> list[str]:
    """Say what is wrong with the runs of so many commands, each with four trainings."""
    parents, children = place.runs(store)
    if (len(parents), len(children)) != (commands, 4 * commands) or {*parents, *children} != {
        "FINISHED"
    }:
        return [f"runs: {parents}, trainings: {children}"]
    return []


# ----------------------------------------------------------------------------------------- clock


def clock(bench: Bench) -> list[Row]:
    """Let the clock jump amid a run; let files be of tomorrow, or of years ago."""
    place = bench.place("clock")
    site = place.base / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPING, encoding="utf-8")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    how = {"real": True, "environment": {"PYTHONPATH": path}}
    command = place.start(**how)
    wait_for(lambda: command.status is not None or place.training())
    command.kill()
    again = place.finish(**how)
    faults = place.faults(bench.whole)
    told = f"status {again.status}; killed amid a training and given again meanwhile"
    done = "the clock jumps by up to 12 hours, twice a second (`time.time` of the program)"
    rows = [Row(done, SAME, told, faults)]
    bench.step(1)
    faults, told = [], ""
    for name, shift in (("tomorrow", DAY), ("ten years ago", -3650 * DAY)):
        for file in place.files_folder.rglob("*"):
            os.utime(file, (time.time() + shift, time.time() + shift))
        again = place.finish()
        faults += place.faults(bench.whole)
        faults += [f"{name}: {stage} was done again" for stage in again.stages
                   if f"{stage:<9}up to date" not in again.said]  # fmt: skip
    told = "every stage was up to date"
    must = "The same command does nothing again, and gives the same bytes"
    return [*rows, Row("all files dated tomorrow, then ten years ago", must, told, faults)]


FAULTS: dict[str, tuple[Callable[[Bench], list[Row]], int]] = {
    "worker": (worker, 1), "full_disk": (full_disk, 1), "large_file": (large_file, 1),
    "read_only": (read_only, 2), "damage": (damage, 2), "at_once": (at_once, 2),
    "mlflow": (mlflow_away, 2), "clock": (clock, 2),
}  # fmt: skip
