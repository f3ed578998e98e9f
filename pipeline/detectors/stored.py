"""Write what a detector has learned."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch


def write_tensors(path: Path, stored: dict[str, Any]) -> None:
    """Write tensors and plain values only, so that loading runs no code.

    Raises
    ------
    OSError
        If the disk is full, for instance. PyTorch, writing to the disk itself, raises a
        RuntimeError that does not say why.
    """
    whole = BytesIO()
    torch.save(stored, whole)
    path.write_bytes(whole.getbuffer())
