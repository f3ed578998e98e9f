"""The model card: what a logged model is, how good it is, and what it may not be used for.

Its parts follow Mitchell et al. (2019), "Model Cards for Model Reporting".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.config.options import Config
from pipeline.data.names import Id, identity

if TYPE_CHECKING:
    import pandas as pd


def model_card(
    config: Config, name: str, auc: pd.DataFrame | None, address: str, subject: Id
) -> str:
    """Write the card of a fitted recipe.

    Parameters
    ----------
    config : Config
        Of the command that fitted it.
    name : str
        The run's name.
    auc : DataFrame or None
        AUC per event and ``mean``: rows ``pooled``, ``pooled_low``, ``pooled_high`` and one per
        subject. None where nothing was held out.
    address : str
        Where MLflow finds the model, e.g. ``models:/m-...``.
    subject : int or Name
        One that it knows, for the example.

    Returns
    -------
    str
        Markdown.
    """
    data = config.dataset
    simulated = data.source == "simulated"
    kind = "**simulated** recordings: no human EEG was used" if simulated else "recordings of EEG"
    fitted = [identity(series) for series in data.train_series]
    if config.train.refit and auc is not None:
        fitted = sorted({*fitted, *(identity(series) for series in data.valid_series)})
    lines = [
        f"# Model card: {name}",
        "",
        f"It gives the probability of each of {len(data.events)} events at every sample of an EEG "
        "recording. A prediction uses no later sample.",
        "",
        "## Data",
        "",
        f"- Data set: `{data.name}`, {kind}.",
        f"- Input: {len(data.channels)} channels at {data.rate:g} Hz, raw, in units of "
        f"{1e6 * data.unit_volts:g} µV: {', '.join(data.channels)}.",
        f"- Output: {', '.join(data.events)}.",
        f"- Fitted on series {_listed(fitted)}{_scored(config, auc)}.",
        f"- Recipe: `{config.recipe}`{_whose(config)}.",
        "",
        "## Area under the ROC curve",
        "",
        *_aucs(auc),
        "",
        "## What it may not be used for",
        "",
        *_limits(simulated),
        "",
        "## How to call it",
        "",
        "```python",
        "import mlflow",
        f'model = mlflow.pyfunc.load_model("{address}")',
        "# samples: one series from its start, a DataFrame with a column per channel",
        f'model.predict(samples, params={{"subject": {subject!r}}})',
        "```",
        "",
    ]
    return "\n".join(lines)


def _scored(config: Config, auc: pd.DataFrame | None) -> str:
    """Say on which series it was scored."""
    data = config.dataset
    if auc is None:
        return ", and scored on none"
    return (
        f". Scored on series {_listed(data.valid_series)} after fitting on series "
        f"{_listed(data.train_series)}"
    )


def _whose(config: Config) -> str:
    """Say whether other subjects taught a subject's model, and how many series of his own did."""
    protocol = config.protocol
    if not protocol.leaves_out:
        return ""
    own = f"the first {protocol.own_series}" if protocol.own_series else "none"
    return f", fitted on the series of other subjects and on {own} of his own"


def _aucs(auc: pd.DataFrame | None) -> list[str]:
    """Write the table of AUCs."""
    if auc is None:
        return ["Not known: no series was held out."]
    pooled, low, high = (auc.loc[row] for row in ("pooled", "pooled_low", "pooled_high"))
    return [
        "All rows of the scored series together; the interval is 95 %, over trials.",
        "",
        "| event | AUC | interval |",
        "| :--- | ---: | :---: |",
        *(
            f"| {event} | {_figure(pooled[event])} | "
            f"{_figure(low[event])} to {_figure(high[event])} |"
            for event in auc.columns
        ),
    ]


def _limits(simulated: bool) -> list[str]:
    """List the uses that the data do not support."""
    first = [
        "- Any statement about people: it has learned from a simulator. Its AUC says that the "
        "program works, not how well events are found in real EEG."
    ]
    return [
        *(first if simulated else []),
        "- Diagnosis, treatment, or the control of a device that can hurt someone.",
        "- A person whom it has not learned from: it knows its subjects only, by their names.",
        "- Another cap, channel order, sampling rate, unit or task than the above.",
        "- A series that is given to `predict` in parts: each call starts its filters anew. A live "
        "signal needs `pipeline.serving.stream.Stream`, or `make live`.",
    ]


def _listed(series: Sequence[object]) -> str:
    return ", ".join(str(each) for each in series)


def _figure(auc: float) -> str:
    return "one class" if math.isnan(auc) else f"{auc:.4f}"
