"""The AUC as the competition computes it, and per subject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

MEAN = "mean"


@dataclass(frozen=True)
class Score:
    """AUC per event and their mean.

    Parameters
    ----------
    events : dict of str to float or None
        By event. None where the labels are all 0 or all 1: the AUC is undefined there.
    """

    events: dict[str, float | None]

    @property
    def mean(self) -> float | None:
        """The mean over the events; undefined (None) when any event's AUC is."""
        values = [auc for auc in self.events.values() if auc is not None]
        return float(np.mean(values)) if len(values) == len(self.events) else None

    @property
    def undefined(self) -> list[str]:
        """The events whose AUC is undefined."""
        return [event for event, auc in self.events.items() if auc is None]

    def row(self) -> dict[str, float | None]:
        """Give the events' AUCs and the mean as one row of a table."""
        return {**self.events, MEAN: self.mean}


def score(labels: np.ndarray, scores: np.ndarray, events: tuple[str, ...]) -> Score:
    """Score predictions with the area under the ROC curve of each event's column.

    The competition's metric is the mean of these AUCs, each over the rows of all subjects together.
    So pass the rows of all subjects to get it.

    Parameters
    ----------
    labels : ndarray, shape (T, E)
        Zeros and ones.
    scores : ndarray, shape (T, E)
        Anything that is larger where the event is more likely. Equal scores count half.
    events : tuple of str
        The columns' names.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        When a score is nan or infinite, or the shapes differ.
    """
    if labels.shape != scores.shape or labels.shape[1] != len(events):
        raise ValueError(f"labels {labels.shape}, scores {scores.shape}, {len(events)} events")
    if not np.isfinite(scores).all():
        raise ValueError("a score is nan or infinite")
    result: dict[str, float | None] = {}
    for column, event in enumerate(events):
        truth = labels[:, column]
        one_class = truth.min() == truth.max()
        result[event] = None if one_class else float(roc_auc_score(truth, scores[:, column]))
    return Score(result)


def held_out_line(
    logits: np.ndarray, labels: np.ndarray, events: tuple[str, ...]
) -> dict[str, float | None]:
    """Score held-out series at the features' rate, as part of a line of a fit's history.

    Parameters
    ----------
    logits : ndarray, shape (T', E)
        Predictions of all held-out series, one after another.
    labels : ndarray, shape (T', E)
        Zeros and ones.
    events : tuple of str
        The columns' names.

    Returns
    -------
    dict of str to float or None
        ``valid_loss``, the mean binary cross-entropy, computed in float64; ``valid_auc_<event>``
        and ``valid_auc_mean``, None where one is undefined.

    Raises
    ------
    ValueError
        As `score`.
    """
    z = np.asarray(logits, dtype=np.float64)
    # log(1 + exp(-|z|)) + max(z, 0) - z y: neither exponential overflows.
    loss = np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0.0) - z * labels
    aucs = {f"valid_auc_{name}": auc for name, auc in score(labels, logits, events).row().items()}
    return {"valid_loss": float(loss.mean()), **aucs}


def table(rows: dict[str, Score]) -> pd.DataFrame:
    """Make a table of scores: one row per score, one column per event and one for the mean."""
    frame = pd.DataFrame({name: each.row() for name, each in rows.items()}).T
    return frame.astype(float)


def show(frame: pd.DataFrame) -> str:
    """Format a table of AUCs for the terminal and for Markdown."""
    return show_cells(frame.map(lambda auc: "one class" if np.isnan(auc) else f"{auc:.4f}"))


def show_cells(cells: pd.DataFrame) -> str:
    """Lay out a table of texts for the terminal and for Markdown."""
    widths = [
        max(map(len, map(str, cells.index))),
        *(max(len(c), 9, *map(len, cells[c])) for c in cells.columns),
    ]
    lines = [
        ["", *cells.columns],
        ["-" * (w - 1 if i else w) + (":" if i else "") for i, w in enumerate(widths)],
        *([str(name), *row] for name, row in zip(cells.index, cells.to_numpy(), strict=True)),
    ]
    return "\n".join(
        "| " + " | ".join(f"{c:<{w}}" if i == 0 else f"{c:>{w}}"
                          for i, (c, w) in enumerate(zip(line, widths, strict=True))) + " |"
        for line in lines
    )  # fmt: skip
