"""Hydra onto the typed options, and what is wrong with a command line in one line."""

from __future__ import annotations

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from pipeline.config.options import Config, check
from pipeline.config.paths import CONF, path

# For Hydra's own files; here, because a sweep's workers import this before they compose.
OmegaConf.register_new_resolver("project", lambda text: str(path(text)), replace=True)


def register() -> None:
    """Make the schema known to Hydra under the name that ``conf/config.yaml`` starts from."""
    ConfigStore.instance().store(name="schema", node=Config)


def compose(overrides: list[str]) -> Config:
    """Compose and check a configuration as the command line does.

    Parameters
    ----------
    overrides : list of str
        E.g. ``["dataset=simulated", "model.hidden=64"]``.

    Returns
    -------
    Config

    Raises
    ------
    HydraException, OmegaConfBaseException
        For an unknown key or group, or a value of the wrong type.
    ConfigError
        For a contradiction.
    """
    register()
    running = GlobalHydra.instance().hydra  # the command line's own, when a recipe names others
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return checked(hydra_compose("config", overrides))
    finally:
        GlobalHydra.instance().hydra = running


def mistake(error: BaseException) -> str:
    """Say in one line what is wrong with a command line or a file of ``conf/``.

    Parameters
    ----------
    error : HydraException, OmegaConfBaseException or MarkedYAMLError
        As raised while composing.
    """
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}: line {mark.line + 1}: " if mark else ""
        return f"{where}{error.problem or error.context}"
    text = str(error).split("\nConfig search path")[0]
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        text += f"\n{str(cause).splitlines()[0]}"
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("To append to your config")]
    head = next((i for i, line in enumerate(lines) if line.endswith(":")), len(lines))
    told = "; ".join(lines[: head + 1])
    return told + (f" {', '.join(rest)}" if (rest := lines[head + 1 :]) else "")


def checked(composed: DictConfig) -> Config:
    """Turn what Hydra composed into the dataclasses, and check it."""
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    check(config)
    return config
