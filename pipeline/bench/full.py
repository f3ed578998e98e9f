"""The whole competition, from CSV files to a submission: time and memory of every stage.

``python -m pipeline.bench.full [recipes=a,b] [subjects=3,6,12] [workers=2] [folder=DIR]
[missing=true] [overrides]`` simulates the CSV files of so many subjects once. Then it gives each
recipe's command for each size, as a user does, with nothing derived beforehand, and looks at the
memory of its processes. Each stage's row is in ``docs/scale.md`` as soon as it is done. A whole run
takes the place of an earlier one of the same recipe, size and number of workers. The cost model is
fitted anew on all rows that are there.

``parts=1/4,1/2,1`` names the sizes as parts of the twelve subjects. ``missing=true`` leaves out
runs that are in the table. ``folder=`` keeps the CSV files for the next time, in ``bench-full``
below it. With overrides nothing is written into the document.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.bench import cost_model, measured_runs
from pipeline.bench.arguments import run_command
from pipeline.bench.document import machine, read_between, write_between
from pipeline.bench.measured_runs import MEMBERS, WHOLE, Measure, Run
from pipeline.bench.methods import COMPARED
from pipeline.bench.process_tree import Peak, Watch
from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.data.simulator.options import MOST_SUBJECTS
from pipeline.errors import ConfigError, PipelineError
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "scale.md"
RECIPES = ("lstm", "semi_markov", "hybrid", "stack")
SIMULATE = "simulate"
PROGRAM = (sys.executable, "-u", "-m", "pipeline")
# Minutes and GiB of each recipe at full size.
AIMS = {"lstm": (15.0, 4.0), "semi_markov": (15.0, math.inf), "stack": (40.0, 6.0)}
DONE = re.compile(r"(\w+) +(?:(\d+) done(?:, \d+ up to date)? in ([\d.]+) s|up to date \()")
RUNS, SUMMARY, MODEL = "full-runs", "full", "cost-model"  # markers of the document


@dataclass(frozen=True)
class Wanted:
    """What a command line asks for."""

    recipes: tuple[str, ...]
    subjects: tuple[int, ...]
    workers: tuple[int, ...]
    folder: Path | None
    missing: bool
    overrides: tuple[str, ...]


def _whole_numbers(argument: str, value: str, most: int | None = None) -> tuple[int, ...]:
    """Read ``3,6,12``."""
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", value):
        raise ConfigError(f"{argument}: give whole numbers above 0, as 3,6,12")
    numbers = tuple(int(each) for each in value.split(","))
    if most is not None and max(numbers) > most:
        raise ConfigError(f"{argument}: there are {most} subjects")
    return numbers


def _subjects_of(argument: str, value: str) -> tuple[int, ...]:
    """Read ``1/4,1/2,1``, parts of all subjects."""
    try:
        counts = [Fraction(each) * MOST_SUBJECTS for each in value.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{argument}: give parts, as 1/4,1/2,1") from error
    if any(each.denominator != 1 or not 1 <= each <= MOST_SUBJECTS for each in counts):
        raise ConfigError(f"{argument}: each part must be some of {MOST_SUBJECTS} whole subjects")
    return tuple(int(each) for each in counts)


def options(arguments: Sequence[str]) -> Wanted:
    """Read a command line.

    Raises
    ------
    ConfigError
        Naming the argument that cannot be.
    """
    recipes: tuple[str, ...] = RECIPES
    subjects: tuple[int, ...] = (3, 6, MOST_SUBJECTS)
    workers: tuple[int, ...] = (cores(),)
    folder, missing, overrides = None, False, []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "recipes":
            recipes = tuple(value.split(","))
            if unknown := [each for each in recipes if each not in COMPARED]:
                raise ConfigError(f"recipes={','.join(unknown)}: choose from {', '.join(COMPARED)}")
        elif key == "subjects":
            subjects = _whole_numbers(argument, value, MOST_SUBJECTS)
        elif key == "parts":
            subjects = _subjects_of(argument, value)
        elif key == "workers":
            workers = _whole_numbers(argument, value)
        elif key == "folder" and value:
            folder = Path(value).expanduser().resolve()
        elif key == "missing" and value in ("true", "false"):
            missing = value == "true"
        elif key in ("recipe", "subject", "part", "worker"):
            raise ConfigError(f"{argument}: write {key}s=")
        elif key in ("folder", "missing"):
            raise ConfigError(f"{argument}: give folder=DIR, or missing=true or false")
        else:
            overrides.append(argument)
    return Wanted(recipes, subjects, workers, folder, missing, tuple(overrides))


class Bench:
    """Gives commands whose data lie in one folder.

    Parameters
    ----------
    folder : Path
        Where.
    overrides : sequence of str
        For each command.
    """

    def __init__(self, folder: Path, overrides: Sequence[str]) -> None:
        self.folder, self.overrides = folder, overrides
        folder.mkdir(parents=True, exist_ok=True)
        self.derived = folder / "data" / "derived" / "simulated"

    def command(self, recipe: str, subjects: int, workers: int) -> list[str]:
        """Give the arguments of ``python -m pipeline``."""
        return [
            f"experiment={recipe}", "dataset=simulated", f"dataset.simulation.subjects={subjects}",
            "dataset.simulation.trials=0", f"workers={workers}", "device=cpu",
            f"data_dir={self.folder / 'data'}", f"output_dir={self.folder / 'outputs'}",
            f"tracking.uri=sqlite:///{self.folder / 'runs.db'}", *self.overrides,
        ]  # fmt: skip

    def clear(self) -> None:
        """Remove all but the CSV files."""
        for path in self.derived.iterdir() if self.derived.is_dir() else []:
            if not path.name.startswith(f"{SIMULATE}-"):
                shutil.rmtree(path)
        for path in (self.folder / "outputs", self.folder / "mlruns"):
            shutil.rmtree(path, ignore_errors=True)
        (self.folder / "runs.db").unlink(missing_ok=True)

    def rows(self) -> int:
        """Count the recorded rows that were read."""
        signals = self.derived.glob("ingest-*/*_signal.npy")
        return sum(np.load(path, mmap_mode="r").shape[0] for path in signals)

    def measure(self, recipe: str, subjects: int, workers: int) -> Iterator[Run]:
        """Give a recipe's command, and its run so far after each stage.

        Raises
        ------
        PipelineError
            If the command fails; it has said why.
        """
        self.clear()
        run: Run | None = None
        peak, between = Peak(), 0.0
        begun = time.monotonic()
        with self._started(self.command(recipe, subjects, workers)) as (lines, watch):
            of_members = False
            for line in lines:
                print(line, end="", flush=True)
                if line.startswith("member "):
                    of_members = True
                if not (found := DONE.match(line)):
                    continue
                stage, tasks, seconds = found[1], int(found[2] or 0), float(found[3] or 0)
                of_members = of_members and stage != "stack"
                if stage == SIMULATE:  # files that are missing, or of other code
                    begun += seconds
                    watch.take()
                if stage == SIMULATE or not tasks:
                    continue
                name = f"{MEMBERS}{stage}" if of_members else stage
                run = run or Run(recipe, subjects, workers, self.rows())
                looked = watch.take()
                peak, between = peak.joined(looked), between + seconds
                run.add(Measure(name, tasks, seconds, looked.tree, looked.root, looked.child))
                yield run
            looked = watch.take()
        whole = time.monotonic() - begun
        if run is None:
            raise PipelineError(f"{recipe}: its command did no stage")
        rest = max(0.0, whole - between)
        run.add(Measure("other", 1, rest, looked.tree, looked.root, looked.child))
        peak = peak.joined(looked)
        run.add(Measure(WHOLE, 0, whole, peak.tree, peak.root, peak.child))
        yield run

    def simulate(self, subjects: int, workers: int) -> Run | None:
        """Write the CSV files; None if they are there already."""
        arguments = [*self.command("lstm", subjects, workers), f"stage={SIMULATE}"]
        begun, tasks, place = time.monotonic(), 0, self.folder
        with self._started(arguments) as (lines, watch):
            for line in lines:
                print(line, end="", flush=True)
                found = DONE.match(line)
                tasks += int(found[2] or 0) if found else 0
                if line.strip():
                    place = Path(line.strip())  # the last line names the folder
            peak = watch.take()
        seconds = time.monotonic() - begun
        for path in self.derived.glob(f"{SIMULATE}-*"):
            if path.name != place.name:  # of other code, or other options
                shutil.rmtree(path)
        if not tasks:
            return None
        # A line per row, and a header.
        rows = sum(_lines(path) - 1 for path in place.glob("*/*_data.csv"))
        run = Run(SIMULATE, subjects, workers, rows)
        run.add(Measure(WHOLE, tasks, seconds, peak.tree, peak.root, peak.child))
        return run

    @contextmanager
    def _started(self, arguments: Sequence[str]) -> Iterator[tuple[Iterator[str], Watch]]:
        """Start a command; give its lines as they come, and what watches its memory."""
        print("python -m pipeline", *arguments, flush=True)
        child = subprocess.Popen(
            [*PROGRAM, *arguments], cwd=PROJECT,
            stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        assert child.stdout is not None
        watch = Watch(child.pid)
        try:
            yield iter(child.stdout), watch
        except BaseException:
            child.terminate()  # it leaves what is done, and ends its workers
            raise
        finally:
            child.wait()
            watch.close()
            child.stdout.close()
        if child.returncode:
            raise PipelineError(f"the command failed with exit status {child.returncode}")


def _lines(path: Path) -> int:
    """Count the lines of a file."""
    count = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
    return count


@cache
def members_of(recipe: str) -> int:
    """Count a stack's members; 1 for any other recipe."""
    members = compose([f"experiment={recipe}", "dataset=simulated"]).stack.members
    return max(1, len(members or []))


def written(runs: Sequence[Run]) -> dict[str, str]:
    """Write all that the document says of these runs, by its markers."""
    order = (SIMULATE, *RECIPES)
    text = measured_runs.write(runs, order)
    ordered = measured_runs.read(text)
    recipes = {run.recipe for run in runs} - {SIMULATE}
    members = {recipe: members_of(recipe) for recipe in recipes}
    fitted = [run for run in ordered if run.recipe in recipes]
    return {
        SUMMARY: measured_runs.summary(ordered, AIMS, MOST_SUBJECTS)
        + f"\n{machine(cores())}; each row was measured on the day that the table below names.\n",
        RUNS: text,
        MODEL: cost_model.report(fitted, members, MOST_SUBJECTS),
    }


def measure_all(wanted: Wanted, folder: Path, keep: Callable[[Run], None]) -> None:
    """Measure what is wanted and not there, the small sizes first."""
    there = {run.key for run in measured_runs.read(read_between(DOC, RUNS)) if run.whole}
    bench = Bench(folder, wanted.overrides)
    made = bench.simulate(max(wanted.subjects), max(wanted.workers))
    if made:
        keep(made)
    for workers in wanted.workers:
        for subjects in sorted(wanted.subjects):
            for recipe in wanted.recipes:
                known = (recipe, subjects, workers) in there
                if known and wanted.missing:
                    continue
                for run in bench.measure(recipe, subjects, workers):
                    if run.whole or not known:  # a whole run stays until there is another
                        keep(run)
    bench.clear()


def main(arguments: Sequence[str]) -> None:
    """Measure, and write each row as soon as it is there.

    Parameters
    ----------
    arguments : sequence of str
        See the module.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = options(arguments)
    runs: list[Run] = []
    if not wanted.overrides:
        runs = measured_runs.read(read_between(DOC, RUNS))

    def keep(run: Run) -> None:
        runs[:] = measured_runs.replaced(runs, run)
        if run.whole:
            print(f"\n{run.lines()}", flush=True)
        if not wanted.overrides:
            for marker, text in written(runs).items():
                write_between(DOC, marker, text)

    if wanted.folder:
        measure_all(wanted, wanted.folder / "bench-full", keep)
    else:
        with TemporaryDirectory(prefix="bench-full-", ignore_cleanup_errors=True) as folder:
            measure_all(wanted, Path(folder), keep)
    print("\n".join(written(runs).values()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the command is ended, too
    try:
        run_command(main)
    except KeyboardInterrupt:
        sys.exit("stopped; give missing=true to leave out what is in the table")
