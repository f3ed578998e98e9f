"""Where PyTorch computes: the device, and the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Turn the option ``device`` into a device.

    Parameters
    ----------
    name : str
        ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` takes a GPU where there is one.

    Raises
    ------
    ConfigError
        When there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device={name}: cannot be used ({reason}); try device=auto") from error
    return device


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with a fixed number of threads, and restore the number afterwards.

    The last bits of a sum depend on how many threads share it, so what must come out the same on
    every machine runs with a number that does not depend on the machine.

    Parameters
    ----------
    count : int
        Threads, 1 or more.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
