"""How well the times of earlier events predict the events, without any EEG.

The scores of the methods can be compared with this. ``python -m pipeline.bench.ceiling
[overrides]`` fits a gradient-boosted classifier that reads no EEG. For every row it is told exactly
how long ago each of the six events took place, but only some time after the event. Labels begin
before their events, so half of each label has to be predicted even if the past is known exactly.
The scores go into ``docs/recipes.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from pipeline.bench.arguments import run_command
from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import DATA, SPLIT
from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.data.recording import label_runs, series_name
from pipeline.results.scoring import score
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from pipeline.stages.jobs import jobs
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "recipes.md"
DELAYS = (0.0, 0.1, 0.2, 0.4, 0.8)  # s
LONGEST = 20.0  # s: longer times count as this one
EVERY = 5  # the classifier learns from every 5th row of the features


def seconds_since(labels: NDArray[np.uint8], rate: float, delay: float) -> NDArray[np.float64]:
    """Give at each row how long ago each event was, if it is known by then.

    Parameters
    ----------
    labels : ndarray, shape (T', E)
        1 from before each event until after it.
    rate : float
        Rows per second.
    delay : float
        In s: how long after its centre an event becomes known.

    Returns
    -------
    ndarray, shape (T', E)
        In s, at most `LONGEST`.
    """
    rows = np.arange(len(labels))
    since = np.full(labels.shape, LONGEST)
    for column in range(labels.shape[1]):
        centres = np.array([(first + last) / 2 for first, last in label_runs(labels[:, column])])
        if len(centres):
            last = np.searchsorted(centres, rows - delay * rate, side="right") - 1
            ago = (rows - centres[np.maximum(last, 0)]) / rate
            since[:, column] = np.where(last < 0, LONGEST, np.minimum(ago, LONGEST))
    return since


def main(overrides: list[str]) -> None:
    """Fit and score a classifier for each delay, print the table and write it.

    Parameters
    ----------
    overrides : list of str
        As on the pipeline's command line.
    """
    context = Context(compose([*DATA, *SPLIT, "filter=fbl", "stage=filter", *overrides]))
    run(context.config)
    rate = context.about.rate / context.every
    planned = jobs(context, find(context), final=False)
    events = planned[0].events
    lines = [
        f"| known after | {' | '.join(events)} | mean |",
        "|---" + "|--:" * (len(events) + 1) + "|",
    ]
    fitted, held_out = (
        [
            (subject, np.load(job.folder / f"{series_name(subject, series)}_labels.npy"))
            for job in planned
            for subject, series in getattr(job, part)
        ]
        for part in ("fit", "held_out")
    )
    active, truth = (np.concatenate([own for _, own in side]) for side in (fitted, held_out))
    for delay in DELAYS:
        known, then = (
            np.concatenate(
                [np.insert(seconds_since(own, rate, delay), len(events), s, 1) for s, own in side]
            )
            for side in (fitted, held_out)
        )
        scores = np.empty(truth.shape)
        for column in range(len(events)):
            model = HistGradientBoostingClassifier(
                max_iter=80, categorical_features=[len(events)], random_state=0
            )
            model.fit(known[::EVERY], active[::EVERY, column])
            scores[:, column] = model.decision_function(then)
        row = list(score(truth, scores, events).row().values())
        lines.append(f"| {delay:g} s | " + " | ".join(f"{value:.4f}" for value in row) + " |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + f"\n\n{machine(cores())}; {len(context.subjects)} subjects.\n"
    write_between(DOC, "ceiling", text)


if __name__ == "__main__":
    run_command(main)
