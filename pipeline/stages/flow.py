"""The stages of one command, in their order, as far as the configuration's ``stage`` says.

The raw files are simulated where there are none, and ingested: checked, and kept as recordings.
Recordings become causal features; for a stack, its members are fitted first and their logits are
the features. The validating models learn from the training series, and are scored on the held-out
ones; if wanted, their probabilities become onsets. The final models learn from both, and predict
the test series: the submission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.config.options import Config, Stage
from pipeline.data.series import Series
from pipeline.data.sources import finder
from pipeline.results import scoring
from pipeline.results.predictions import THRESHOLD
from pipeline.stages import (
    bids,
    decide,
    evaluate,
    explain,
    features,
    ingest,
    members,
    predictions,
    record,
    report,
    simulate,
    submit,
)
from pipeline.stages import train as training
from pipeline.stages.checks import check_before_work
from pipeline.stages.context import Context, Say
from pipeline.stages.jobs import Job, jobs, other_jobs, place
from pipeline.work.files import write_text, write_whole
from pipeline.work.tasks import Task


@dataclass(frozen=True)
class Result:
    """Where a command's results are.

    Parameters
    ----------
    folder : Path or None
        The recipe's folder of results; None where the command stopped before.
    submission : Path or None
        The submission; for other data the folder with the files of each test recording.
    auc : DataFrame or None
        AUC per event and their mean: pooled, per subject, and the subjects' mean.
    decisions : DataFrame or None
        One row per event (`pipeline.stages.decide.decision_table`); None unless they are enabled.
    """

    folder: Path | None = None
    submission: Path | None = None
    auc: pd.DataFrame | None = None
    decisions: pd.DataFrame | None = None


def run(config: Config, say: Say = print, given: record.Given | None = None) -> Result:
    """Run the pipeline as far as ``config.stage`` says.

    Parameters
    ----------
    config : Config
        Composed and checked.
    say : callable
        Prints a line.
    given : Given, optional
        What the user set on the command line. With it, the end of a submission says with which
        command the fitted model can be watched.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        A mistake in the configuration or in the data, told in one line.
    """
    context = Context(config, say)
    check_before_work(context)
    recorded = config.stage in (Stage.train, Stage.evaluate, Stage.submit)
    if recorded:
        context.tracker.check()
    try:
        result = _go(context, config.stage, given)
        if recorded:
            pooled = {} if result.auc is None else result.auc.loc["pooled"].dropna().to_dict()
            context.tracker.join({f"auc_{event}": value for event, value in pooled.items()})
        context.tracker.close()
    except BaseException as error:
        context.tracker.close(error)
        raise
    return result


def _go(context: Context, stage: Stage, given: record.Given | None) -> Result:
    say = context.say
    if stage is Stage.check:
        check(context)
        return Result()
    if stage is Stage.simulate:
        find(context)
        say(str(context.raw))
        return Result()
    found = find(context)
    context.run("ingest", ingest.tasks(context, found), context.workers)
    ingest.tell(context, found)
    if stage is Stage.bids:
        say(str(bids.write(context, found)))
        return Result()
    if stage is Stage.ingest:
        say(str(context.ingest_folder.path))
        return Result()
    make_features(context, found)
    if stage is Stage.filter:
        say(str(context.feature_folder.path))
        return Result()
    fit(context, found, other_jobs(context, found, final=False), "others")
    fit(context, found, jobs(context, found, final=False), "train")
    if stage is Stage.train:
        say(str(context.scored_folder.path))
        return Result()
    auc = score(context, found)
    folder = context.results_folder.path
    held_out = ", ".join(map(str, context.config.dataset.valid_series))
    say(f"\nAUC on series {held_out} ({context.name})\n")
    say(scoring.show(auc) + "\n")
    say("pooled: all subjects' rows together; pooled_low to pooled_high: its 95 % interval\n")
    for row, meaning in evaluate.RHYTHM.items():
        if row in auc.index:
            say(f"{row}: looks at no EEG; {meaning}")
    decisions = read_decisions(context, found)
    if decisions is not None:
        tolerance = context.config.decisions.tolerance_seconds
        say("Onsets, chosen on the training series; in brackets: 95 % over trials\n")
        say(f"{scoring.show_cells(decide.show(decisions))}\n")
        say(f"a hit: within {tolerance:g} s of the true event\n")
    if stage is Stage.evaluate:
        say(str(folder))
        return Result(folder, None, auc, decisions)
    fit_final(context, found)
    path = write_predictions(context, found)
    write_whole(folder / "config.yaml", lambda hidden: write_text(hidden, context.settings))
    for line in [*record.next_step(context, found, given), str(path)]:
        say(line)
    return Result(folder, path, auc, decisions)


def find(context: Context) -> list[Series]:
    """List the raw series that the splits name, ordered by (subject, series).

    Where they are simulated, they are made first.
    """
    if context.config.dataset.source == "simulated":
        context.run("simulate", simulate.tasks(context), context.workers)
        return list(simulate.series(context))
    find_series = finder(context.config.dataset.source)
    more = context.config.dataset.source_options
    return find_series(context.raw, context.subjects, context.labelled, context.unlabelled, **more)


def make_features(context: Context, found: Sequence[Series]) -> None:
    """Turn recordings into features; a stack's: the labelled ones, the others when they can be."""
    if context.members:
        stack(context, [raw for raw in found if raw.labelled], found)
        return
    context.run("filter", features.tasks(context, found), context.workers)


def stack(context: Context, wanted: Sequence[Series], found: Sequence[Series]) -> None:
    """Fit a stack's members as far as these series need it, and put their logits together."""
    labelled = all(raw.labelled for raw in wanted)
    for text, member in zip(context.config.stack.names, context.members, strict=True):
        context.say(f"\nmember   {text}")
        if labelled:
            make_features(member, found)
            fit(member, found, members.labelled_jobs(context, member, found), "folds")
        else:
            fit_final(member, found)
    context.say("")
    context.run("stack", members.tasks(context, wanted, found), context.workers)


def fit(context: Context, found: Sequence[Series], planned: list[Job], title: str) -> None:
    """Fit models, each in a process of its own while there are cores."""
    if not planned:
        return
    if parts := training.part_tasks(context, found, planned):
        context.run("parts", parts, training.workers(context, len(parts)), context.listen)
    tasks = training.tasks(context, found, planned)
    workers = training.workers(context, len(planned))
    summary = context.run(title, tasks, workers, context.listen)
    histories = {
        f"{context.label}{job.name}": place(context, job).path / job.lines
        for job in planned
        if context.is_recorded(job.name)
    }
    context.tracker.trained(histories, bool(summary.done))


def fit_final(context: Context, found: Sequence[Series]) -> None:
    """Fit the models that predict the test series."""
    if context.members:
        stack(context, [raw for raw in found if not raw.labelled], found)
    fit(context, found, other_jobs(context, found, final=True), "others")
    fit(context, found, jobs(context, found, final=True), "final")


def score(context: Context, found: Sequence[Series]) -> pd.DataFrame:
    """Score the validating models on their held-out series, and write the report."""
    task = evaluate.task(context, found)
    done = context.run("evaluate", [task]).done
    decided = decide_onsets(context, found) if decide.possible(context, found) else None
    if decided:
        done += context.run("decide", [decided]).done
    explained: dict[str, Path] = {}
    if context.config.explain:
        each = explain.subject_tasks(context, found)
        context.run("look", each, context.workers)
        together = explain.task(context, [path for one in each for path in one.paths()])
        done += context.run("explain", [together]).done
        explained = explain.pictures(context, together.paths())
    averages = report.evoked_tasks(context, found)
    context.run("evoked", averages, context.workers)
    paths = [path for each in averages for path in each.paths()]
    onsets = decided.paths() if decided else []
    page = report.task(context, task.paths(), onsets, explained, paths)
    done += context.run("report", [page]).done
    auc = pd.read_csv(task.paths()[0], index_col=0)
    if context.tracker.wants(bool(done)):
        record.scores(context, found, auc, read_decisions(context, found))
    return auc


def decide_onsets(context: Context, found: Sequence[Series]) -> Task:
    """Fit the folds that predict the training series, and plan the decisions."""
    fit(context, found, decide.training_jobs(context, found), "folds")
    return decide.task(context, found)


def read_decisions(context: Context, found: Sequence[Series]) -> pd.DataFrame | None:
    """Read the table of decided onsets; None if there are none."""
    if not decide.possible(context, found):
        return None
    return pd.read_csv(context.results_folder.path / decide.files(context)[0], index_col=0)


def write_predictions(context: Context, found: Sequence[Series]) -> Path:
    """Write the final models' predictions of the test series: a submission, or files for each."""
    if context.config.dataset.SUBMISSION:
        task = submit.task(context, found)
        done, files = context.run("submit", [task]).done, task.paths()
        path = files[0]
    else:
        if not decide.possible(context, found):
            say = "decisions.enabled=false" if context.config.decisions.enabled is False else (
                "too few training series to choose thresholds on"
            )  # fmt: skip
            context.say(f"onsets: where a probability rises to {THRESHOLD:g} ({say})")
        tasks = predictions.tasks(context, found)
        done, files = context.run("predict", tasks, context.workers).done, []
        files = [path for task in tasks for path in task.paths()]
        path = context.results_folder.path
    if context.tracker.wants(bool(done)):
        record.model(context, found, files)
    return path


def check(context: Context) -> None:
    """Check any submission file against the test rows."""
    found = find(context)
    if submit.find_sample(context.raw) is None:
        context.run("ingest", ingest.tasks(context, found), context.workers)
    submit.check(context, found)
