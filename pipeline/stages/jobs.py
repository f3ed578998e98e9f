"""Which models are fitted on what, and what each predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.lstm import Scaler, Scope
from pipeline.data.names import Id, in_file_name, series_name, subject_name
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context
    from pipeline.work.tasks import Folder

Key = tuple[Id, Id]
"""A series: (subject, series)."""


@dataclass(frozen=True)
class Job:
    """One fit: on which series, and what is predicted afterwards.

    Parameters
    ----------
    name : str
        E.g. ``subj3_validate``.
    fit : tuple of Key
        (subject, series) that are learned from.
    held_out : tuple of Key
        (subject, series) whose labels choose the epoch and give the score. If there are none, a
        network trains for as many epochs as the `history` of its validating twin says.
    test : tuple of Key
        (subject, series) that are only predicted.
    folder : Path
        Where the features are.
    events : tuple of str
        The columns' names.
    history : Path, optional
        The validating twin's ``_history.csv``.
    scale : tuple of Key
        (subject, series) that one scaler for all subjects is fitted on; empty for one scaler per
        subject, fitted on its own series of `fit`.
    folds : int
        Of so many folds of the training series it predicts one; 0 if it predicts other series.
    """

    name: str
    fit: tuple[Key, ...]
    held_out: tuple[Key, ...]
    test: tuple[Key, ...]
    folder: Path
    events: tuple[str, ...]
    history: Path | None = None
    scale: tuple[Key, ...] = ()
    folds: int = 0

    def __post_init__(self) -> None:
        seen = set(self.fit) & set(self.predict)
        if seen:
            raise ValueError(f"{self.name} would predict series that it learns from: {seen}")

    @property
    def predict(self) -> tuple[Key, ...]:
        """(subject, series) whose logits are written: never one of `fit`."""
        return (*self.held_out, *self.test)

    @property
    def model(self) -> str:
        """The model's file."""
        return f"{self.name}_model.pt"

    @property
    def lines(self) -> str:
        """The history's file."""
        return f"{self.name}_history.csv"

    def outputs(self) -> tuple[str, ...]:
        """Name the files that a fit writes."""
        return (self.model, self.lines, *(logits_file(key) for key in self.predict))


def logits_file(key: Key) -> str:
    """Name the file of a series' logits."""
    return f"{series_name(*key)}_logits.npy"


def place(context: Context, job: Job) -> Folder:
    """Say where what a fit makes is kept: fits of folds with those of as many folds."""
    if not job.folds:
        return context.train_folder
    return replace(
        context.train_folder, stage="folds", options=job.folds, upstream=context.train_folder.key
    )


def groups(context: Context, found: Sequence[Series]) -> dict[str, list[Id]]:
    """Say which subjects share a model, by the model's name."""
    subjects = sorted({raw.subject for raw in found})
    if context.config.train.scope is Scope.subject:
        return {subject_name(s): [s] for s in subjects}
    return {"all": subjects}


def jobs(context: Context, found: Sequence[Series], final: bool) -> list[Job]:
    """Plan the fits: validating ones, or the final ones that follow them.

    Without ``train.refit`` the validating models predict the test series, and none follow.
    """
    train = context.config.train
    if final and not train.refit:
        return []
    fit = context.labelled if final else context.train_series
    held_out = [] if final else context.valid_series
    test = context.unlabelled if final or not train.refit else []
    planned = _jobs(context, found, "final" if final else "validate", fit, held_out, test)
    if not final:
        return planned
    folder = context.train_folder.path
    return [
        replace(job, history=folder / f"{group}_validate_history.csv")
        for job, group in zip(planned, groups(context, found), strict=True)
    ]


def last_jobs(context: Context, found: Sequence[Series]) -> list[Job]:
    """Say which fits predict the test series."""
    return jobs(context, found, final=True) or jobs(context, found, final=False)


def folds(series: Sequence[Id], count: int) -> list[list[Id]]:
    """Split series into so many folds of neighbours, as even as can be."""
    ordered = sorted(series)
    return [[ordered[i] for i in fold] for fold in np.array_split(range(len(ordered)), count)]


def fold_jobs(
    context: Context,
    found: Sequence[Series],
    count: int,
    teaching: Sequence[Series] | None = None,
) -> list[Job]:
    """Plan the fits that predict the training series themselves, a fold at a time.

    Parameters
    ----------
    context : Context
        Of the recipe.
    found : sequence of Series
        All.
    count : int
        How many folds.
    teaching : sequence of Series, optional
        Those that can be learned from. A fold then leaves out the subjects whom no series outside
        of it teaches. Without it they are refused.
    """
    series, planned = context.train_series, []
    for fold in folds(series, count):
        rest = [s for s in series if s not in fold]
        chosen = list(found)
        if teaching is not None:
            able = {raw.subject for raw in teaching if raw.series in rest}
            chosen = [raw for raw in found if raw.subject in able]
        if not chosen:
            continue
        name = "without" + "-".join(in_file_name(s) for s in fold)
        planned += [
            replace(job, folds=count) for job in _jobs(context, chosen, name, rest, [], fold)
        ]
    return planned


def _jobs(
    context: Context,
    found: Sequence[Series],
    name: str,
    fit: list[Id],
    held_out: list[Id],
    test: list[Id],
) -> list[Job]:
    """Plan a fit for each model, on those of these series that are there."""
    there = {(raw.subject, raw.series) for raw in found}
    everyone = sorted({subject for subject, _ in there})
    scale = {
        Scaler.subject: [], Scaler.shared: fit, Scaler.shared_labelled: context.labelled
    }[context.config.train.scaler]  # fmt: skip

    def keys(subjects: Sequence[Id], series: Sequence[Id]) -> tuple[Key, ...]:
        return tuple((s, r) for s in subjects for r in sorted(series) if (s, r) in there)

    planned = [
        Job(
            f"{group}_{name}", keys(subjects, fit), keys(subjects, held_out), keys(subjects, test),
            context.feature_folder.path, context.about.events, None, keys(everyone, scale),
        )
        for group, subjects in groups(context, found).items()
    ]  # fmt: skip
    for job, subjects in zip(planned, groups(context, found).values(), strict=True):
        for wanted, named, kind in ((fit, job.fit, "train"), (held_out, job.held_out, "valid")):
            if wanted and not named:
                raise DataError(
                    f"subject {', '.join(map(str, subjects))}: has none of the series "
                    f"{', '.join(map(str, wanted))}, which dataset.{kind}_series names; leave the "
                    "subject out (dataset.subjects=[...]), name a series that it has, or fit one "
                    "model for all (train.scope=global)"
                )
    return planned
