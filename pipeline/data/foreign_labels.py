"""Annotations and stimulus codes to labels: which rows belong to which event, and which to none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.foreign_options import ForeignOptions, some
from pipeline.errors import DataError

if TYPE_CHECKING:
    import mne

Mark = tuple[float, float, str]
"""Onset and duration in s from the first sample, and what it says."""


def marks_of(raw: mne.io.BaseRaw, options: ForeignOptions, path: Path) -> list[Mark]:
    """List what is marked in a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording. MNE counts its annotations from the same moment as ``first_samp``, whether
        the file has a measurement date or not.
    options : ForeignOptions
        Its `stim_channel` says where to look for codes.
    path : Path
        For messages.

    Raises
    ------
    DataError
        For a stimulus channel that is not there.
    """
    import mne

    marks = [
        (float(onset) - raw.first_time, float(duration), str(text))
        for onset, duration, text in zip(
            raw.annotations.onset, raw.annotations.duration, raw.annotations.description,
            strict=True,
        )
    ]  # fmt: skip
    if options.stim_channel is None:
        return marks
    if options.stim_channel not in raw.ch_names:
        raise DataError(
            f"{path}: has no channel dataset.stim_channel={options.stim_channel}; it has "
            f"{', '.join(raw.ch_names)}"
        )
    data = raw.copy().pick([options.stim_channel]).load_data(verbose="error")
    data.set_channel_types({options.stim_channel: "stim"}, verbose="error")
    found = mne.find_events(data, options.stim_channel, shortest_event=1, verbose="error")
    rate = raw.info["sfreq"]
    codes = [((int(row) - raw.first_samp) / rate, 0.0, str(code)) for row, _, code in found]
    return [mark for mark in marks if is_bad(mark[2])] + codes


def is_bad(text: str) -> bool:
    """Tell whether an annotation marks a span to be left out, as MNE understands it."""
    return text.upper().startswith(("BAD", "EDGE"))


def label_rows(
    marks: list[Mark], rows: int, rate: float, options: ForeignOptions, notes: list[str]
) -> np.ndarray:
    """Write marks as labels.

    Parameters
    ----------
    marks : list of Mark
        Of one recording.
    rows : int
        T, the recording's.
    rate : float
        Samples a second; need not be whole. Each onset is rounded on its own, so nothing drifts.
    options : ForeignOptions
        Its `markers`, `label`, `before` and `after`.
    notes : list of str
        Told what lies outside of the recording, and which event never occurs.

    Returns
    -------
    ndarray of uint8, shape (T, E)
    """
    events = options.events
    labels = np.zeros((rows, len(events)), dtype=np.uint8)
    outside: Counter[str] = Counter()
    for onset, duration, text in marks:
        if text not in options.markers:
            continue
        if not 0 <= round(onset * rate) < rows:
            outside[text] += 1
            continue
        begin, end = onset - options.before, onset + options.after
        if options.label == "span":
            begin, end = onset, onset + duration
        first, last = max(0, round(begin * rate)), round(end * rate)
        labels[first : max(last, first + 1), events.index(options.markers[text])] = 1
    for text, count in outside.items():
        notes.append(f"{count} of {text!r} lie outside of the recording and are left out")
    never = [event for column, event in enumerate(events) if not labels[:, column].any()]
    notes += [f"{event} never occurs" for event in never]
    return labels


def kept_rows(marks: list[Mark], signal: np.ndarray, rate: float, notes: list[str]) -> np.ndarray:
    """Say which rows are fit to be learned from and scored.

    Parameters
    ----------
    marks : list of Mark
        Those that begin with BAD are left out. MNE marks what pads an EDF file to whole records
        like that.
    signal : ndarray, shape (T, C)
        Where every channel stays the same to the end, for a quarter of a second or more, the end is
        padding, too.
    rate : float
        Samples a second.
    notes : list of str
        Told how much is left out.

    Returns
    -------
    ndarray of bool, shape (T,)
    """
    kept = np.ones(len(signal), dtype=bool)
    spans: Counter[str] = Counter()
    for onset, duration, text in marks:
        if is_bad(text):
            first = max(0, int(np.floor(onset * rate + 1e-6)))
            last = int(np.ceil((onset + duration) * rate - 1e-6))
            if first < len(kept) and last > 0:
                spans[text] += int(kept[first:last].sum())
                kept[first:last] = False
    notes += [
        f"{rows / rate:g} s of {text} are left out of fitting and scoring"
        for text, rows in spans.items()
    ]
    moves = np.flatnonzero((np.diff(signal, axis=0) != 0).any(axis=1))
    end = int(moves[-1]) + 2 if len(moves) else 0
    if end > 0 and len(signal) - end >= rate / 4 and kept[end:].any():
        kept[end:] = False
        notes.append(
            f"its last {(len(signal) - end) / rate:g} s are padding (no channel changes) and are "
            "left out of fitting and scoring"
        )
    return kept


def refuse_unlabelled(marks: list[Mark], options: ForeignOptions, path: Path) -> None:
    """Refuse a series that is to be learned from or scored, and has no mark that is asked for.

    Raises
    ------
    DataError
        Naming what it has.
    """
    if any(text in options.markers for _, _, text in marks):
        return
    there = sorted({text for _, _, text in marks})
    found = f"it has {some([repr(text) for text in there])}" if there else "it has none at all"
    where = f"codes in {options.stim_channel}" if options.stim_channel else "annotations"
    raise DataError(
        f"{path}: none of its {where} is one of dataset.markers "
        f"({some([repr(text) for text in options.markers])}); {found}. Name them in "
        "dataset.markers, or give the series to dataset.test_series"
    )
