"""The pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from pipeline.recording import label_runs
from pipeline.scoring import Score


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
        Above the picture.
    """
    figure, axes = plt.subplots(figsize=(6, 5.4), layout="constrained")
    for column, (event, auc) in enumerate(result.events.items()):
        if auc is not None:
            false, true, _ = roc_curve(labels[:, column], scores[:, column])
            axes.plot(false, true, label=f"{event}  {auc:.3f}")
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
        Rows a second.
    title : str
        Above the picture.
    seconds : float
        How much of it, around the middle of the series' events.
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
        color = f"C{column}"
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
        One a training, with the columns ``epoch``, ``loss``, ``valid_loss``, ``valid_auc_mean``
        and ``best``.
    title : str
        Above the picture.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for number, (name, history) in enumerate(histories.items()):
        color = f"C{number % 10}"
        left.plot(history["epoch"], history["loss"], color=color, label=name)
        left.plot(history["epoch"], history["valid_loss"], color=color, linestyle="--")
        right.plot(history["epoch"], history["valid_auc_mean"], color=color, label=name)
        chosen = history[history["best"]]
        right.plot(chosen["epoch"], chosen["valid_auc_mean"], "o", color=color)
    left.set(xlabel="epoch", ylabel="loss (dashed: validation)")
    right.set(xlabel="epoch", ylabel="validation AUC (dot: chosen)")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def cost_picture(path: Path, points: dict[str, tuple[float, float]], title: str) -> None:
    """Draw what methods score against what they take to fit.

    Parameters
    ----------
    path : Path
        The PNG.
    points : dict of str to (float, float)
        Minutes and AUC by the method's name.
    title : str
        Above the picture.
    """
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for number, (name, (minutes, auc)) in enumerate(points.items()):
        marker = "osD^vPX"[number % 7]
        axes.plot(minutes, auc, marker, color=f"C{number % 10}", label=f"{name} {auc:.3f}")
    axes.set_xscale("log")
    axes.margins(0.15, 0.15)
    axes.legend()
    axes.set(xlabel="minutes of fitting, all subjects", ylabel="pooled AUC")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
