"""The average response to each event, for the report only.

No prediction uses any of this. So these windows may reach past the event, and the filter may look
ahead (zero phase).
"""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from pipeline.data.names import Id, series_name
from pipeline.data.recording import Description, Recording, label_runs
from pipeline.work.tasks import Report

AROUND = (-1.0, 1.0)  # s around an event's centre
LOWPASS_HZ = 20.0
NOTHING = "nothing"  # the comment in the file of a series that has no complete epoch


def average_series(
    scratch: Path, report: Report, folder: Path, subject: Id, series: Id, about: Description
) -> None:
    """Average one series around each of its events (the work of one task).

    Writes ``<name>-ave.fif``. It holds one `mne.Evoked` for each event that has a complete epoch;
    the comment of each is the name of the event.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Not used: the task is short.
    folder : Path
        The ingested recordings.
    subject, series : int or Name
        Which one.
    about : Description
        What the recordings share.
    """
    recording = Recording.load(folder, subject, series, about)
    assert recording.events is not None
    raw = recording.to_raw().set_annotations(None)
    before, after = (round(edge * about.rate) for edge in AROUND)
    whole = range(-before, len(recording.signal) - after)  # centres of complete epochs
    kept = recording.kept if recording.kept is not None else np.ones(len(recording.signal), bool)
    evokeds = []
    for column, event in enumerate(about.events):
        runs = label_runs(recording.events[:, column])
        centres = [c for c in ((first + last) // 2 for first, last in runs) if c in whole]
        centres = [c for c in centres if kept[c + before : c + after].all()]
        if not centres:
            continue
        epochs = mne.Epochs(
            raw, np.array([[c, 0, 1] for c in centres]), {event: 1}, *AROUND, baseline=None,
            detrend=0, preload=True, verbose=False,
        )  # fmt: skip
        evoked = epochs.average()
        evoked.comment = event
        evokeds.append(evoked)
    if not evokeds:  # a file must hold one
        evokeds.append(mne.EvokedArray(np.zeros((len(raw.ch_names), 1)), raw.info, comment=NOTHING))
    mne.write_evokeds(scratch / f"{series_name(subject, series)}-ave.fif", evokeds, verbose=False)


def grand_average(files: list[Path]) -> dict[str, mne.Evoked]:
    """Average the responses of all series. Each trial has the same weight.

    Parameters
    ----------
    files : list of Path
        From `average_series`.

    Returns
    -------
    dict of str to mne.Evoked
        The low-passed average, by event.
    """
    found: dict[str, list[mne.Evoked]] = {}
    for file in files:
        for evoked in mne.read_evokeds(file, verbose=False):
            if evoked.comment != NOTHING:
                found.setdefault(evoked.comment, []).append(evoked)
    together = {}
    for event, evokeds in found.items():
        together[event] = mne.combine_evoked(evokeds, "nave")
        high = LOWPASS_HZ if together[event].info["sfreq"] > 2 * LOWPASS_HZ else None
        together[event].filter(None, high, verbose=False)
        together[event].comment = event
    return together
