"""Evaluate: the validating models' score on the held-out series, as the competition computes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.data.names import series_name, subject_name
from pipeline.data.recording import Description
from pipeline.results import figures, scoring
from pipeline.results.rhythm import Rhythm
from pipeline.results.rows import hold, scored_rows, sigmoid
from pipeline.results.uncertainty import auc_interval
from pipeline.stages.ingest import kept_path
from pipeline.stages.jobs import Key, jobs, logits_file
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context

# Rows of the table for data sets that bring their own events: what needs no EEG.
RHYTHM = {
    "cues_told": "knows when each event before took place, from its onset on, but not which it was",
    "cues_foretold": "knows each event before only once its label is over",
    "chance": "knows nothing",
}
# What is drawn of the held-out series, with the headings in the report.
PICTURES = {
    "roc": "ROC curves",
    "probabilities": "Probabilities, and the true events",
    "subjects": "AUC by subject and event",
    "reliability": "Reliability of the probabilities",
    "learning": "Learning curves",
}


def files(context: Context) -> tuple[str, ...]:
    """Name the outputs: the table, then the pictures."""
    return (context.file("auc", "csv"), *(context.file(kind, "png") for kind in PICTURES))


def task(context: Context, found: Sequence[Series]) -> Task:
    """Plan the evaluation."""
    planned = jobs(context, found, final=False)
    keys = sorted(key for job in planned for key in job.held_out)
    logits = [context.scored_folder.path / logits_file(key) for key in keys]
    labels = [context.ingest_folder.path / f"{series_name(*key)}_events.npy" for key in keys]
    series = {(raw.subject, raw.series): raw for raw in found}
    kept = [kept_path(context, series[key]) for key in keys]
    histories = [context.scored_folder.path / job.lines for job in planned]
    learned = sorted({key for job in planned for key in job.fit})
    if context.config.dataset.SUBMISSION:  # whose rhythm is known: docs/benchmark.md
        learned = []
    training = {
        key: context.ingest_folder.path / f"{series_name(*key)}_events.npy" for key in learned
    }
    return Task(
        context.results_folder, "evaluate",
        (*logits, *labels, *filter(None, kept), *histories, *training.values()),
        files(context), work,
        {
            "training": training,
            "keys": keys, "logits": logits, "labels": labels, "kept": kept, "histories": histories,
            "outputs": files(context), "about": context.about, "every": context.every,
            "name": context.name,
        },
        verify=True,
    )  # fmt: skip


def work(
    scratch: Path,
    report: Report,
    *,
    training: dict[Key, Path],
    keys: list[Key],
    logits: list[Path],
    labels: list[Path],
    kept: list[Path | None],
    histories: list[Path],
    outputs: tuple[str, ...],
    about: Description,
    every: int,
    name: str,
) -> None:
    """Score the held-out series, and draw."""
    truth, scores, whole, scored = {}, {}, {}, {}
    for key, logit_file, label_file, kept_file in zip(keys, logits, labels, kept, strict=True):
        truth[key] = whole[key] = np.load(label_file)
        if kept_file is None:
            scores[key] = hold(np.load(logit_file), every, len(truth[key]))
            scored[key] = np.arange(len(truth[key]))
        else:
            scored[key], at = scored_rows(np.load(kept_file), every)
            truth[key], scores[key] = truth[key][scored[key]], np.load(logit_file)[at]
    table = auc_table(truth, scores, about.events)
    if training:
        known = {key: np.load(file) for key, file in training.items()}
        table = pd.concat([table, rhythm_rows(known, whole, scored, about)])
    table.to_csv(scratch / outputs[0])
    drawn = dict(zip(PICTURES, (scratch / output for output in outputs[1:]), strict=True))
    _draw(drawn, table, truth, scores, about, name)
    curves = {file.name.removesuffix("_history.csv"): pd.read_csv(file) for file in histories}
    figures.learning_picture(drawn["learning"], curves, name)


def auc_table(
    truth: dict[Key, np.ndarray], scores: dict[Key, np.ndarray], events: tuple[str, ...]
) -> pd.DataFrame:
    """Compute the competition's metric, each subject's own, and the interval.

    Parameters
    ----------
    truth, scores : dict of (subject, series) to ndarray, each of shape (T, E)
    events : tuple of str
        The columns.

    Returns
    -------
    DataFrame
        A column per event and their mean. Rows: ``pooled`` (all rows of all subjects together),
        ``subj<name>``, ``subject_mean``, and ``pooled_low`` to ``pooled_high`` (95 % over trials).
    """
    pooled = scoring.score(
        np.concatenate(list(truth.values())), np.concatenate(list(scores.values())), events
    )
    rows = {"pooled": pooled}
    for subject in sorted({subject for subject, _ in truth}):
        mine = [key for key in truth if key[0] == subject]
        rows[subject_name(subject)] = scoring.score(
            np.concatenate([truth[key] for key in mine]),
            np.concatenate([scores[key] for key in mine]),
            events,
        )
    table = scoring.table(rows)
    # An undefined AUC stays undefined in the mean: it is never averaged away.
    table.loc["subject_mean"] = table.drop(index="pooled").mean(skipna=False)
    interval = auc_interval(list(truth.values()), list(scores.values()))
    table.loc["pooled_low"], table.loc["pooled_high"] = interval
    return table


def rhythm_rows(
    training: dict[Key, np.ndarray],
    held_out: dict[Key, np.ndarray],
    scored: dict[Key, np.ndarray],
    about: Description,
) -> pd.DataFrame:
    """Score what looks at no EEG; see `RHYTHM`.

    Parameters
    ----------
    training, held_out : dict of (subject, series) to ndarray, each of shape (T, E)
        Labels; each subject's rhythm is learned from its own training series, or from all where it
        has none.
    scored : dict of (subject, series) to ndarray of int, each of shape (n,)
        The rows of each held-out series that are scored.
    about : Description
        Events and rate.

    Returns
    -------
    DataFrame
        A column per event and their mean. The rows are pooled AUCs and their 95 % intervals over
        trials: ``cues_told``, ``cues_told_low``, ``cues_told_high``, ..., ``chance``.
    """
    truth = {key: labels[scored[key]] for key, labels in held_out.items()}
    together = np.concatenate(list(truth.values()))
    rows: dict[str, Sequence[float]] = {}
    for name in ("cues_told", "cues_foretold"):
        scores = {}
        for key, labels in held_out.items():
            own = [each for (subject, _), each in training.items() if subject == key[0]]
            rhythm = Rhythm.fit(own or list(training.values()), about.rate, name == "cues_told")
            scores[key] = rhythm.predict(labels)[scored[key]]
        pooled = scoring.score(together, np.concatenate(list(scores.values())), about.events)
        low, high = auc_interval(list(truth.values()), list(scores.values()))
        rows[name] = scoring.table({name: pooled}).loc[name].to_list()
        rows[f"{name}_low"], rows[f"{name}_high"] = low, high
    rows["chance"] = [0.5] * (len(about.events) + 1)
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*about.events, scoring.MEAN])


def _draw(
    drawn: dict[str, Path],
    table: pd.DataFrame,
    truth: dict[Key, np.ndarray],
    scores: dict[Key, np.ndarray],
    about: Description,
    name: str,
) -> None:
    """Draw the held-out series' pictures, but for the learning curves."""
    all_truth, all_scores = (
        np.concatenate(list(part.values())) for part in (truth, scores)
    )  # fmt: skip
    pooled = scoring.score(all_truth, all_scores, about.events)
    title = f"{name}: held-out series, pooled"
    figures.roc_picture(drawn["roc"], all_truth, all_scores, pooled, title)
    shown = next(iter(truth))
    figures.probability_picture(
        drawn["probabilities"], truth[shown], sigmoid(scores[shown]), about.events, about.rate,
        f"{name}: {series_name(*shown)}, held out",
    )  # fmt: skip
    subjects = table[table.index.str.startswith("subj") & (table.index != "subject_mean")]
    figures.heat_picture(drawn["subjects"], subjects, f"{name}: each subject's own AUC")
    figures.reliability_picture(
        drawn["reliability"], all_truth, sigmoid(all_scores), about.events, title
    )
