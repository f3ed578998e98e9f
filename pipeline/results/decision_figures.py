"""The pictures of decided onsets: hit rate against false alarms, and delays.

Events have the colours of `pipeline.results.colors`. Markers, line styles and panels tell the
events apart even without colours.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pipeline.results.colors import STYLES, event_color

MARKERS = "osD^vPX"


def alarms_picture(
    path: Path, curves: dict[str, tuple[np.ndarray, np.ndarray]], table: pd.DataFrame, title: str
) -> None:
    """Draw each event's hit rate against its false alarms while the threshold varies.

    Parameters
    ----------
    path : Path
        The PNG.
    curves : dict of str to (ndarray, ndarray)
        By event: false alarms per minute, and the share of true events that are hit.
    table : DataFrame
        One row per event with ``hit_rate`` and ``false_alarms_per_minute``: the chosen points.
    title : str
        Stands above the picture.
    """
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for number, (event, (alarms, hits)) in enumerate(curves.items()):
        color = event_color(number)
        axes.plot(alarms, hits, color=color, linestyle=STYLES[number % len(STYLES)], linewidth=1.4)
        axes.plot(
            table.loc[event, "false_alarms_per_minute"], table.loc[event, "hit_rate"],
            MARKERS[number % len(MARKERS)], color=color, markersize=9, markeredgecolor="black",
            label=f"{event}  F1 {table.loc[event, 'f1']:.3f}", zorder=3,
            clip_on=False,  # a point without any false alarm lies on the axis
        )  # fmt: skip
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    ticks = [0, 0.1, 1, 10, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="false alarms per minute", ylabel="hit rate (share of the true events)")
    figure.legend(
        title="chosen on the training series", loc="outside right upper", fontsize="small"
    )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def delays_picture(
    path: Path, delays: dict[str, np.ndarray], tolerance: float, title: str, bins: int = 40
) -> None:
    """Draw the distribution of each event's delays, with the median and the 5 and 95 % points.

    Parameters
    ----------
    path : Path
        The PNG.
    delays : dict of str to ndarray
        By event, in ms: onset minus true event.
    tolerance : float
        The largest possible delay, in s.
    title : str
        Stands above the picture.
    bins : int
        Number of bins of equal width.
    """
    edges = 1000 * np.linspace(-tolerance, tolerance, bins + 1)
    figure, panels = plt.subplots(
        len(delays), 1, sharex=True, figsize=(7.5, 1.15 * len(delays) + 1), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for number, ((event, mine), axes) in enumerate(zip(delays.items(), panels[:, 0], strict=True)):
        axes.hist(mine, edges, color=event_color(number), alpha=0.75)
        text = "no hits"
        if len(mine):
            low, middle, high = np.percentile(mine, [5, 50, 95], method="inverted_cdf")
            axes.axvline(middle, color="black", linewidth=1.5)
            for end in (low, high):
                axes.axvline(end, color="black", linewidth=0.9, linestyle="--")
            text = (
                f"{len(mine)} hits\nmedian {middle:.0f} ms\n5 to 95 %: {low:.0f} to {high:.0f} ms"
            )
        axes.text(0.99, 0.95, text, transform=axes.transAxes, ha="right", va="top",
                  fontsize="small")  # fmt: skip
        axes.axvline(0, color="0.5", linewidth=0.8, linestyle=":")
        axes.set_ylabel(event, rotation=0, ha="right", va="center")
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.get_major_locator().set_params(integer=True)
    panels[-1, 0].set_xlabel("delay from the true event (ms); bars count hits")
    panels[-1, 0].set_xlim(edges[0], edges[-1])
    figure.suptitle(f"{title}\nsolid: median; dashed: 5 and 95 %", fontsize="medium")
    figure.savefig(path, dpi=110)
    plt.close(figure)
