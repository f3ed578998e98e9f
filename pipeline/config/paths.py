"""Where the project's own folders are; relative paths start there, not at the shell's folder."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent.parent
CONF = PROJECT / "conf"


def path(text: str) -> Path:
    """Resolve a configured path: relative ones start at the project, not at the shell's folder.

    Raises
    ------
    ConfigError
        There is no such home folder.
    """
    return PROJECT / expanded(text)


def expanded(text: str) -> Path:
    """Put the home folder in the place of ``~``.

    Raises
    ------
    ConfigError
        There is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: there is no such home folder; write the whole path") from error
