"""Draw a detection: some seconds of EEG, the probabilities of all events, and the true events.

``python -m pipeline.bench.picture [overrides]`` trains the recipe `lstm` on one simulated subject,
takes the predictions of a test series from the submission, and draws a few trials of it into
``docs/detection.png``. The training has not seen this series.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MultipleLocator

from pipeline.bench.arguments import run_command
from pipeline.config.compose import compose
from pipeline.config.options import Config, plain
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description, Recording, label_runs, series_name
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.errors import ConfigError
from pipeline.results.colors import event_color
from pipeline.stages.flow import run
from pipeline.work.files import write_whole

PICTURE = PROJECT / "docs" / "detection.png"
DATA = ("dataset=simulated", "dataset.simulation.subjects=1", "tracking.enabled=false")
TRIALS = 3  # drawn, from the middle of the series
BEFORE, AFTER = 1.5, 2.0  # s that are drawn before the first and after the last of these trials
ELECTRODES = {"Fp1": "forehead", "C3": "above the left motor cortex", "Cz": "top", "O1": "back"}


def span(labels: np.ndarray, rate: float, trials: int = TRIALS) -> slice:
    """Find the rows of some trials in the middle of a series.

    Parameters
    ----------
    labels : ndarray, shape (T, E)
        The first event begins a trial.
    rate : float
        Rows per second.
    trials : int
        How many trials; fewer if the series has fewer.

    Returns
    -------
    slice
        From before the first of these trials until after the last of them.
    """
    starts = [begin for begin, _ in label_runs(labels[:, 0])]
    first = max(0, (len(starts) - trials) // 2)
    end = starts[first + trials] if first + trials < len(starts) else len(labels)
    inside = np.flatnonzero(labels[:end].any(axis=1))
    begin = max(0, starts[first] - round(BEFORE * rate))
    return slice(begin, min(len(labels), int(inside[-1]) + round(AFTER * rate)))


def draw(
    path: Path, config: Config, series: Recording, probabilities: np.ndarray, title: str
) -> None:
    """Draw the EEG above the probabilities, with the same time axis.

    Parameters
    ----------
    path : Path
        The PNG.
    config : Config
        Its data set gives the rate, the unit, the channels and the events.
    series : Recording
        Gives the signal and the true events.
    probabilities : ndarray, shape (T, E)
        One row for each sample.
    title : str
        Stands above the picture.
    """
    data = config.dataset
    assert series.events is not None
    rows = span(series.events, data.rate)
    time = np.arange(rows.start, rows.stop) / data.rate
    heights = [3.0] + [0.62] * len(data.events)
    figure, (eeg, *panels) = plt.subplots(
        1 + len(data.events), 1, sharex=True, figsize=(9, 7.4), height_ratios=heights,
        layout="constrained",
    )  # fmt: skip
    volts = series.signal[rows][:, [data.channels.index(name) for name in ELECTRODES]]
    traces = volts * data.unit_volts * 1e6
    traces -= np.median(traces, axis=0)
    step = 1.8 * float(np.quantile(np.abs(traces), 0.98))
    places = -step * np.arange(len(ELECTRODES))
    eeg.set_yticks(places, [f"{name}, {where}" for name, where in ELECTRODES.items()])
    shown = traces + places
    eeg.plot(time, shown, color="0.25", linewidth=0.5)
    eeg.set_ylim(shown.min() - 0.2 * step, shown.max() + 0.2 * step)
    length = 10 ** np.floor(np.log10(step))  # a scale bar of 1, 10 or 100 uV
    right = time[-1] + 0.01 * (time[-1] - time[0])
    eeg.plot([right, right], [-length / 2, length / 2], color="black", linewidth=2, clip_on=False)
    eeg.annotate(
        f"{length:g} µV", (right, 0), xytext=(4, 0), textcoords="offset points", va="center",
        annotation_clip=False,
    )  # fmt: skip
    eeg.set_title(
        f"EEG at {len(ELECTRODES)} of {len(data.channels)} electrodes",
        loc="left",
        fontsize="medium",
    )
    for column, (event, axes) in enumerate(zip(data.events, panels, strict=True)):
        color = event_color(column)
        for begin, end in label_runs(series.events[rows, column]):
            axes.axvspan(time[begin], time[end - 1], color="0.82", linewidth=0)
        shown = probabilities[rows, column]
        axes.fill_between(time, shown, color=color, alpha=0.25, linewidth=0)
        axes.plot(time, shown, color=color, linewidth=1.4)
        axes.set(ylim=(0, 1.03), yticks=[0, 1])
        axes.set_ylabel(event, rotation=0, ha="right", va="center", labelpad=8)
    panels[0].set_title(
        "Probability of each event (colour) and when it really took place (grey)",
        loc="left", fontsize="medium",
    )  # fmt: skip
    panels[-1].set_xlabel("time in the series (s)")
    panels[-1].set_xlim(time[0], time[-1])
    panels[-1].xaxis.set_major_locator(MultipleLocator(2))
    for axes in (eeg, *panels):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=100, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(overrides: list[str]) -> None:
    """Train the recipe, and draw the first test series of its submission.

    Parameters
    ----------
    overrides : list of str
        As on the pipeline's command line.

    Raises
    ------
    ConfigError
        If the data set is not simulated: the true events of its test series are not known.
    """
    config = compose([*DATA, *overrides])
    if config.dataset.source != "simulated":
        raise ConfigError(f"dataset={config.dataset.name}: only simulated test series have events")
    submission = run(config).submission
    assert submission is not None
    subject, number = 1, min(config.dataset.test_series)
    name = series_name(subject, number)
    table = pd.read_csv(submission, index_col="id")
    probabilities = table[table.index.str.startswith(f"{name}_")].to_numpy()
    about = Description.of(config.dataset)
    simulation = SimulationConfig(**plain(config.dataset.simulation))
    series = simulate_series(simulation, about, subject, number)
    title = f"Simulated subject {subject}, series {number}, by the recipe {config.recipe}"
    write_whole(PICTURE, lambda path: draw(path, config, series, probabilities, title))
    print(PICTURE)


if __name__ == "__main__":
    run_command(main)
