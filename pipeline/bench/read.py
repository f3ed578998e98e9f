"""Reading and filtering by two worker processes, against pandas and SciPy in one process.

``python -m pipeline.bench.read [series=18] [rounds=3] [data_dir=FOLDER]`` simulates series of full
size and times the stages ``ingest`` and ``filter`` with everything that belongs to them: digests of
what is read and written, checks, files. In the same rounds it times `pandas.read_csv` on the same
files, and `scipy.signal.sosfilt` with the same filters on signals that are in memory already. It
takes the least seconds of all rounds, prints the ratios and where the processor's time goes, and
writes both into ``docs/scale.md``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from scipy.signal import sosfilt
from tqdm import tqdm

from pipeline.bench.arguments import run_command
from pipeline.bench.document import machine, write_between
from pipeline.config.compose import compose
from pipeline.config.options import Config
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Recording
from pipeline.data.series import Series
from pipeline.data.simulator.options import MOST_SERIES
from pipeline.errors import ConfigError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.filter_bank import FilterBank
from pipeline.features.interface import build
from pipeline.stages import features, ingest
from pipeline.stages.context import Context
from pipeline.stages.flow import find
from pipeline.work.files import content
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "scale.md"
WORKERS = 2
WARM = 2  # series that are done first, so that the workers have started and loaded their code
PROFILED = 4  # series, for the table of where the time goes


@dataclass
class Seconds:
    """What one round took."""

    started: float
    read: float
    filtered: float
    pandas: float = 0.0
    scipy: float = 0.0


def in_folder(config: Config, folder: Path) -> Context:
    """Give the same data set's stages a folder of their own to write to."""
    return Context(replace(config, data_dir=str(folder)), say=lambda line: None)


def stages(config: Config, found: Sequence[Series], folder: Path) -> Seconds:
    """Time the two stages in this process, which must be a new one: nothing is digested yet."""

    def took(context: Context, series: Sequence[Series]) -> list[float]:
        marks = [time.perf_counter()]
        for name, stage in (("ingest", ingest), ("filter", features)):
            context.run(name, stage.tasks(context, series), context.workers)
            marks.append(time.perf_counter())
        return list(np.diff(marks))

    started = sum(took(in_folder(config, folder / "warm"), found[:WARM]))
    read, filtered = took(in_folder(config, folder), found[WARM:])
    get_reusable_executor().shutdown()  # this process ends with its workers, which wait for minutes
    return Seconds(started, read, filtered)


def pandas_seconds(found: Sequence[Series]) -> float:
    """Time pandas on the files."""
    begun = time.perf_counter()
    for series in found:
        for path in series.paths:
            pd.read_csv(path)
    return time.perf_counter() - begun


def scipy_seconds(bank: FilterBank, signal: np.ndarray) -> float:
    """Time SciPy with a bank's low-passes and bands, on a signal of shape (T, C)."""
    channels = np.ascontiguousarray(np.asarray(signal, dtype=np.float64).T)
    first = channels[:, 0]
    begun = time.perf_counter()
    for lowpass in bank.lowpass:
        sosfilt(lowpass.sos, channels, axis=-1, zi=lowpass.start(first))
    for band, smooth in zip(bank.band, bank.smooth, strict=True):
        inside, _ = sosfilt(band.sos, channels, axis=-1, zi=band.start(first))
        sosfilt(smooth.sos, np.square(inside), axis=-1, zi=smooth.start(np.zeros_like(first)))
    return time.perf_counter() - begun


def one_round(config: Config, found: Sequence[Series], folder: Path) -> Seconds:
    """Time both sides once."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        seconds = alone.submit(stages, config, found, folder).result()
    seconds.pandas = pandas_seconds(found[WARM:])
    context = in_folder(config, folder)
    bank = build(context.feature_kind, context.about.rate, context.bank)
    assert isinstance(bank, FilterBank)
    for series in found[WARM:]:
        recording = Recording.load(
            context.ingest_folder.path, series.subject, series.series, context.about
        )
        seconds.scipy += scipy_seconds(bank, recording.signal)
    shutil.rmtree(folder)
    return seconds


def profile(config: Config, found: Sequence[Series], folder: Path) -> dict[str, float]:
    """Add up the processor's seconds of each part of the two stages, in this process alone."""
    folder.mkdir()
    context, spent = in_folder(config, folder), dict[str, float]()
    bank = build(context.feature_kind, context.about.rate, context.bank)

    def part(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.process_time()
        result = function(*arguments)
        spent[name] = spent.get(name, 0.0) + time.process_time() - begun
        return result

    def digested(name: str, kinds: Sequence[str]) -> None:
        for path in folder.iterdir():
            if path.name.endswith(tuple(kinds)):
                part(name, content, path)

    for series in [found[0], *found]:
        if series is found[0]:
            spent.clear()  # the first one is done twice: it loads the code
        for path in series.paths:
            part("ingest: digest what is read", content, path)
        recording = part("ingest: read, check and parse", series.read, context.about)
        signal, events = (folder / f"{series.name}_{kind}.npy" for kind in ("signal", "events"))
        part("ingest: write", np.save, signal, recording.signal)
        if recording.events is not None:
            part("ingest: write", np.save, events, recording.events)
        digested("ingest: digest what was written", ("signal.npy", "events.npy"))
        rows, _ = part("filter: the filters", bank.transform, recording.signal)
        moments = part("filter: mean and scatter matrix", Moments.of, rows)
        labels = None if recording.events is None else recording.events[:: bank.every]
        made = FeatureSeries(series.subject, series.series, rows, labels, moments)
        part("filter: write", made.save, folder)
        digested("filter: digest what was written", ("features.npy", "labels.npy", "moments.npz"))
        for path in folder.iterdir():
            path.unlink()
    return spent


def table(rounds: Sequence[Seconds], spent: dict[str, float], found: Sequence[Series]) -> str:
    """Write the ratios, and where the processor's time goes."""
    least = Seconds(*(min(each) for each in zip(*(vars(r).values() for r in rounds), strict=True)))
    timed = sum(path.stat().st_size for each in found[WARM:] for path in each.paths) / 1e6
    other = sum(path.stat().st_size for each in found[:PROFILED] for path in each.paths) / 1e9
    lines = [
        f"| | this project, {WORKERS} workers | one process of | ratio |",
        "|---|--:|--:|--:|",
        f"| reading | {least.read:.2f} s, {timed / least.read:.0f} MB/s | `pandas.read_csv`: "
        f"{least.pandas:.2f} s, {timed / least.pandas:.0f} MB/s "
        f"| **{least.pandas / least.read:.2f}** |",
        f"| filtering | {least.filtered:.2f} s | `scipy.signal.sosfilt`: {least.scipy:.2f} s "
        f"| **{least.scipy / least.filtered:.2f}** |",
        "",
        f"{machine(cores())}; {len(found) - WARM} simulated series of full size, {timed:.0f} MB of "
        f"CSV; the least of {len(rounds)} rounds for each number. To start the workers, load their "
        f"code and do {WARM} series before took {least.started:.1f} s, once per command.",
        "",
        "| part of a stage, in one process | processor's seconds per GB of CSV |",
        "|---|--:|",
    ]
    lines += [f"| {name} | {seconds / other:.2f} |" for name, seconds in spent.items()]
    return "\n".join([*lines, ""])


def options(arguments: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Split a command line into the numbers and Hydra's overrides.

    Raises
    ------
    ConfigError
        For a number that cannot be.
    """
    numbers, rest = {"series": 18, "rounds": 3}, []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in numbers:
            rest.append(argument)
            continue
        if not value.isdecimal() or not int(value):
            raise ConfigError(f"{argument}: must be a whole number above 0")
        numbers[key] = int(value)
    return numbers, rest


def main(arguments: Sequence[str]) -> None:
    """Measure, print the tables and write them.

    Parameters
    ----------
    arguments : sequence of str
        ``series=18``: so many are timed. ``rounds=3``. The rest as on the pipeline's command line;
        with any of it but ``data_dir``, nothing is written.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    numbers, overrides = options(arguments)
    wanted = numbers["series"] + WARM
    with TemporaryDirectory(prefix="bench-read-") as base:
        config = compose([
            "dataset=simulated", "dataset.simulation.trials=0", "tracking.enabled=false",
            f"dataset.simulation.subjects={-(-wanted // MOST_SERIES)}", f"workers={WORKERS}",
            f"data_dir={base}/raw", *overrides,
        ])  # fmt: skip
        found = find(Context(config))[:wanted]
        rounds = [
            one_round(config, found, Path(base) / f"round{number}")
            for number in tqdm(range(numbers["rounds"]), desc="rounds", leave=False)
        ]
        spent = profile(config, found[:PROFILED], Path(base) / "profile")
        text = table(rounds, spent, found)
    print(text)
    if all(each.startswith("data_dir=") for each in overrides):
        write_between(DOC, "reading", text)


if __name__ == "__main__":
    run_command(main)
