"""Write the predictions of one recording as files that other programs can open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.recording import label_runs

# An event is detected where its probability rises to this value: from here on, the event is as
# likely as not. Rare events seldom reach it, so their tables may be short or empty.
THRESHOLD = 0.5


def detections(probabilities: np.ndarray, events: tuple[str, ...], rate: float) -> pd.DataFrame:
    """Find where an event's probability rises to `THRESHOLD`, and how long it stays there.

    Parameters
    ----------
    probabilities : ndarray, shape (T, E)
        The probabilities of one recording.
    events : tuple of str
        The columns.
    rate : float
        Rows per second.

    Returns
    -------
    DataFrame
        ``onset`` and ``duration`` in s from the first sample, ``trial_type`` and the ``sample``,
        ordered by onset. These are the columns of a BIDS events file. An onset depends on no
        later sample; a duration is known only when the event ends.
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
        Where to write.
    name : str
        Name of the recording.
    probabilities : ndarray, shape (T, E)
        Between 0 and 1.
    events : tuple of str
        The columns.
    rate : float
        Rows per second.
    """
    import mne

    table = pd.DataFrame(probabilities.astype(np.float32), columns=list(events))
    table.insert(0, "time", np.arange(len(table)) / rate)
    table.to_csv(folder / f"{name}_probabilities.csv", index=False, float_format="%.7g")
    found = detections(probabilities, events, rate)
    found.to_csv(folder / f"{name}_events.tsv", sep="\t", index=False, float_format="%.9g")
    marked = mne.Annotations(found["onset"], found["duration"], found["trial_type"].astype(str))
    marked.save(folder / f"{name}-annot.fif", verbose="error")
