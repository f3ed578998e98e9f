"""Write the predictions of one recording as files that other programs can open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.results.decisions import Decider, Settings, runs

# Where no thresholds were chosen, an event is detected where its probability rises to this value:
# from here on, the event is as likely as not. Rare events seldom reach it, so their tables may be
# short or empty.
THRESHOLD = 0.5


def plain_settings(events: tuple[str, ...], rate: float) -> Settings:
    """Decide at `THRESHOLD`, with neither dwell nor refractory time."""
    none = (0.0,) * len(events)
    return Settings(events, rate, (THRESHOLD,) * len(events), none, none)


def detections(probabilities: np.ndarray, settings: Settings) -> pd.DataFrame:
    """Decide onsets as a live run does, and say how long each probability stays up.

    Parameters
    ----------
    probabilities : ndarray, shape (T, E)
        The probabilities of one recording.
    settings : Settings
        Events, rate, thresholds and times.

    Returns
    -------
    DataFrame
        ``onset`` and ``duration`` in s from the first sample, ``trial_type`` and the ``sample``,
        ordered by onset. These are the columns of a BIDS events file. An onset depends on no
        later sample. Its duration ends where the probability falls below the threshold, and is
        known only then.
    """
    ends = {}
    for column, event in enumerate(settings.events):
        _, ends[event] = runs(probabilities[:, column] >= settings.thresholds[column])
    rows = []
    for sample, event in Decider(settings).push(probabilities):
        end = ends[event][np.searchsorted(ends[event], sample, side="right")]
        rows.append((sample / settings.rate, (end - sample) / settings.rate, event, sample))
    return pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "sample"])


def write_predictions(
    folder: Path, name: str, probabilities: np.ndarray, settings: Settings
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
    settings : Settings
        The columns' names, the rate, and what onsets are decided with.
    """
    import mne

    table = pd.DataFrame(probabilities.astype(np.float32), columns=list(settings.events))
    table.insert(0, "time", np.arange(len(table)) / settings.rate)
    table.to_csv(folder / f"{name}_probabilities.csv", index=False, float_format="%.7g")
    found = detections(probabilities, settings)
    found.to_csv(folder / f"{name}_events.tsv", sep="\t", index=False, float_format="%.9g")
    marked = mne.Annotations(found["onset"], found["duration"], found["trial_type"].astype(str))
    marked.save(folder / f"{name}-annot.fif", verbose="error")
