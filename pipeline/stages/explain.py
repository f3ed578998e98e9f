"""Explain: what the validating models look at, if ``explain=true``.

Linear detectors and chains have activation patterns (`pipeline.results.patterns`). Networks are
asked what they lose when a channel, a band or a stretch of the past is permuted
(`pipeline.results.permutation`). `pipeline.stages.explain_subject` does it, one subject after
another; here all subjects become tables and pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.names import series_name, subject_name
from pipeline.data.recording import Description
from pipeline.results import explained_figures
from pipeline.results.explained import Explained
from pipeline.results.permutation import SERIES
from pipeline.stages.explain_subject import SPANS, Material, power_bands, work
from pipeline.stages.ingest import recording_paths
from pipeline.stages.jobs import jobs, place
from pipeline.work.tasks import Report, Task

if TYPE_CHECKING:
    from pipeline.data.series import Series
    from pipeline.stages.context import Context

PICTURES = {
    "patterns": "What the detector responds to: EEG",
    "powers": "What the detector responds to: power",
    "permuted": "What the detector needs: AUC lost by what is permuted",
}
"""By kind, with the headings in the report."""


def shown(context: Context) -> tuple[str, ...]:
    """Say what is shown of a recipe: of a stack no patterns, because it reads no EEG."""
    return tuple(each for each in context.entry.shown if each not in SPANS or not context.members)


def files(context: Context) -> tuple[str, ...]:
    """Name the outputs: a table and its pictures for each kind that is shown."""
    wanted, named = shown(context), []
    if set(wanted) & set(SPANS):
        named += [("patterns", "csv"), ("patterns", "png")]
        if power_bands(context.bank):
            named.append(("powers", "png"))
    if "permuted" in wanted:
        named += [("permuted", "csv"), ("permuted", "png")]
    return tuple(context.file(*each) for each in named)


def pictures(context: Context, paths: Sequence[Path]) -> dict[str, Path]:
    """Give the pictures among the outputs by their headings in the report."""
    headings = {context.file(kind, "png"): text for kind, text in PICTURES.items()}
    return {headings[path.name]: path for path in paths if path.name in headings}


def subject_tasks(context: Context, found: Sequence[Series]) -> list[Task]:
    """Plan one task per subject."""
    series, made = {(raw.subject, raw.series): raw for raw in found}, []
    material = Material(
        context.about, context.ingest_folder.path, context.feature_folder.path, context.every,
        None if context.members else context.bank, context.feature_kind,
        tuple(context.config.stack.names), context.config.seed,
    )  # fmt: skip
    for job in jobs(context, found, final=False):
        for subject in job.subjects:
            fitted = [key for key in job.fit if key[0] == subject]
            held_out = [key for key in job.held_out if key[0] == subject][:SERIES]
            inputs = [place(context, job).path / job.model]
            for key in (*fitted, *held_out):
                inputs += recording_paths(context, series[key])
                kinds = ("features.npy", "labels.npy", "moments.npz")
                inputs += [job.folder / f"{series_name(*key)}_{kind}" for kind in kinds]
            arguments = {
                "subject": subject, "model": inputs[0], "material": material, "fitted": fitted,
                "held_out": held_out, "shown": shown(context),
                "detector": (context.entry.module, context.entry.name),
            }  # fmt: skip
            name = subject_name(subject)
            output = (f"{name}_explained.npz",)
            made.append(Task(context.explain_folder, name, tuple(inputs), output, work, arguments))
    return made


def task(context: Context, subjects: Sequence[Path]) -> Task:
    """Plan the tables and pictures of all subjects together.

    Parameters
    ----------
    context : Context
        Of the command.
    subjects : sequence of Path
        What `subject_tasks` wrote.
    """
    return Task(
        context.results_folder, "explain", tuple(subjects), files(context), draw,
        {
            "subjects": list(subjects), "outputs": files(context), "about": context.about,
            "name": context.name, "around": "around" in shown(context),
        },
        verify=True,
    )  # fmt: skip


def draw(
    scratch: Path,
    report: Report,
    *,
    subjects: list[Path],
    outputs: tuple[str, ...],
    about: Description,
    name: str,
    around: bool,
) -> None:
    """Write the means over the subjects, and draw them."""
    mean = Explained.mean([Explained.load(path) for path in subjects])
    title = f"{name}: mean of {len(subjects)} subjects" if len(subjects) > 1 else name
    for output in outputs:
        path = scratch / output
        kind, suffix = output.partition("_")[0], Path(output).suffix
        if suffix == ".csv":
            table = mean.pattern_table(about) if kind == "patterns" else mean.loss_table(about)
            table.to_csv(path, index=False, float_format="%.5g")
        elif kind == "permuted":
            explained_figures.loss_picture(path, mean.loss_table(about), about, title)
        else:
            chosen = {
                k: v for k, v in mean.patterns.items() if (k == "EEG") == (kind == "patterns")
            }
            explained_figures.pattern_picture(path, chosen, mean.seconds, about, around, title)
