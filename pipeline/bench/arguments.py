"""The arguments of a benchmark's command, and its mistakes told in one line each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.compose import compose, mistake, reading, set_keys
from pipeline.config.kinds import methods, option_names
from pipeline.config.methods.lstm import LstmMethod
from pipeline.errors import ConfigError, PipelineError

# What says where and on what a benchmark computes. Nothing else may be set for a table that a
# document shows.
PLACES = ("data_dir", "output_dir", "workers", "device", "tracking", "parallel")
# What a benchmark sets itself.
OWN = ("experiment", "recipe", "stage")


def run_command(main: Callable[[list[str]], None]) -> None:
    """Run a benchmark with the arguments of its command line.

    Parameters
    ----------
    main : callable
        Takes the arguments.

    Raises
    ------
    SystemExit
        With one line, for a mistake of the user.
    """
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {mistake(error)}")


def chosen_recipes(
    arguments: Sequence[str],
    default: Sequence[str],
    known: Sequence[str],
    base: Sequence[str] = ("dataset=simulated",),
) -> tuple[list[str], list[str]]:
    """Split a command line into the recipes (``recipes=a,b``, or `default`) and Hydra's overrides.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line.
    default, known : sequence of str
        The recipes if none are named, and those that may be.
    base : sequence of str
        What the benchmark sets for all of them.

    Returns
    -------
    recipes, overrides : list of str

    Raises
    ------
    ConfigError, HydraException, OmegaConfBaseException
        If a recipe is not among `known`, or an override is one that the benchmark sets itself, or
        has a key or a value that cannot be.
    """
    mark = "recipes="
    chosen = [each.removeprefix(mark).split(",") for each in arguments if each.startswith(mark)]
    recipes = chosen[-1] if chosen else list(default)
    if unknown := [recipe for recipe in recipes if recipe not in known]:
        raise ConfigError(f"recipes={','.join(unknown)}: choose from {', '.join(known)}")
    overrides = [each for each in arguments if not each.startswith(mark)]
    keys = dict(zip(overrides, set_keys(overrides), strict=True))
    known_methods = methods().values()
    for override, key in keys.items():
        if key in OWN:
            raise ConfigError(f"{override}: the benchmark sets it; recipes=a,b names recipes")
        group, _, name = key.partition(".")
        if group == "method" and name and not any(name in option_names(o) for o in known_methods):
            raise ConfigError(f"{override}: no method has such an option")
    # A recipe drops what its method does not read, a misspelt key, too. An LSTM reads these groups.
    of_networks = [o for o, key in keys.items() if key.partition(".")[0] in LstmMethod.GROUPS]
    compose([*base, *of_networks])
    for recipe in recipes if overrides else ():
        compose(reading([f"experiment={recipe}", *base], overrides))
    return recipes, overrides


def is_documents_own(overrides: Sequence[str]) -> bool:
    """Tell whether what is measured may stand in a document: overrides only say where."""
    return all(key.partition(".")[0] in PLACES for key in set_keys(overrides))
