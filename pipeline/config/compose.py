"""Hydra onto the typed options, and what is wrong with a command line in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from pipeline.config.demand import demand_of
from pipeline.config.foreign_dataset import BidsDataset, MneDataset
from pipeline.config.kinds import filters, methods
from pipeline.config.lstm import Model, Scope, Train, Window
from pipeline.config.options import Config, check, is_read, plain, refuse_unread
from pipeline.config.paths import CONF, path
from pipeline.errors import ConfigError

# For Hydra's own files; here, because a sweep's workers import this before they compose.
OmegaConf.register_new_resolver("project", lambda text: str(path(text)), replace=True)

MEMBERS_HINT = ": \"stack.members=[lstm,'fbl_lda filter=fbl']\""

# What a stack's members have in common with it.
SHARED = (
    "dataset", "stage", "threads", "workers", "device", "data_dir", "output_dir", "tracking",
    "decisions", "explain", "live", "adapt", "parallel", "protocol",
)  # fmt: skip


@cache
def register() -> None:
    """Make the classes known to Hydra under the names that the files of ``conf/`` start from.

    ``schema`` is the whole configuration, ``method/<kind>_options`` the options of one method,
    ``filter/<kind>_options`` those of one kind of features.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="dataset", name="mne_options", node=open_maps(MneDataset))
    store.store(group="dataset", name="bids_options", node=open_maps(BidsDataset))
    for kind, options in methods().items():
        store.store(group="method", name=f"{kind}_options", node=options)
    for kind, of_features in filters().items():
        store.store(group="filter", name=f"{kind}_options", node=of_features)


def open_maps(options: type) -> DictConfig:
    """Let a command line add keys to the options that are maps, such as ``dataset.markers``."""
    node = OmegaConf.structured(options)
    for key in node:
        if OmegaConf.get_type(node, key) is dict:
            OmegaConf.set_struct(node[key], False)
    return node


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
            return checked(hydra_compose("config", overrides), overrides)
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
    if isinstance(error, OverrideParseException):
        told = (
            f"{error.override}: cannot be read; give KEY=VALUE, with quotes around a value that "
            "has a sign such as a blank, a bracket or a semicolon in it"
        )
        return told + (MEMBERS_HINT if error.override.startswith("stack.") else "")
    text = str(error).split("\nConfig search path")[0]
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        text += f"\n{str(cause).splitlines()[0]}"
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("To append to your config")]
    head = next((i for i, line in enumerate(lines) if line.endswith(":")), len(lines))
    told = "; ".join(lines[: head + 1])
    rest = [line for line in lines[head + 1 :] if not line.endswith("_options")]  # no files
    told += f" {', '.join(rest)}" if rest else ""
    if isinstance(cause, OmegaConfBaseException):
        told += _nearest(cause)
    return told


def _nearest(cause: OmegaConfBaseException) -> str:
    """Ask whether a key that is spelt alike was meant."""
    if not is_dataclass(cause.object_type):
        return ""
    names = [each.name for each in fields(cause.object_type)]
    near = get_close_matches(str(cause.key), names, n=1)
    return f"; did you mean {near[0]}?" if near and near[0] != cause.key else ""


def unclear(arguments: Sequence[str]) -> str:
    """Say what is wrong with an argument of which Hydra says nothing clear; "" if nothing is.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line.
    """
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    for each in arguments:
        group, equals, value = each.partition("=")
        if equals and not group.strip("+~ "):
            return f"{each}: names no key; give KEY=VALUE"
        if group in groups and re.fullmatch("null|[0-9.]+|true|false|", value):
            return f"{each}: names no file of conf/{group}"
    return ""


def checked(composed: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Turn what Hydra composed into the dataclasses, and check it.

    Parameters
    ----------
    composed : DictConfig
        By Hydra.
    overrides : sequence of str
        What was set beside the files of ``conf/``: keys that the method does not read are refused.

    Raises
    ------
    ConfigError
        For a value that cannot be, a contradiction, or a key that is not read.
    """
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    _refuse_unknown(config)
    check(config)
    keys = set_keys(overrides)
    refuse_unread(config, keys)
    config.live.refuse_unread(config.stage.name, keys)
    return config


def recipe_groups(config: Config) -> dict[str, Any]:
    """Give the groups that a recipe's method and features are made from, plain.

    Parameters
    ----------
    config : Config
        Of one level.
    """
    names = ("filter", "method", *config.method.GROUPS)
    groups = {name: plain(getattr(config, name)) for name in names}
    return groups | {"recipe": config.recipe, "scope": config.train.scope.name}


def with_recipe(config: Config, groups: dict[str, Any]) -> Config:
    """Put a fitted recipe's groups into a configuration.

    Parameters
    ----------
    config : Config
        With everything else.
    groups : dict
        From `recipe_groups`.

    Raises
    ------
    ConfigError, OmegaConfBaseException, LookupError, TypeError, ValueError
        They are not what this version knows.
    """
    types = {
        "filter": filters()[groups["filter"]["kind"]],
        "method": methods()[groups["method"]["kind"]],
        "window": Window, "model": Model, "train": Train,
    }  # fmt: skip
    typed: dict[str, Any] = {
        name: OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(types[name]), values))
        for name, values in groups.items()
        if name in types
    }
    train = replace(typed.pop("train", config.train), scope=Scope[groups["scope"]])
    found = replace(config, recipe=groups["recipe"], train=train, **typed)
    found.method.check(demand_of("method", found.method))
    return found


def _refuse_unknown(options: Any, place: str = "") -> None:
    """Refuse keys that were added with a ``+`` and that nothing reads."""
    known = {each.name for each in fields(options)}
    for key, value in vars(options).items():
        if key not in known:
            raise ConfigError(f"{place}{key}: there is no such key, so nothing would read it")
        if is_dataclass(value):
            _refuse_unknown(value, f"{place}{key}.")


def set_keys(overrides: Sequence[str]) -> list[str]:
    """Name the keys and groups that overrides set."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [each.get_key_element().lstrip("+~") for each in parsed]


def reading(wanted: Sequence[str], common: Sequence[str]) -> list[str]:
    """Add those of some common overrides to a recipe's own that its method reads.

    Parameters
    ----------
    wanted : sequence of str
        The recipe's own; they go before the common ones.
    common : sequence of str
        Of recipes with different methods.

    Raises
    ------
    HydraException, OmegaConfBaseException, ConfigError
        See `compose`.
    """
    alone = compose(list(wanted))
    parsed = OverridesParser.create().parse_overrides(list(common))
    read = [each.input_line for each in parsed if is_read(alone, each.get_key_element())]
    return [*wanted, *(line for line in read if line)]


def compose_members(config: Config) -> list[Config]:
    """Compose the recipes of a stack's first level, on the same data and splits.

    Parameters
    ----------
    config : Config
        Of the second level. Its seed is added to the members' own.

    Raises
    ------
    ConfigError
        For a member that is no recipe, contradicts itself, or sets what all members share.
    """
    members = []
    for text in config.stack.names:
        recipe, *overrides = text.split()
        try:
            for override in overrides:
                group = override.lstrip("+~").partition("=")[0].partition(".")[0]
                if group in SHARED:
                    raise ConfigError(f"{override}: all members share {group} with the stack")
                if group in ("experiment", "recipe", "hydra"):
                    raise ConfigError(f"{override}: the member's recipe is its first word")
            wanted = reading([f"experiment={recipe}", *overrides], config.stack.overrides)
            member = compose(wanted)
            if member.stack.members:
                raise ConfigError("it is a stack itself; name its members")
            shared = {key: getattr(config, key) for key in SHARED}
            member = replace(member, **shared, seed=config.seed + member.seed)
            check(member)
        except (ConfigError, HydraException, OmegaConfBaseException, ValueError) as error:
            reason = mistake(error) if not isinstance(error, ConfigError) else str(error)
            raise ConfigError(f"stack.members: {text!r}: {reason}") from error
        members.append(member)
    return members
