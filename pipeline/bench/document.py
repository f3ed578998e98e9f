"""Write what a benchmark measured into a document, between its markers."""

from __future__ import annotations

import platform
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import torch

from pipeline.work.files import write_text, write_whole

SEEDS_HEAD = "| what | AUC, mean of seeds | each | difference |"  # of `seeds_row`
SEEDS_RULE = "|---|--:|---|--:|"


def machine(cores: int) -> str:
    """Say when and on what a table was measured."""
    version = torch.__version__.split("+")[0]
    return f"{date.today():%Y-%m-%d}, {platform.machine()}, {cores} cores, torch {version}"


def seeds_row(name: str, aucs: list[float], base: float) -> str:
    """Write a row of a table: the mean AUC over seeds, the AUC of each seed, and the difference."""
    mean = statistics.fmean(aucs)
    each = ", ".join(f"{auc:.4f}" for auc in aucs)
    return f"| {name} | {mean:.4f} | {each} | {mean - base:+.4f} |"


def read_between(path: Path, marker: str) -> str:
    """Give the text between ``<!-- marker:begin -->`` and ``<!-- marker:end -->``.

    Parameters
    ----------
    path : Path
        A Markdown file.
    marker : str
        Name of the markers. If the file lacks them, the program ends with an error.
    """
    return _between(path, marker)[2]


def write_between(path: Path, marker: str, text: str) -> None:
    """Replace what `read_between` gives.

    Parameters
    ----------
    path, marker
        As for `read_between`.
    text : str
        The new text; it must end with a newline.
    """
    found = _between(path, marker)
    new = found.string[: found.start(2)] + text + found.string[found.end(2) :]
    write_whole(path, lambda hidden: write_text(hidden, new))


def renewed(old: Iterable[str], new: Iterable[str], order: Sequence[str]) -> list[str]:
    """Put new lines of a table in the place of old ones of the same name.

    Parameters
    ----------
    old, new : iterable of str
        Lines; the first cell is the name, as code or not.
    order : sequence of str
        The names in the table's order; a line of another name, such as the head, is left out.
    """
    lines = {line.split("|")[1].strip("` "): line for line in (*old, *new) if line.startswith("|")}
    return [lines[name] for name in order if name in lines]


def _between(path: Path, marker: str) -> re.Match[str]:
    """Find the markers and, as the second group, what stands between them."""
    marked = re.compile(rf"(<!-- {marker}:begin -->\n)(.*)(<!-- {marker}:end -->)", re.DOTALL)
    found = marked.search(path.read_text(encoding="utf-8"))
    if not found:
        sys.exit(f"error: {path}: the markers {marker}:begin and {marker}:end are gone")
    return found
