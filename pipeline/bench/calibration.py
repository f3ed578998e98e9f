"""How much EEG of a new subject a recipe needs: AUC against minutes of calibration.

``python -m pipeline.bench.calibration [recipes=a,b] [series=0,1,2,4] [overrides]`` leaves each
subject out once. It fits each recipe on the other subjects (``protocol=cross_subject``), adapts it
to the subject with his first 0, 1, 2, ... series (``protocol=calibration``), and scores it on his
held-out series. Beside them it fits the recipe on his own training series alone
(``protocol=within_subject``). It prints a table, and writes it and a picture into ``docs/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import machine, write_between
from pipeline.config.compose import compose, reading
from pipeline.config.options import Config
from pipeline.config.paths import PROJECT
from pipeline.data.recording import series_name
from pipeline.data.series import Series
from pipeline.data.simulator.options import MOST_SUBJECTS
from pipeline.errors import ConfigError
from pipeline.results.colors import event_color
from pipeline.results.rows import hold
from pipeline.stages import ingest
from pipeline.stages.checks import check_before_work
from pipeline.stages.context import Context
from pipeline.stages.evaluate import auc_table
from pipeline.stages.flow import find, fit, make_features
from pipeline.stages.jobs import Job, jobs, logits_file, other_jobs, place
from pipeline.work.files import write_whole
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "new-subjects.md"
PICTURE = DOC.with_name("calibration.png")
RECIPES = ("fbl_lda", "lstm_global", "semi_markov", "hybrid")
SERIES = (0, 1, 2, 4)
# The recipe that others are compared with, fitted on all training series of the subject himself.
BASE = "fbl_lda"
# Eight series to fit, as many as the final models have. Series 9 is held out; the splits need a
# test series, too, and nothing predicts it.
DATA = (
    "dataset=simulated", "dataset.simulation.subjects=4", "dataset.simulation.trials=0",
    "dataset.train_series=[1,2,3,4,5,6,7,8]", "dataset.valid_series=[9]",
    "dataset.test_series=[10]", "stage=evaluate", "tracking.enabled=false",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A recipe with so many series of the subject's own.

    Parameters
    ----------
    minutes : float
        How long these are, on average over the subjects.
    auc : float
        Pooled, mean of the events.
    low, high : float
        Its 95 % interval over trials.
    subjects : float
        Mean of the subjects' own AUCs.
    """

    minutes: float
    auc: float
    low: float
    high: float
    subjects: float


def chosen_series(arguments: list[str]) -> tuple[list[int], list[str]]:
    """Split a command line into the numbers of series (``series=0,2``) and the rest.

    Raises
    ------
    ConfigError
        If they are not whole numbers, smallest first.
    """
    mark = "series="
    chosen = [each.removeprefix(mark) for each in arguments if each.startswith(mark)]
    rest = [each for each in arguments if not each.startswith(mark)]
    if not chosen:
        return list(SERIES), rest
    try:
        counts = [int(each) for each in chosen[-1].split(",")]
    except ValueError:
        counts = []
    if not counts or counts != sorted(set(counts)) or counts[0] < 0:
        raise ConfigError(f"series={chosen[-1]}: must be numbers of series, such as 0,1,2,4")
    return counts, rest


def measure(recipe: str, count: int | None, overrides: list[str]) -> Point:
    """Fit and score one recipe.

    Parameters
    ----------
    recipe : str
        A file of ``conf/experiment``.
    count : int or None
        Series of the subject's own; None for all of them, without the other subjects.
    overrides : list of str
        As on the pipeline's command line.
    """
    protocol = ["protocol=within_subject"]
    if count is not None:
        protocol = ["protocol=calibration", f"protocol.own_series={count}"]
    config = compose(reading([f"experiment={recipe}", *DATA, *protocol], overrides))
    print(f"\n{recipe}, {' '.join(protocol)}")
    context = Context(config)
    check_before_work(context)
    found = find(context)
    context.run("ingest", ingest.tasks(context, found), context.workers)
    make_features(context, found)
    planned = jobs(context, found, final=False)
    fit(context, found, other_jobs(context, found, final=False), "others")
    fit(context, found, planned, "train")
    auc = scores(context, planned)
    pooled, low, high = (auc.loc[row, "mean"] for row in ("pooled", "pooled_low", "pooled_high"))
    own = len(context.train_series) if count is None else count
    return Point(
        own_minutes(context, found, own), pooled, low, high, auc.loc["subject_mean", "mean"]
    )


def scores(context: Context, planned: Sequence[Job]) -> pd.DataFrame:
    """Score the held-out series, as `pipeline.stages.evaluate` does, but draw nothing."""
    truth, logits = {}, {}
    for job in planned:
        for key in job.held_out:
            truth[key] = np.load(context.ingest_folder.path / f"{series_name(*key)}_events.npy")
            said = np.load(place(context, job).path / logits_file(key))
            logits[key] = hold(said, context.every, len(truth[key]))
    return auc_table(truth, logits, context.about.events)


def own_minutes(context: Context, found: Sequence[Series], count: int) -> float:
    """Say how long a subject's first training series are, on average over the subjects."""
    seconds = []
    for subject in context.subjects:
        own = sorted(raw.series for raw in found if raw.subject == subject)
        fitted = [series for series in own if series in context.train_series][:count]
        files = [
            context.ingest_folder.path / f"{series_name(subject, series)}_signal.npy"
            for series in fitted
        ]
        rows = sum(len(np.load(file, mmap_mode="r")) for file in files)
        seconds.append(rows / context.about.rate)
    return float(np.mean(seconds)) / 60


def main(arguments: list[str]) -> None:
    """Measure the recipes, print the table, and write it and the picture.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` and ``series=0,2``; the rest as on the pipeline's command line.
    """
    counts, rest = chosen_series(arguments)
    recipes, overrides = chosen_recipes(rest, RECIPES, RECIPES, DATA)
    points: dict[str, dict[int, Point]] = {}
    for recipe in recipes:
        points[recipe] = {count: measure(recipe, count, overrides) for count in counts}
    base = measure(BASE, None, overrides)
    config = compose(reading([*DATA], overrides))
    text = table(points, base) + "\n" + size(config, len(Context(config).subjects))
    print(text)
    write_whole(PICTURE, lambda path: draw(path, points, base))
    write_between(DOC, "calibration", text)


def table(points: dict[str, dict[int, Point]], base: Point) -> str:
    """Write the table: a row per number of series, a column per recipe."""
    lines = [
        f"| series of his own | minutes | {' | '.join(f'`{recipe}`' for recipe in points)} |",
        f"|--:|--:|{'---|' * len(points)}",
    ]
    frame = pd.DataFrame(points)
    for count, row in frame.iterrows():
        cells = [f"{p.auc:.4f} ({p.low:.3f} to {p.high:.3f}), {p.subjects:.4f}" for p in row]
        lines.append(f"| {count} | {row.iloc[0].minutes:.0f} | {' | '.join(cells)} |")
    lines += [
        "",
        f"In each cell: pooled AUC, its 95 % interval over trials, and the mean of the subjects' "
        f"own AUCs. `{BASE}` fitted on the subject's own series alone, all of them "
        f"({base.minutes:.0f} minutes): {base.auc:.4f} ({base.low:.3f} to {base.high:.3f}), "
        f"{base.subjects:.4f}.",
    ]
    return "\n".join(lines) + "\n"


def size(config: Config, subjects: int) -> str:
    """Say when, on what and on how much it was measured."""
    data = config.dataset
    trials = data.simulation.trials or "as many as in the competition"
    return (
        f"{machine(cores())}; simulated recordings, {subjects} of {MOST_SUBJECTS} subjects, trials "
        f"per series: {trials}, seed {config.seed}. "
        f"Scored on series {data.valid_series}.\n"
    )


def draw(path: Path, points: dict[str, dict[int, Point]], base: Point) -> None:
    """Draw the pooled AUC of each recipe against the minutes of the subject's own series."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for number, (recipe, by_count) in enumerate(points.items()):
        found = list(by_count.values())
        minutes = np.array([point.minutes for point in found])
        auc = np.array([point.auc for point in found])
        away = np.abs(np.array([[p.low, p.high] for p in found]).T - auc)
        axes.errorbar(
            minutes + 0.15 * number, auc, away, marker="osD^"[number % 4], capsize=3,
            color=event_color(number), label=recipe,
        )  # fmt: skip
    label = f"{BASE}, his own {base.minutes:.0f} minutes alone"
    axes.axhline(base.auc, color=event_color(0), linestyle=":", label=label)
    counts = next(iter(points.values()))
    top = axes.secondary_xaxis("top")
    top.set_xticks([point.minutes for point in counts.values()], [str(each) for each in counts])
    top.set_xlabel("series of the new subject")
    axes.set(xlabel="minutes of the new subject's own recordings", ylabel="pooled AUC")
    axes.grid(alpha=0.3)
    axes.spines["right"].set_visible(False)
    axes.legend(loc="lower right")
    figure.suptitle("A new subject: AUC against minutes of calibration, simulated recordings")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run_command(main)
