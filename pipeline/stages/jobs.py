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
    channels : int
        Of the recordings.
    history : Path, optional
        The validating twin's ``_history.csv``.
    scale : tuple of Key
        (subject, series) that one scaler for all subjects is fitted on; empty for one scaler per
        subject, fitted on its own series of `fit`.
    folds : int
        Of so many folds of the training series it predicts one; 0 if it predicts other series.
    others : tuple of Path
        Models of other subjects, which it adapts to a new one; empty for a fit from the start.
    subject : int, Name or None
        The new subject.
    """

    name: str
    fit: tuple[Key, ...]
    held_out: tuple[Key, ...]
    test: tuple[Key, ...]
    folder: Path
    events: tuple[str, ...]
    channels: int
    history: Path | None = None
    scale: tuple[Key, ...] = ()
    folds: int = 0
    others: tuple[Path, ...] = ()
    subject: Id | None = None

    def __post_init__(self) -> None:
        seen = set(self.fit) & set(self.predict)
        if seen:
            raise ValueError(f"{self.name} would predict series that it learns from: {seen}")

    @property
    def predict(self) -> tuple[Key, ...]:
        """(subject, series) whose logits are written: never one of `fit`."""
        return (*self.held_out, *self.test)

    @property
    def subjects(self) -> list[Id]:
        """Whose series the model is for."""
        fitted = {subject for subject, _ in self.fit}
        return sorted(fitted if self.subject is None else {self.subject})

    @property
    def unseen(self) -> bool:
        """Whether the model is for a subject of whom nothing was recorded."""
        return bool(self.others) and not self.fit

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
    if job.others:
        return context.adapted_folder
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
    if context.config.protocol.leaves_out:
        return _adapting(context, found, final)
    return _within(context, found, final)


def _within(context: Context, found: Sequence[Series], final: bool) -> list[Job]:
    """Plan the fits of models for subjects whose series teach them."""
    if final and not context.config.train.refit:
        return []
    planned = _jobs(context, found, *_series(context, final))
    if not final:
        return planned
    folder = context.train_folder.path
    return [
        replace(job, history=folder / f"{group}_validate_history.csv")
        for job, group in zip(planned, groups(context, found), strict=True)
    ]


def _series(context: Context, final: bool) -> tuple[str, list[Id], list[Id], list[Id]]:
    """Name a round of fits, and its series: fitted, held out, and only predicted."""
    test = context.unlabelled if final or not context.config.train.refit else []
    if final:
        return "final", context.labelled, [], test
    return "validate", context.train_series, context.valid_series, test


def other_jobs(context: Context, found: Sequence[Series], final: bool) -> list[Job]:
    """Plan the fits on other subjects, which `jobs` adapts to each subject who is left out.

    One model per subject is the same as within subjects, and is fitted once. One model for all
    subjects is fitted anew for each subject, without him.
    """
    if not context.config.protocol.leaves_out or (final and not context.config.train.refit):
        return []
    if context.config.train.scope is Scope.subject:
        return _within(context, found, final)
    name, fit, *_ = _series(context, final)
    planned = []
    for subject in sorted({raw.subject for raw in found}):
        rest = [raw for raw in found if raw.subject != subject]
        (job,) = _jobs(context, rest, f"without_{subject_name(subject)}_{name}", fit, [], [])
        planned.append(job)
    return planned


def _adapting(context: Context, found: Sequence[Series], final: bool) -> list[Job]:
    """Plan how others' models are adapted to each subject, who counts as new.

    Raises
    ------
    DataError
        There is one subject only, or one has too few series of his own.
    """
    if final and not context.config.train.refit:
        return []
    subjects = sorted({raw.subject for raw in found})
    protocol = context.config.protocol
    if len(subjects) < 2:
        raise DataError(
            f"subject {subjects[0]}: protocol={protocol.kind.name} needs other subjects to learn "
            "from, and there are none; name more in dataset.subjects"
        )
    others = other_jobs(context, found, final)
    name, _, held_out, test = _series(context, final)
    planned = []
    for number, subject in enumerate(subjects):
        mine = {raw.series for raw in found if raw.subject == subject}

        def keys(series: Sequence[Id], subject: Id = subject, mine: set[Id] = mine) -> list[Key]:
            return [(subject, each) for each in series if each in mine]

        own = keys(sorted(context.train_series))
        if len(own) < protocol.own_series:
            raise DataError(
                f"subject {subject}: has {len(own)} of the series that dataset.train_series "
                f"names, and protocol.own_series={protocol.own_series}"
            )
        _refuse_none(subject, "valid", held_out, keys(held_out))
        if context.config.train.scope is Scope.subject:
            fits = [job for job in others if subject not in job.subjects]
        else:
            fits = [others[number]]
        models = tuple(place(context, job).path / job.model for job in fits)
        planned.append(
            Job(
                f"{subject_name(subject)}_{name}", tuple(own[: protocol.own_series]),
                tuple(keys(held_out)), tuple(keys(test)), context.feature_folder.path,
                context.about.events, len(context.about.channels), others=models,
                subject=subject,
            )
        )  # fmt: skip
    return planned


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
            context.feature_folder.path, context.about.events, len(context.about.channels),
            scale=keys(everyone, scale),
        )
        for group, subjects in groups(context, found).items()
    ]  # fmt: skip
    for job, subjects in zip(planned, groups(context, found).values(), strict=True):
        for wanted, named, kind in ((fit, job.fit, "train"), (held_out, job.held_out, "valid")):
            _refuse_none(", ".join(map(str, subjects)), kind, wanted, named)
    return planned


def _refuse_none(whose: Id | str, kind: str, wanted: Sequence[Id], named: Sequence[Key]) -> None:
    """Refuse subjects who have none of the series that a split names."""
    if wanted and not named:
        raise DataError(
            f"subject {whose}: has none of the series {', '.join(map(str, wanted))}, which "
            f"dataset.{kind}_series names; leave the subject out (dataset.subjects=[...]), name a "
            "series that it has, or fit one model for all (train.scope=global)"
        )
