"""What is checked before any work, and needs libraries that the options' own checks do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mne
import numpy as np

from pipeline.config.options import Stage, left_by_a_fold
from pipeline.config.paths import expanded
from pipeline.errors import ConfigError
from pipeline.features.registry import make_features
from pipeline.work.files import probe

if TYPE_CHECKING:
    from pipeline.stages.context import Context


def check_before_work(context: Context) -> None:
    """Refuse what only a look at libraries and files shows: filters, a montage, places, a device.

    Parameters
    ----------
    context : Context
        Of the command; a stack's members are checked, too.

    Raises
    ------
    ConfigError
        Naming the key and what to do.
    """
    check_montage(context.about.montage)
    protocol, count = context.config.protocol, len(context.train_series)
    if protocol.own_series > count:
        raise ConfigError(
            f"protocol.own_series={protocol.own_series}: must be 0 to {count}: "
            "dataset.train_series names so many"
        )
    for text, member in zip(context.config.stack.names, context.members, strict=True):
        left = left_by_a_fold(count, context.config.stack.folds)
        if left < (needed := member.config.method.FEWEST_SERIES):
            raise ConfigError(
                f"stack.folds={context.config.stack.folds}: a fit without a fold has {left} "
                f"training series, and {text} needs {needed}; name more in dataset.train_series"
            )
    if context.config.stage in (Stage.train, Stage.evaluate, Stage.submit, Stage.adapt):
        check_output(context)
    submission = context.config.submission
    if context.config.stage is Stage.check and not expanded(submission or "").is_file():
        raise ConfigError(f"submission={submission}: there is no such file")
    for each in [context, *context.members]:
        if not each.members:
            check_bank(each)
    if context.entry.gpu:
        _ = context.device_type  # refused where there is no such device


def check_output(context: Context) -> None:
    """Refuse an output folder that cannot be written: it is written to after all training.

    Raises
    ------
    ConfigError
        Naming the key and the reason.
    """
    try:
        probe(context.results_folder.path)
    except OSError as error:
        raise ConfigError(
            f"output_dir={context.config.output_dir}: cannot be written ({error.strerror})"
        ) from error


def check_montage(name: str) -> None:
    """Refuse a montage that MNE does not know.

    Raises
    ------
    ConfigError
        Naming those that it knows.
    """
    if not name:  # the channels have no known places
        return
    known = mne.channels.get_builtin_montages()
    if name not in known:
        raise ConfigError(
            f"dataset.montage={name}: MNE knows no such montage; choose from {', '.join(known)}"
        )


def check_bank(context: Context) -> None:
    """Refuse a filter bank that cannot be built, or whose output does not stay finite.

    Raises
    ------
    ConfigError
        Naming the group and the reason.
    """
    how = "change the group filter (lower order, or cut-offs further from 0 and half of the rate)"
    try:
        bank = make_features(context.about.rate, context.bank)
        with np.errstate(all="ignore"):
            step = np.ones((4 * bank.every, len(context.about.channels)))
            step[1:] *= np.linspace(1, 100, len(step) - 1)[:, None]
            features, _ = bank.transform(step)
    except (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"filter: cannot be built ({reason}); {how}") from error
    if not np.isfinite(features).all():
        raise ConfigError(f"filter: is not stable in double precision; {how}")
