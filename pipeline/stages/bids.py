"""BIDS: the ingested recordings as a data set that every BIDS tool opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.paths import path
from pipeline.data.bids_files import write_bids
from pipeline.data.recording import Recording
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context


def write(context: Context, found: Sequence[Series]) -> Path:
    """Write all ingested series; the folder is there when all of it is.

    Raises
    ------
    ConfigError
        Where the folder is there already.
    """
    name = context.config.dataset.name
    folder = path(context.config.output_dir) / name / "bids"
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; remove it, or set another output_dir")
    recordings = [
        Recording.load(context.ingest_folder.path, raw.subject, raw.series, context.about)
        for raw in found
    ]
    hidden = folder.with_name(f".{os.getpid()}.bids")
    try:
        write_bids(hidden, recordings, name, name)
        os.replace(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return folder
