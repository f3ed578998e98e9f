"""The pictures of what a detector looks at: its activation patterns, and what it cannot miss."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd

from pipeline.data.recording import Description
from pipeline.results.explained import WHOLE
from pipeline.results.figures import evoked_picture, has_places
from pipeline.results.scoring import MEAN

HEADINGS = {
    "channel": "One channel",
    "band": "One frequency band, on all channels",
    "past": "One stretch of time before the prediction",
    "beside": "What another detector says, which the network reads beside the EEG",
    "member": "One member's logits (make explain with the member's recipe has the scalp maps)",
}
"""By the kind of part, in the order in which they are drawn."""

FAINT = 0.01
"""AUC: where nothing costs as much, nothing is drawn in full colour, because it may be chance."""

TIMES = {False: (-1.0, -0.6, -0.3, 0.0), True: (-0.5, 0.0, 0.4, 0.8, 1.5)}
"""Of the maps in s, by whether the pattern lies around an event."""


def pattern_picture(
    path: Path,
    patterns: dict[str, np.ndarray],
    seconds: np.ndarray,
    about: Description,
    around: bool,
    title: str,
) -> None:
    """Draw activation patterns: every channel's course, and scalp maps.

    Parameters
    ----------
    path : Path
        The PNG.
    patterns : dict of str to ndarray, each of shape (E, L, C)
        ``EEG`` alone, or the log power of bands; see `pipeline.results.explained.Explained`.
    seconds : ndarray, shape (L,)
        Lags.
    about : Description
        Events, channels and montage.
    around : bool
        Whether the pattern is that of an event's response; else that of the rows before one.
    title : str
        Stands above the picture.
    """
    info = info_of(about, 1 / (seconds[1] - seconds[0]) if len(seconds) > 1 else about.rate)
    drawn = {}
    for name, pattern in patterns.items():
        for event, course in zip(about.events, pattern, strict=True):
            heading = event if name == "EEG" else f"{event}, power {name}"
            drawn[heading] = mne.EvokedArray(course.T, info, tmin=seconds[0], verbose=False)
    what = "responses that it looks for" if around else "what its logits respond to"
    unit = ("µV", 1e6) if "EEG" in patterns else ("%", 100.0)
    axis = "time from the event (s)" if around else "time before the prediction (s)"
    evoked_picture(path, drawn, f"{title}\n{what}, per SD of the score", TIMES[around], unit, axis)


def info_of(about: Description, rate: float) -> mne.Info:
    """Describe the channels to MNE, with their places where the montage is known."""
    info = mne.create_info(list(about.channels), rate, "eeg", verbose=False)
    if about.montage:
        info.set_montage(about.montage, match_case=False, verbose=False)
    return info


def loss_picture(path: Path, table: pd.DataFrame, about: Description, title: str) -> None:
    """Draw what the AUC loses: maps or a table of the channels, and tables of all other parts.

    Parameters
    ----------
    path : Path
        The PNG.
    table : DataFrame
        From `pipeline.results.explained.Explained.loss_table`.
    about : Description
        Events, channels and montage.
    title : str
        Stands above the picture.
    """
    columns = [*about.events, MEAN]
    kinds = {
        kind: rows.set_index("part")[columns]
        for kind, rows in table.groupby("kind", sort=False)
        if kind != "auc"
    }
    channels = kinds.pop("channel", None)
    info = info_of(about, about.rate)
    maps = channels is not None and has_places(info)
    if channels is not None and not maps:
        kinds = {"channel": channels, **kinds}
        title = f"{title} (no scalp maps: the channels' places are not known)"
    kinds = {kind: kinds[kind] for kind in sorted(kinds, key=[*HEADINGS].index)}
    heights = [*([2.3] if maps else []), *(0.33 * len(rows) + 0.85 for rows in kinds.values())]
    figure = plt.figure(figsize=(11, sum(heights) + 1.0), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if maps:
        _maps(parts[0], channels, info)
    for part, (kind, rows) in zip(parts[len(heights) - len(kinds) :], kinds.items(), strict=True):
        _cells(part, HEADINGS[kind], rows)
    whole = float(table.loc[table["part"] == WHOLE, MEAN].iloc[0])
    figure.suptitle(f"{title}\nwhat the AUC of {whole:.3f} loses if this is permuted:")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _maps(figure: mpl.figure.SubFigure, channels: pd.DataFrame, info: mne.Info) -> None:
    """Draw a scalp map for each column."""
    panels = figure.subplots(1, channels.shape[1])
    for axes, (name, values) in zip(panels, channels.items(), strict=True):
        shown = np.nan_to_num(values.to_numpy(float))
        limit = max(float(shown.max()), FAINT)
        mne.viz.plot_topomap(
            shown, info, axes=axes, show=False, vlim=(0, limit), contours=0, res=48, cmap="Reds"
        )
        axes.set_title(f"{name}\n0 to {limit:.3f}", fontsize="small")
    figure.suptitle(HEADINGS["channel"], fontsize="medium")


def _cells(figure: mpl.figure.SubFigure, heading: str, rows: pd.DataFrame) -> None:
    """Draw a table whose cells are coloured by their value."""
    axes = figure.subplots()
    values = rows.to_numpy(float)
    high = max(float(np.nanmax(values, initial=0.0)), FAINT)
    axes.imshow(values, cmap="Reds", vmin=0, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "none" if np.isnan(value) else f"{value:.3f}"
        color = "white" if value > 0.6 * high else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize="small")
    axes.set_xticks(range(rows.shape[1]), rows.columns, fontsize="small")
    axes.set_yticks(range(len(rows)), rows.index, fontsize="small")
    axes.tick_params(length=0)
    axes.set_title(heading, fontsize="medium")
