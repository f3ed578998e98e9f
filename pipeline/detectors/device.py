"""Where PyTorch computes."""

from __future__ import annotations

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
        torch.zeros(1, device=device).item()  # a device without memory gives no number
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:80]
        raise ConfigError(f"device={name}: cannot be used ({reason}); try device=auto") from error
    return device
