"""Write what a detector has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def write_tensors(path: Path, stored: dict[str, Any]) -> None:
    """Write tensors and plain values only, so that loading runs no code.

    Raises
    ------
    OSError
        If the disk is full, for instance. Given a path, PyTorch raises a RuntimeError that does not
        say why.
    """
    with path.open("wb") as file:
        torch.save(stored, file)
