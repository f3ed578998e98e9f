"""Write what a benchmark measured into a document, between its markers."""

from __future__ import annotations

import platform
import re
import statistics
import sys
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


def write_between(path: Path, marker: str, text: str) -> None:
    """Replace the text between ``<!-- marker:begin -->`` and ``<!-- marker:end -->``.

    Parameters
    ----------
    path : Path
        A Markdown file.
    marker : str
        Name of the markers. If the file lacks them, the program ends with an error.
    text : str
        The new text; it must end with a newline.
    """
    marked = re.compile(rf"(<!-- {marker}:begin -->\n).*(<!-- {marker}:end -->)", re.DOTALL)
    old = path.read_text(encoding="utf-8")
    if not marked.search(old):
        sys.exit(f"error: {path}: the markers {marker}:begin and {marker}:end are gone")
    new = marked.sub(lambda match: match[1] + text + match[2], old)
    write_whole(path, lambda hidden: write_text(hidden, new))
