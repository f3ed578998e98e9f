"""Inject faults into real runs, and see what is lost.

``python -m pipeline.bench.chaos [kills=60] [seed=0] [only=NAME,NAME]`` kills commands, their
workers and MLflow's server, fills disks, damages files and turns the clock. Then it gives the same
command again, and compares with an undisturbed run. It writes two tables into
``docs/reliability.md``: one for the kills, one for all other faults. ``only`` chooses some faults;
a table is written when all of its faults were chosen. Everything is simulated, in a temporary
folder, and all servers stay on this computer.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from pipeline.bench.chaos_faults import FAULTS, SAME, Bench, Row, UnableError
from pipeline.bench.chaos_runs import (
    Command,
    HangsError,
    Place,
    Whole,
    durations,
    preload,
    wait_for,
)
from pipeline.bench.document import machine, write_between
from pipeline.config.paths import PROJECT
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "reliability.md"
KILLS_PER_ROUND = 10
TABLES = {"kills": ["kills"], "faults": [*FAULTS]}  # of `DOC`, by their markers
HEAD = "| fault | what must hold | what happened |\n|---|---|---|\n"


def undisturbed(place: Place) -> Whole:
    """Run it once to load what a command loads, and once more to see what it does."""
    first = Place(place.base / "first")
    first.base.mkdir(parents=True)
    command = first.finish()
    if command.status != 0:
        sys.exit(f"error: the undisturbed run failed: {command.said[-2000:]}")
    preload(command.log)
    shutil.rmtree(first.files_folder)
    seconds = durations(place.start())
    whole = Whole(place.submissions()[0].read_bytes(), place.files(), seconds)
    if faults := place.faults(whole):
        sys.exit(f"error: the undisturbed run: {faults}")
    return whole


# ---------------------------------------------------------------------------------------- killed


def kill_within(command: Command, before: int, seconds: float) -> str | None:
    """Kill a command some time after so many of its stages; say after which stage it was.

    Returns
    -------
    str or None
        The stage that it said last; None if it ended before.
    """
    wait_for(lambda: command.status is not None or len(command.stages) >= before)
    until = time.monotonic() + seconds
    wait_for(lambda: command.status is not None or time.monotonic() >= until)
    if command.status is not None:
        return None
    stages = command.stages
    command.kill()
    return stages[-1] if stages else ""


def kills(bench: Bench, wanted: int) -> list[Row]:
    """Kill commands in rounds: again and again at later moments, until one comes through."""
    seconds = list(bench.whole.seconds.values())
    names = list(bench.whole.seconds)
    after = {"": names[0]} | dict(pairwise(names))
    landed: Counter[str] = Counter(dict.fromkeys(names, 0))
    faults: list[str] = []
    rounds = 0
    random = np.random.default_rng(bench.seed)
    while (left := wanted - landed.total()) > 0:
        place = bench.place(f"kills{rounds}")
        rounds += 1
        for stage in sorted(random.integers(0, len(seconds), min(left, KILLS_PER_ROUND))):
            command = place.start()
            last = kill_within(command, stage, random.uniform(0, seconds[stage]))
            if last is None:
                break
            landed[after[last]] += 1
            bench.step(1)
        place.finish()
        faults += [f"round {rounds}: {each}" for each in place.faults(bench.whole)]
        if not faults:
            shutil.rmtree(place.base)
    told = ", ".join(f"{name} {count}" for name, count in landed.items())
    must = f"{SAME}; one finished run and one model in MLflow"
    done = f"{landed.total()} SIGKILLs of the whole process group, in {rounds} rounds"
    return [Row(done, must, f"kills by stage: {told}", faults)]


def inject(
    folder: Path, chosen: list[str], wanted: int, seed: int
) -> Iterator[tuple[str, list[Row]]]:
    """Inject faults, one after another.

    Parameters
    ----------
    folder : Path
        Empty.
    chosen : list of str
        ``kills`` and keys of `FAULTS`.
    wanted : int
        How many kills.
    seed : int
        Of the random moments and bytes.

    Yields
    ------
    str
        The name of a fault.
    list of Row
        What came of it.
    """
    total = 2 + sum(wanted if name == "kills" else FAULTS[name][1] for name in chosen)
    layout = "{desc:<10}{percentage:3.0f}%|{bar:24}| {n}/{total} {elapsed}<{remaining}"
    with tqdm(total=total, desc="whole", bar_format=layout, leave=False) as bar:
        place = Place(folder / "whole")
        place.base.mkdir()
        bench = Bench(folder, seed, undisturbed(place), bar.update)
        bar.update(2)
        for name in chosen:
            bar.set_description_str(name)
            at, weight = bar.n, wanted if name == "kills" else FAULTS[name][1]
            try:
                made = kills(bench, wanted) if name == "kills" else FAULTS[name][0](bench)
            except UnableError as reason:
                made = [Row(name.replace("_", " "), SAME, str(reason), [], True)]
            except HangsError:
                made = [Row(name.replace("_", " "), SAME, "", ["it hangs"])]
            except Exception as error:  # the other faults are worth seeing
                what = f"cannot be looked at: {type(error).__name__}: {error}"
                made = [Row(name.replace("_", " "), SAME, "", [what])]
            for row in made:
                bar.write(row.line())
            bar.update(at + weight - bar.n)
            yield name, made


def write_tables(rows: dict[str, list[Row]], only: list[str], measured: str) -> None:
    """Write the tables of which all faults were chosen, and say which ones are still to come."""
    for table, names in TABLES.items():
        if set(names) <= set(only) and set(names) & set(rows):
            lines = "".join(f"{row.line()}\n" for name in names for row in rows.get(name, []))
            left = ", ".join(name.replace("_", " ") for name in names if name not in rows)
            more = f"; not injected: {left}" if left else ""
            write_between(DOC, table, f"{HEAD}{lines}\n{measured}{more}.\n")


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line.

    Returns
    -------
    int
        0 if every row is green or skipped, else 1; 2 for a wrong argument.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tqdm.monitor_interval = 0  # no thread: commands are forked from this process
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    numbers, only = {"kills": 60, "seed": 0}, ["kills", *FAULTS]
    for argument in sys.argv[1:] if arguments is None else arguments:
        key, _, value = argument.partition("=")
        if key in numbers and value.isdecimal():
            numbers[key] = int(value)
        elif key == "only" and set(value.split(",")) <= {"kills", *FAULTS}:
            only = value.split(",")
        else:
            names = ",".join(["kills", *FAULTS])
            print(f"error: {argument}: give kills=N, seed=N or only={names}", file=sys.stderr)
            return 2
    begun, rows = time.monotonic(), {}
    with TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as base:
        for name, made in inject(Path(base), only, numbers["kills"], numbers["seed"]):
            rows[name] = made
            minutes = (time.monotonic() - begun) / 60
            measured = f"{machine(cores())}, seed {numbers['seed']}, {minutes:.0f} minutes"
            write_tables(rows, only, measured)  # now: what follows may be cut off
    return 1 if any(row.faults for made in rows.values() for row in made) else 0


if __name__ == "__main__":
    sys.exit(main())
