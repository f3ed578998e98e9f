"""The pictures, and the report that holds them all in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from pipeline.data.recording import label_runs
from pipeline.results.colors import event_color, event_style
from pipeline.results.scoring import Score

if TYPE_CHECKING:
    import mne

AUC_ROWS = (
    "pooled: all rows of all subjects together, as the competition scores; pooled_low to "
    "pooled_high: its 95 % interval over trials; subject_mean: the mean of the subjects."
)


def roc_picture(
    path: Path, labels: np.ndarray, scores: np.ndarray, result: Score, title: str
) -> None:
    """Draw the ROC curve of every event, pooled over subjects.

    Parameters
    ----------
    path : Path
        The PNG.
    labels, scores : ndarray, shape (T, E)
        All rows of all subjects.
    result : Score
        Their AUCs, for the legend.
    title : str
        Stands above the picture.
    """
    figure, axes = plt.subplots(figsize=(6, 5.4), layout="constrained")
    for column, (event, auc) in enumerate(result.events.items()):
        if auc is not None:
            false, true, _ = roc_curve(labels[:, column], scores[:, column])
            axes.plot(
                false, true, color=event_color(column), linestyle=event_style(column),
                label=f"{event}  {auc:.3f}",
            )  # fmt: skip
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle="--")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title, aspect="equal")
    axes.legend(title="AUC", loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def probability_picture(
    path: Path,
    labels: np.ndarray,
    probabilities: np.ndarray,
    events: tuple[str, ...],
    rate: float,
    title: str,
    seconds: float = 30.0,
) -> None:
    """Draw the probabilities of all events over a stretch of trials, the true events shaded.

    Parameters
    ----------
    path : Path
        The PNG.
    labels, probabilities : ndarray, shape (T, E)
        One series.
    events : tuple of str
        The columns' names.
    rate : float
        Rows per second.
    title : str
        Stands above the picture.
    seconds : float
        Length of the stretch, in s. It lies around the middle of the series' events.
    """
    active = np.flatnonzero(labels.any(axis=1))
    middle = int(np.median(active)) if len(active) else len(labels) // 2
    span = min(int(seconds * rate), len(labels))
    first = min(max(0, middle - span // 2), len(labels) - span)
    time = (first + np.arange(span)) / rate
    figure, panels = plt.subplots(
        len(events), 1, sharex=True, figsize=(10, 1.25 * len(events) + 0.8), layout="constrained"
    )
    for column, (event, axes) in enumerate(zip(events, np.atleast_1d(panels), strict=True)):
        color = event_color(column)
        for begin, end in label_runs(labels[first : first + span, column]):
            axes.axvspan(time[begin], time[end - 1], color=color, alpha=0.25, linewidth=0)
        shown = probabilities[first : first + span, column]
        axes.plot(time, shown, color=color, linewidth=1.1)
        axes.set_ylim(0, max(0.1, 1.05 * float(shown.max())))
        axes.set_ylabel(event, rotation=0, ha="right", va="center")
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("time in the series (s)")
    axes.set_xlim(time[0], time[-1])
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def learning_picture(path: Path, histories: dict[str, pd.DataFrame], title: str) -> None:
    """Draw loss and validation AUC against the epoch, the chosen epoch marked.

    Parameters
    ----------
    path : Path
        The PNG.
    histories : dict of str to DataFrame
        One table per training, by the name of its model, with the columns ``epoch``, ``loss``,
        ``valid_loss``, ``valid_auc_mean`` and ``best``.
    title : str
        Stands above the picture.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for number, (name, history) in enumerate(histories.items()):
        color = f"C{number % 10}"
        alone = "." if len(history) == 1 else None  # a line through one point cannot be seen
        left.plot(history["epoch"], history["loss"], color=color, marker=alone, label=name)
        left.plot(history["epoch"], history["valid_loss"], color=color, linestyle="--")
        right.plot(history["epoch"], history["valid_auc_mean"], color=color, label=name)
        chosen = history[history["best"]]
        right.plot(chosen["epoch"], chosen["valid_auc_mean"], "o", color=color)
    left.set(xlabel="epoch", ylabel="loss (dashed: validation)")
    right.set(xlabel="epoch", ylabel="validation AUC (dot: chosen)")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def heat_picture(path: Path, aucs: pd.DataFrame, title: str) -> None:
    """Draw the AUC of every subject and event as a map.

    Parameters
    ----------
    path : Path
        The PNG.
    aucs : DataFrame, shape (subjects, E + 1)
        One row per subject, one column per event and the mean; nan where an AUC is undefined.
    title : str
        Stands above the picture.
    """
    size = 2 + 1.1 * aucs.shape[1], 1.6 + 0.34 * len(aucs)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    values = aucs.to_numpy(float)
    low = min(0.5, float(np.nanmin(values, initial=0.5)))
    image = axes.imshow(values, cmap="viridis", vmin=low, vmax=1.0, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "none" if np.isnan(value) else f"{value:.3f}"
        dark = not np.isnan(value) and value < (low + 1.0) / 2
        color = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize="small")
    axes.set_xticks(range(aucs.shape[1]), aucs.columns, rotation=25, ha="right")
    axes.set_yticks(range(len(aucs)), aucs.index)
    figure.colorbar(image, label="AUC")
    axes.set_title(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def reliability_picture(
    path: Path,
    labels: np.ndarray,
    probabilities: np.ndarray,
    events: tuple[str, ...],
    title: str,
    bins: int = 10,
) -> None:
    """Draw how often an event is active in the rows that have a certain probability.

    A second panel shows how many rows have this probability.

    Parameters
    ----------
    path : Path
        The PNG.
    labels, probabilities : ndarray, shape (T, E)
        All rows of all subjects.
    events : tuple of str
        The columns' names.
    title : str
        Stands above the picture.
    bins : int
        Number of bins of equal width between 0 and 1. Bins with fewer than 50 rows are not drawn.
    """
    figure, (upper, lower) = plt.subplots(
        2, 1, sharex=True, figsize=(6, 7), height_ratios=(3, 1), layout="constrained"
    )
    edges = np.linspace(0, 1, bins + 1)
    for column, event in enumerate(events):
        place = np.minimum((probabilities[:, column] * bins).astype(int), bins - 1)
        count = np.bincount(place, minlength=bins)
        enough = count >= 50
        with np.errstate(invalid="ignore"):
            said = np.bincount(place, probabilities[:, column], bins) / count
            seen = np.bincount(place, labels[:, column], bins) / count
        color, style = event_color(column), event_style(column)
        upper.plot(
            said[enough], seen[enough], marker="o", markersize=4, color=color, linestyle=style,
            label=event,
        )  # fmt: skip
        lower.stairs(count, edges, color=color, linestyle=style)
    upper.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle="--")
    upper.set(ylabel="share of rows in which the event is active", title=title)
    upper.legend(loc="upper left", fontsize="small")
    lower.set(xlabel="probability", ylabel="rows", yscale="log")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def evoked_picture(
    path: Path,
    evokeds: dict[str, mne.Evoked],
    title: str,
    times: tuple[float, ...] = (-0.4, 0, 0.4),
    unit: tuple[str, float] = ("µV", 1e6),
    axis: str = "time from the event's centre (s)",
) -> None:
    """Draw the average response to each event: every channel's curve, and scalp maps.

    If the positions of the channels are not known, there are no maps, and the title says so.

    Parameters
    ----------
    path : Path
        The PNG.
    evokeds : dict of str to mne.Evoked
        The average response, by what stands above it.
    title : str
        Stands above the picture.
    times : tuple of float
        Times of the maps, in s from the event.
    unit : (str, float)
        What is drawn, and how much of it is one unit of the data.
    axis : str
        What the time counts from.
    """
    import mne  # here, because the other pictures do not need it

    rows, (name, scale) = len(evokeds), unit
    if not all(has_places(each.info) for each in evokeds.values()):
        times, title = (), f"{title} (no scalp maps: the channels' places are not known)"
    above = 0.45 + 0.25 * (title.count("\n") + 1)  # inches
    height = 1.7 * rows + above + 0.2
    figure, panels = plt.subplots(
        rows, 1 + len(times), figsize=(7 + len(times), height), squeeze=False,
        width_ratios=[2.6, *(1 for _ in times)],
    )  # fmt: skip
    figure.subplots_adjust(left=0.08, right=0.98, top=1 - above / height, bottom=0.65 / height,
                           hspace=0.4, wspace=0.1)  # fmt: skip
    for row, (heading, evoked) in zip(panels, evokeds.items(), strict=True):
        if times:
            row[0].set_prop_cycle(color=_place_colors(evoked.info))
        row[0].plot(evoked.times, scale * evoked.data.T, linewidth=0.7)
        row[0].axvline(0, color="0.5", linewidth=0.8, linestyle="--")
        row[0].set_xlim(evoked.times[0], evoked.times[-1])
        row[0].set_title(heading, fontsize="medium")
        row[0].set_ylabel(name)
        row[0].spines[["top", "right"]].set_visible(False)
        at = [evoked.time_as_index(time, use_rounding=True)[0] for time in times]
        limit = float(np.abs(evoked.data[:, at]).max(initial=0))
        shown = f"{scale * limit:.0f}" if scale * limit >= 10 else f"{scale * limit:.1f}"
        for axes, time, index in zip(row[1:], times, at, strict=True):
            mne.viz.plot_topomap(
                evoked.data[:, index], evoked.info, axes=axes, show=False, vlim=(-limit, limit),
                contours=0, res=48,
            )  # fmt: skip
            axes.set_title(f"{time:g} s, ±{shown} {name}", fontsize="small")
    for axes in panels[:-1, 0]:
        axes.tick_params(labelbottom=False)
    panels[-1, 0].set_xlabel(axis)
    figure.suptitle(title, y=1 - 0.15 / height)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def has_places(info: mne.Info) -> bool:
    """Tell whether the channels' places on the head are known."""
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    return bool(np.isfinite(places).all() and np.any(places))


def _place_colors(info: mne.Info) -> np.ndarray:
    """Give each channel a colour by its place on the head: red right, green front, blue up."""
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    spread = places.max(axis=0) - places.min(axis=0)
    return 0.85 * (places - places.min(axis=0)) / np.where(spread > 0, spread, 1.0)


def write_report(
    path: Path,
    title: str,
    aucs: pd.DataFrame,
    pictures: dict[str, Path],
    configuration: str,
    decisions: pd.DataFrame | None = None,
) -> None:
    """Write one HTML file with the tables, the pictures and the configuration.

    Parameters
    ----------
    path : Path
        The file. It holds the pictures too, so it can be sent or moved alone.
    title : str
        Title of the page.
    aucs : DataFrame
        From `pipeline.results.scoring.table`.
    pictures : dict of str to Path
        PNG files, by the heading above each.
    configuration : str
        The whole configuration, as YAML.
    decisions : DataFrame of str, optional
        The decided onsets: one row per event.
    """
    import mne  # here, because the pictures do not need it

    page = mne.Report(title=title, verbose=False)
    table = aucs.to_html(float_format="%.4f", classes="table table-striped", border=0, na_rep="")
    page.add_html(f"<p>{AUC_ROWS}</p>{table}", "Area under the ROC curve", tags=("auc",))
    if decisions is not None:
        table = decisions.to_html(classes="table table-striped", border=0)
        page.add_html(table, "Onsets (in brackets: 95 % over trials)", tags=("decisions",))
    for heading, picture in pictures.items():
        page.add_image(picture, heading, tags=(picture.stem.split("_")[0],))
    page.add_code(configuration, "Configuration", language="yaml", tags=("configuration",))
    page.save(path, open_browser=False, overwrite=True, verbose=False)


def cost_picture(path: Path, points: dict[str, tuple[float, float]], title: str) -> None:
    """Draw the AUC of each method against the minutes that its fit takes.

    Parameters
    ----------
    path : Path
        The PNG.
    points : dict of str to (float, float)
        Minutes and AUC by the method's name.
    title : str
        Stands above the picture.
    """
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for number, (name, (minutes, auc)) in enumerate(points.items()):
        marker = "osD^vPX"[number % 7]
        axes.plot(minutes, auc, marker, color=f"C{number % 10}", label=f"{name} {auc:.3f}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.15, 0.15)
    axes.legend()
    axes.set(xlabel="minutes of fitting, all subjects", ylabel="pooled AUC")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
