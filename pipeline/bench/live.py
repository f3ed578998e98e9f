"""How long each recipe takes for a chunk of a live signal.

``python -m pipeline.bench.live [recipes=a,b] [overrides]`` fits every recipe at its full size, but
briefly and on a few simulated trials: the time of a prediction does not depend on its quality. Then
it pushes signals through a `pipeline.serving.stream.Stream` and prints a table. If all recipes were
measured, it writes the table into ``docs/live.md``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import machine, write_between
from pipeline.config.compose import compose, compose_members, reading
from pipeline.config.options import Config, is_read, plain
from pipeline.config.paths import CONF, PROJECT
from pipeline.data.recording import Description, Recording
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.detectors.base import FitData
from pipeline.detectors.registry import METHODS
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.member_logits import side_by_side
from pipeline.features.registry import make_features
from pipeline.serving.fitted_recipe import FittedRecipe, export
from pipeline.serving.stream import Stream
from pipeline.work.machine import cores, threads

DOC = PROJECT / "docs" / "live.md"
RECIPES = tuple(sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
TRIALS = 5  # of each of the two series that a recipe is fitted on
CHUNK = 10  # samples
TIMED = 3000  # chunks: a minute
# A short fit; none of these changes a detector's size.
HASTE = ("method.updates=1", "method.iterations=3", "train.epochs=1")
# A smaller batch, because the series here are short.
SHORT = {"paszke2015_default": ("window.batch=5",)}


def fit_in_haste(config: Config, recordings: list[Recording], folder: Path) -> FittedRecipe:
    """Fit a recipe briefly, whatever its quality, and export it.

    Parameters
    ----------
    config : Config
        The recipe.
    recordings : list of Recording
        Of one subject, to fit on. The second level of a stack is fitted on predictions of series
        that its members learned from: good enough to measure time.
    folder : Path
        A new folder; `FittedRecipe.load` reads it.
    """
    about, subject = recordings[0].about, recordings[0].subject
    with TemporaryDirectory() as scratch:
        members = [
            fit_in_haste(member, recordings, Path(scratch) / f"member{number}")
            for number, member in enumerate(compose_members(config))
        ]
        bank = None if members else plain(config.filter)
        every = config.stack.every if members else config.filter.every
        fitted = []
        for recording in recordings:
            if bank is None:
                logits = [(each.logits(recording.signal, subject), each.every) for each in members]
                features = side_by_side(logits, len(recording.signal), every)
            else:
                features, _ = make_features(about.rate, bank).transform(recording.signal)
            assert recording.events is not None
            labels = np.ascontiguousarray(recording.events[::every])
            moments = Moments.of(features)
            fitted.append(FeatureSeries(subject, recording.series, features, labels, moments))
        data = FitData(
            name=config.recipe, fitted=fitted, held_out=[], shared=[], events=about.events,
            seed=config.seed, device="cpu", epochs=None, scratch=Path(scratch),
            report=lambda progress, news: None, channels=len(about.channels),
        )  # fmt: skip
        kind = config.method.kind
        detector, _ = METHODS[kind].load().fit(data, config.detector_options)
        detector.save(Path(scratch) / "model.pt")
        models = {Path(scratch) / "model.pt": [subject]}
        export(folder, about, every, bank, kind, models, len(members))
        for number in range(len(members)):
            shutil.copytree(Path(scratch) / f"member{number}", folder / f"member{number}")
    return FittedRecipe.load(folder)


def in_haste(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Compose a recipe of full size with a short fit."""
    chosen = compose([f"experiment={recipe}", "dataset=simulated"])
    read = [each for each in HASTE if is_read(chosen, each.partition("=")[0])]
    quoted = ",".join(f"'{each}'" for each in HASTE)
    members = [f"stack.overrides=[{quoted}]"] if chosen.stack.members else []
    base = [f"experiment={recipe}", "dataset=simulated", *read, *SHORT.get(recipe, ()), *members]
    return compose(reading(base, list(overrides)))


def simulated(number: int, trials: int) -> Recording:
    """Simulate a series of the competition's first subject."""
    about = Description.of(compose(["dataset=kaggle"]).dataset)
    return simulate_series(SimulationConfig(trials=trials), about, 1, number)


def chunk_seconds(stream: Stream, signal: np.ndarray, count: int) -> np.ndarray:
    """Time the prediction of `count` chunks of `CHUNK` samples. The signal is repeated.

    Returns
    -------
    ndarray, shape (count, 2)
        Processor time and clock time of each chunk, in seconds.
    """
    chunks = np.array_split(signal[: len(signal) // CHUNK * CHUNK], len(signal) // CHUNK)
    seconds = np.empty((count, 2))
    for number in range(count):
        begun = time.thread_time(), time.perf_counter()
        stream.push(chunks[number % len(chunks)])
        seconds[number] = time.thread_time() - begun[0], time.perf_counter() - begun[1]
    return seconds


def measure(recipe: str, recordings: list[Recording], overrides: list[str]) -> str:
    """Measure one recipe; give its row of the table."""
    with TemporaryDirectory() as folder:
        fitted = fit_in_haste(in_haste(recipe, overrides), recordings[:2], Path(folder) / "recipe")
    stream, signal = Stream(fitted, recordings[0].subject), recordings[2].signal
    with threads(1):  # as `stage=live` does
        seconds = 1e3 * chunk_seconds(stream, signal, TIMED)
    (half, half_clock), (most, most_clock) = np.percentile(seconds, [50, 99], axis=0)
    size = len(stream.snapshot()) / 2**10
    times = f"{half:.2f} | {most:.2f} | {half_clock:.2f} | {most_clock:.2f}"
    return f"| `{recipe}` | {times} | {size:,.0f} |"


def main(arguments: list[str]) -> None:
    """Measure the recipes, and print their table; write it if all were measured.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for some of them; the rest as on the pipeline's command line.
    """
    recipes, overrides = chosen_recipes(arguments, RECIPES, RECIPES)
    recordings = [simulated(number, TRIALS) for number in (1, 2, 3)]
    table = [
        "| recipe | processor, ms: p50 | p99 | clock, ms: p50 | p99 | snapshot, KiB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(table), flush=True)
    for recipe in recipes:
        table.append(measure(recipe, recordings, overrides))
        print(table[-1], flush=True)
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    about = (
        f"{machine(cores())}{load}; one thread, {TIMED:,} chunks of {CHUNK} samples, 32 channels."
    )
    table += ["", about, ""]
    if recipes == list(RECIPES) and not overrides:
        write_between(DOC, "live", "\n".join(table))


if __name__ == "__main__":
    run_command(main)
