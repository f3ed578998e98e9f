"""A recording: one series of one subject, as every later step sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline.data.names import Id, series_name

if TYPE_CHECKING:
    import mne

LEFT_OUT = "BAD_left_out"
"""Annotation of rows that are not fit to be learned from or scored; MNE leaves them out, too."""


class DescribesRecordings(Protocol):
    """Has the fields of `Description`, as a data set of the configuration does."""

    @property
    def channels(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def events(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def rate(self) -> float: ...  # noqa: D102
    @property
    def unit_volts(self) -> float: ...  # noqa: D102
    @property
    def montage(self) -> str: ...  # noqa: D102
    @property
    def relative(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Description:
    """What all recordings of a data set share.

    Parameters
    ----------
    channels : tuple of str
        The C channel names, in the order of the signal's columns.
    events : tuple of str
        The E event names, in the order of the labels' columns.
    rate : float
        Samples a second.
    unit_volts : float
        Volts in one unit of the signal.
    montage : str
        Name of the MNE standard montage that knows the channels' positions; empty where none does.
    relative : bool
        Whether each channel counts from its first sample, because amplifiers may have any offset.
    """

    channels: tuple[str, ...]
    events: tuple[str, ...]
    rate: float
    unit_volts: float
    montage: str
    relative: bool = False

    @classmethod
    def of(cls, dataset: DescribesRecordings) -> Description:
        """Take the description from a data set of the configuration."""
        return cls(
            tuple(dataset.channels),
            tuple(dataset.events),
            dataset.rate,
            dataset.unit_volts,
            dataset.montage,
            dataset.relative,
        )


@dataclass(frozen=True)
class Recording:
    """One series of one subject.

    Parameters
    ----------
    subject, series : int or Name
        Which one it is; recordings are ordered by these two as people count.
    signal : ndarray, shape (T, C)
        The samples in the file's own units, in a compact type, often memory-mapped read-only.
    events : ndarray of uint8, shape (T, E), or None
        1 where an event is active; None for a series without labels.
    about : Description
        Names, rate and units.
    kept : ndarray of bool, shape (T,), or None
        False where a row is not fit to be learned from or scored; None for all rows.
    told : dict
        What is to be told of the file that it was read from.
    """

    subject: Id
    series: Id
    signal: np.ndarray
    events: np.ndarray | None
    about: Description
    kept: np.ndarray | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the series, e.g. ``subj3_series7``."""
        return series_name(self.subject, self.series)

    @classmethod
    def load(cls, folder: Path, subject: Id, series: Id, about: Description) -> Recording:
        """Open an ingested recording, memory-mapped.

        Parameters
        ----------
        folder : Path
            Where ingestion put it.
        subject, series : int or Name
            Which one.
        about : Description
            What the data set's recordings share.
        """
        name = series_name(subject, series)
        labels, kept = (folder / f"{name}_{kind}.npy" for kind in ("events", "kept"))
        return cls(
            subject,
            series,
            np.load(folder / f"{name}_signal.npy", mmap_mode="r"),
            np.load(labels, mmap_mode="r") if labels.exists() else None,
            about,
            np.load(kept) if kept.exists() else None,
        )

    def to_raw(self) -> mne.io.Raw:
        """Give the recording to MNE.

        Returns
        -------
        mne.io.Raw
            Channels of type EEG in volts (``unit_volts`` a unit), at the montage's positions where
            it has one; each run of an event's label is an annotation of that name, and each run of
            rows that are not kept one that MNE leaves out.
        """
        import mne

        info = mne.create_info(list(self.about.channels), self.about.rate, "eeg")
        volts = np.asarray(self.signal, dtype=np.float64).T * self.about.unit_volts
        raw = mne.io.RawArray(volts, info, verbose=False)
        if self.about.montage:
            raw.set_montage(self.about.montage, match_case=False, verbose=False)
        runs = [(LEFT_OUT, run) for run in label_runs(~self.kept)] if self.kept is not None else []
        if self.events is not None:
            for column, event in enumerate(self.about.events):
                runs += [(event, run) for run in label_runs(self.events[:, column])]
            rate = self.about.rate
            raw.set_annotations(
                mne.Annotations(
                    [first / rate for _, (first, _) in runs],
                    [(last - first) / rate for _, (first, last) in runs],
                    [name for name, _ in runs],
                )
            )
        return raw


def label_runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Find where a label is 1.

    Parameters
    ----------
    labels : ndarray, shape (T,)
        Zeros and ones.

    Returns
    -------
    list of (int, int)
        First row of each run of ones, and the row after its last.
    """
    edges = np.diff(np.concatenate([[0], np.asarray(labels, dtype=np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b)) for a, b in zip(starts, stops, strict=True)]
