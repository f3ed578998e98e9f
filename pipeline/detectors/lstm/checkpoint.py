"""The whole state of a training on disk, so that one that was killed resumes to the same bits."""

from __future__ import annotations

import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from pipeline.detectors.stored import write_tensors


@dataclass
class Progress:
    """Where a training stands.

    Parameters
    ----------
    epoch, batch : int
        The position in the data.
    step : int
        Batches of all epochs.
    loss_sum, rows : float, int
        Of the rows that were learned from since the last line of the history.
    best_value, best_epoch : float
        Of the weights that are kept so far: what they were chosen by, and when.
    finished : bool
        Whether nothing is left to learn.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    best_value: float = -float("inf")
    best_epoch: float = 0.0
    finished: bool = False


class Checkpoint:
    """Writes and reads the state of a training. A file is written whole or not at all.

    Parameters
    ----------
    path : Path
        The file, renamed into place.
    device : torch.device
        Where the training draws its dropout.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device

    def write(self, progress: Progress, parts: dict[str, Any]) -> None:
        """Write the position, the state of the random numbers, and what else the training needs.

        Parameters
        ----------
        progress : Progress
            The position.
        parts : dict
            Tensors and plain values only: weights, optimiser, history, carried state.
        """
        hidden = self.path.with_suffix(".writing")
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        write_tensors(hidden, {"progress": asdict(progress), "random": random, **parts})
        os.replace(hidden, self.path)

    def read(self) -> tuple[Progress, dict[str, Any]] | None:
        """Read what `write` wrote last, and set the random numbers' state.

        Returns
        -------
        progress, parts : Progress and dict, or None
            None if there is no file, or if it is damaged, e.g. cut short by a loss of power. The
            training then begins anew, and ends with the same weights.
        """
        if not is_whole(self.path):
            return None
        stored = torch.load(self.path, map_location="cpu", weights_only=True)
        random = stored.pop("random")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)
        return Progress(**stored.pop("progress")), stored


def is_whole(path: Path) -> bool:
    """Tell whether a file of `torch.save` is there with the bytes that were written.

    PyTorch itself does not compare the sums that it writes.
    """
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile, ValueError, RuntimeError, EOFError, struct.error):
        return False
