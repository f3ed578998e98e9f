"""Predictions of one recording as files that other programs open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.recording import label_runs

# An event is detected where its probability rises to this. A probability of one half is where both
# answers are as likely; rare events seldom reach it, and their tables then say so by being short.
THRESHOLD = 0.5


def detections(probabilities: np.ndarray, events: tuple[str, ...], rate: float) -> pd.DataFrame:
    """Find where an event's probability rises to `THRESHOLD`, and how long it stays there.

    Parameters
    ----------
    probabilities : ndarray, shape (T, E)
        Of one recording.
    events : tuple of str
        The columns.
    rate : float
        Rows a second.

    Returns
    -------
    DataFrame
        ``onset`` and ``duration`` in s from the first sample, ``trial_type`` and the ``sample``,
        ordered by onset: the columns of a BIDS events file. An onset uses no later sample; a
        duration is known when it ends.
    """
    rows = [
        (first / rate, (last - first) / rate, event, first)
        for column, event in enumerate(events)
        for first, last in label_runs(probabilities[:, column] >= THRESHOLD)
    ]
    rows.sort(key=lambda row: (row[3], events.index(row[2])))
    return pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "sample"])


def write_predictions(
    folder: Path, name: str, probabilities: np.ndarray, events: tuple[str, ...], rate: float
) -> None:
    """Write one recording's probabilities and detected events.

    Writes ``<name>_probabilities.csv`` (``time`` in s, a column per event), ``<name>_events.tsv``
    (as BIDS has it) and ``<name>-annot.fif``, which MNE reads:
    ``raw.set_annotations(mne.read_annotations(...))``. Their onsets count from the first sample.

    Parameters
    ----------
    folder : Path
        Where to.
    name : str
        The recording's.
    probabilities : ndarray, shape (T, E)
        Between 0 and 1.
    events : tuple of str
        The columns.
    rate : float
        Rows a second.
    """
    import mne

    table = pd.DataFrame(probabilities.astype(np.float32), columns=list(events))
    table.insert(0, "time", np.arange(len(table)) / rate)
    table.to_csv(folder / f"{name}_probabilities.csv", index=False, float_format="%.7g")
    found = detections(probabilities, events, rate)
    found.to_csv(folder / f"{name}_events.tsv", sep="\t", index=False, float_format="%.9g")
    marked = mne.Annotations(found["onset"], found["duration"], found["trial_type"].astype(str))
    marked.save(folder / f"{name}-annot.fif", verbose="error")
