"""Where the project's own folders are; relative paths start there, not at the shell's folder."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
CONF = PROJECT / "conf"


def path(text: str) -> Path:
    """Resolve a configured path: relative ones start at the project, not at the shell's folder."""
    return PROJECT / Path(text).expanduser()
