"""Whether a live stream's memory grows over an hour of signal.

``python -m pipeline.bench.live_memory [recipes=a,b] [minutes=60] [overrides]`` fits each recipe in
haste (see `pipeline.bench.live`), in a process of its own, and pushes a signal through it as fast
as it can be computed, in chunks of a second. It writes the lines of these recipes into
``docs/live.md`` and keeps those of the others.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import read_between, renewed, write_between
from pipeline.bench.live import DOC, RECIPES, TRIALS, fit_in_haste, in_haste, simulated
from pipeline.errors import ConfigError
from pipeline.serving.stream import Stream

MARK = "memory"
MINUTES = 60.0
# Until then the C library may keep more of the memory that arrays have given back.
WARM_MINUTES = 10.0
HEAD = [
    "| recipe | minutes of signal | resident, MiB: after 10 minutes | at the end | growth "
    "| measured |",
    "|---|--:|--:|--:|--:|---|",
]


def resident_mib() -> float:
    """Give the memory that this process holds now; nan where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_while_pushed(stream: Stream, signal: np.ndarray, minutes: float) -> list[float]:
    """Push so many minutes of signal, which is repeated; give the memory after each one, in MiB."""
    rate, resident = round(stream.recipe.about.rate), []
    for second in range(round(60 * minutes)):
        at = second * rate % (len(signal) - rate)
        stream.push(signal[at : at + rate])
        if second % 60 == 59:
            resident.append(resident_mib())
    return resident


def measure(recipe: str, minutes: float, overrides: list[str]) -> list[float]:
    """Fit a recipe, and give the memory after each minute of signal, in MiB."""
    recordings = [simulated(number, TRIALS) for number in (1, 2, 3)]
    with TemporaryDirectory() as folder:
        fitted = fit_in_haste(in_haste(recipe, overrides), recordings[:2], Path(folder) / "recipe")
    stream = Stream(fitted, recordings[0].subject)
    return resident_while_pushed(stream, recordings[2].signal, minutes)


def line(recipe: str, resident: list[float]) -> str:
    """Write a recipe's line of the table."""
    warm, end = resident[round(WARM_MINUTES) - 1], resident[-1]
    return (
        f"| `{recipe}` | {len(resident)} | {warm:.1f} | {end:.1f} | {end - warm:+.1f} "
        f"| {date.today():%Y-%m-%d} |"
    )


def main(arguments: list[str]) -> None:
    """Measure recipes one after the other, and write each one's line as soon as it is there.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for some of them; ``minutes=N``, more than 10; all else as on the
        pipeline's command line.
    """
    mark = "minutes="
    given = [each.removeprefix(mark) for each in arguments if each.startswith(mark)]
    minutes = float(given[-1]) if given and given[-1].isdecimal() else MINUTES if not given else 0
    if minutes <= WARM_MINUTES:
        raise ConfigError(f"minutes={given[-1]}: must be a whole number above {WARM_MINUTES:g}")
    rest = [each for each in arguments if not each.startswith(mark)]
    recipes, overrides = chosen_recipes(rest, RECIPES, RECIPES)
    for recipe in recipes:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            made = line(recipe, alone.submit(measure, recipe, minutes, overrides).result())
        print(made, flush=True)
        if not overrides:
            rows = renewed(read_between(DOC, MARK).splitlines(), [made], RECIPES)
            write_between(DOC, MARK, "\n".join([*HEAD, *rows, ""]))


if __name__ == "__main__":
    run_command(main)
