"""A folder of recordings in any format that MNE reads, to recordings on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.channel_names import known_names
from pipeline.data.foreign_channels import choose_channels
from pipeline.data.foreign_labels import (
    Mark,
    is_bad,
    kept_rows,
    label_rows,
    marks_of,
    refuse_unlabelled,
)
from pipeline.data.foreign_options import UNIT_VOLTS, ForeignOptions, pattern_regex, some
from pipeline.data.foreign_reading import open_raw, told_by_mne
from pipeline.data.names import LONGEST, Id, identity, series_name
from pipeline.data.recording import Description, Recording
from pipeline.errors import DataError

if TYPE_CHECKING:
    import mne

# Microvolts: the standard deviation of EEG, with whatever drift an amplifier lets through, is
# within these by far; a unit that is wrong by a factor of 1000 is not.
PLAUSIBLE = (0.05, 10_000.0)
TYPICAL = 30.0  # microvolts
SHORTEST = 0.25  # s

Open = Callable[[Path, ForeignOptions], "tuple[mne.io.BaseRaw, list[str]]"]


@dataclass(frozen=True)
class ForeignSeries:
    """The files of one series.

    Parameters
    ----------
    subject, series : int or Name
        Which one.
    path : Path
        What MNE is given.
    paths : tuple of Path
        All files that it is read from.
    labelled : bool
        Whether its events are read.
    options : ForeignOptions
        How.
    opener : callable
        Opens `path`.
    """

    subject: Id
    series: Id
    path: Path
    paths: tuple[Path, ...]
    labelled: bool
    options: ForeignOptions
    opener: Open = open_raw

    @property
    def name(self) -> str:
        """How its files are named from now on."""
        return series_name(self.subject, self.series)

    @property
    def extra(self) -> tuple[str, ...]:
        """What is kept beside the signal and the labels."""
        return ("kept.npy", "about.json") if self.labelled else ("about.json",)

    def read(self, about: Description) -> Recording:
        """Read and check it.

        Parameters
        ----------
        about : Description
            Its channels and rate are demanded, its events are the labels' columns.

        Returns
        -------
        Recording
            The signal is float32, in units of `UNIT_VOLTS`, each channel less its first sample if
            the options say so. The offset of an amplifier without a high-pass would take the digits
            that EEG needs.

        Raises
        ------
        DataError
            Naming the file, the place and what to do.
        """
        raw, notes = self.opener(self.path, self.options)
        rate = float(raw.info["sfreq"])
        if not np.isclose(rate, about.rate, rtol=1e-9):
            raise DataError(
                f"{self.path}: is sampled at {rate:g} Hz, and the data set at {about.rate:g} Hz; "
                "resample it (mne.io.Raw.resample), or leave it out"
            )
        chosen = choose_channels(raw, self.options, about.channels, self.path, notes)
        with told_by_mne(self.path, notes):
            volts = raw.get_data(picks=list(chosen.in_file), verbose="warning").T
        signal = self._checked(volts * self.options.unit_factor, chosen.in_file, rate, notes)
        marks = marks_of(raw, self.options, self.path)
        labels = kept = None
        if self.labelled:
            refuse_unlabelled(marks, self.options, self.path)
            labels = label_rows(marks, len(signal), rate, self.options, notes)
            kept = kept_rows(marks, signal, rate, notes)
            if not kept.any():
                raise DataError(f"{self.path}: all of it is marked BAD; leave the series out")
        return Recording(
            self.subject, self.series, signal, labels, about, kept,
            {**told(raw, chosen.in_file, marks), "file": str(self.path), "notes": notes},
        )  # fmt: skip

    def _checked(
        self, volts: np.ndarray, names: Sequence[str], rate: float, notes: list[str]
    ) -> np.ndarray:
        """Refuse samples that are no EEG; give the others as they are stored."""
        if len(volts) < SHORTEST * rate:
            raise DataError(
                f"{self.path}: has {len(volts)} samples ({len(volts) / rate:g} s), which is too "
                f"short to be a series; leave it out, or look whether it is cut off"
            )
        if not np.isfinite(volts).all():
            row, column = np.argwhere(~np.isfinite(volts))[0]
            raise DataError(
                f"{self.path}: channel {names[column]}: {volts[row, column]} at {row / rate:g} s "
                f"(sample {row}) is not a finite number; cut that part off, or leave the channel "
                "out with dataset.exclude=[...]"
            )
        relative = volts - volts[0]
        spread = relative.std(axis=0) * 1e6
        still = [name for name, each in zip(names, spread, strict=True) if each == 0]
        if still:
            notes.append(f"constant throughout: {some(still)}")
        if len(still) == len(names):
            raise DataError(f"{self.path}: every channel is constant throughout; leave it out")
        middle = float(np.median(spread[spread > 0]))
        if not PLAUSIBLE[0] <= middle <= PLAUSIBLE[1]:
            power = 3 * round(np.log10(TYPICAL / middle) / 3)
            factor = self.options.unit_factor * 10.0**power
            raise DataError(
                f"{self.path}: the channels' standard deviation is {middle:g} uV, which no EEG "
                f"has; its header probably gives a wrong unit. Set dataset.unit_factor={factor:g}"
            )
        stored = relative if self.options.subtract_first else volts
        return (stored / UNIT_VOLTS).astype(np.float32)


def told(raw: mne.io.BaseRaw, names: Sequence[str], marks: list[Mark]) -> dict[str, Any]:
    """Give what stage=ingest tells of a file: channels, rate, length and what is marked."""
    counts: dict[str, int] = {}
    for _, _, text in marks:
        counts[text] = counts.get(text, 0) + 1
    rate = float(raw.info["sfreq"])
    return {
        "channels": len(names), "rate": rate, "seconds": float(raw.n_times / rate),
        "marks": dict(sorted(counts.items())), "bad": sum(is_bad(text) for *_, text in marks),
    }  # fmt: skip


# ---- which files there are ----------------------------------------------------------------------


def _listed(folder: Path, pattern: str) -> dict[tuple[Id, Id], Path]:
    """Find the files that a pattern names, by subject and series."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: is no folder; name the one with the recordings: dataset.raw=..."
        )
    regex = pattern_regex(pattern)
    found: dict[tuple[Id, Id], Path] = {}
    for path in sorted(folder.rglob("*")):
        match = regex.fullmatch(path.relative_to(folder).as_posix())
        if match is None:
            continue
        parts = match.groupdict()
        subject = identity(parts.pop("subject"))
        series = identity("-".join(part for part in parts.values() if part))
        for each in (subject, series):
            if not 0 < len(str(each)) <= LONGEST:
                raise DataError(f"{path}: {each!r} is no name of at most {LONGEST} characters")
        if (subject, series) in found:
            raise DataError(
                f"{path}: is subject {subject}, series {series} by dataset.pattern, and so is "
                f"{found[subject, series]}; let the pattern tell them apart"
            )
        found[subject, series] = path
    if not found:
        raise DataError(f"{folder}: no file below it matches dataset.pattern={pattern}")
    _refuse_alike(found)
    return found


def _refuse_alike(found: dict[tuple[Id, Id], Path]) -> None:
    """Refuse names that differ in the letters' case only: some disks take them for one."""
    seen: dict[str, tuple[Id, Id]] = {}
    for key, path in found.items():
        name = series_name(*key).lower()
        if name in seen:
            raise DataError(
                f"{path}: its subject and series differ from those of {found[seen[name]]} in the "
                "case of letters only; rename one"
            )
        seen[name] = key


def companions(path: Path) -> tuple[Path, ...]:
    """List the files that belong to one: of its name with any ending, or all of a folder."""
    if path.is_dir():
        return tuple(sorted(each for each in path.rglob("*") if each.is_file()))
    stem = path.name.split(".")[0]
    beside = [
        each for each in path.parent.iterdir()
        if each.is_file() and (each.name.split(".")[0] == stem or each.name.startswith(f"{stem}-"))
    ]  # fmt: skip
    return tuple(sorted({path, *beside}))


def chosen_series(
    there: dict[tuple[Id, Id], Path],
    subjects: Sequence[Id],
    labelled: Sequence[Id],
    unlabelled: Sequence[Id],
) -> list[tuple[Id, Id, bool]]:
    """Choose the series that the splits name: subject, series, and whether it is labelled.

    Raises
    ------
    DataError
        For a subject or a series that nobody has.
    """
    everyone = sorted({subject for subject, _ in there})
    for subject in subjects:
        if subject not in everyone:
            raise DataError(f"dataset.subjects names {subject}; there are {some(everyone)}")
    wanted = sorted(subjects or everyone)
    names = sorted({series for subject, series in there if subject in wanted})
    for series in (*labelled, *unlabelled):
        if series not in names:
            raise DataError(f"the splits name the series {series}; there are {some(names)}")
    return [
        (subject, series, series in labelled)
        for subject in wanted
        for series in sorted([*labelled, *unlabelled])
        if (subject, series) in there
    ]


def find_series(
    folder: Path,
    subjects: list[Id],
    labelled: list[Id],
    unlabelled: list[Id],
    options: ForeignOptions,
) -> list[ForeignSeries]:
    """Find the files of every series that the splits name.

    Parameters
    ----------
    folder : Path
        Where the recordings are.
    subjects : list of int or Name
        Which subjects; empty for all that are there.
    labelled, unlabelled : list of int or Name
        Series that need events, and those that need none.
    options : ForeignOptions
        How files are named and read.

    Returns
    -------
    list of ForeignSeries
        Ordered by (subject, series) as people count. A series that a subject lacks is not listed.

    Raises
    ------
    DataError
        When nothing is found, or two files are the same series.
    """
    there = _listed(folder, options.pattern)
    return [
        ForeignSeries(
            subject, series, there[subject, series], companions(there[subject, series]), events,
            options,
        )
        for subject, series, events in chosen_series(there, subjects, labelled, unlabelled)
    ]  # fmt: skip


def series_names(folder: Path, options: ForeignOptions) -> list[Id]:
    """List the names of all series that are there, in their order."""
    return sorted({series for _, series in _listed(folder, options.pattern)})


def resolve(names: Sequence[Any], there: Sequence[Id], taken: Sequence[Id] = ()) -> list[Id]:
    """Turn names and patterns of names, e.g. ``run-*``, into the names that are there.

    Parameters
    ----------
    names : sequence of int or str
        Of one split.
    there : sequence of int or Name
        All.
    taken : sequence of int or Name
        Of the splits before it; a pattern takes none of these.

    Raises
    ------
    DataError
        For a pattern that fits none.
    """
    found: list[Id] = []
    for name in names:
        fits = [each for each in there if fnmatchcase(str(each), str(name))]
        if not fits:
            raise DataError(f"the splits name the series {name}; there are {some(there)}")
        if any(mark in str(name) for mark in "*?["):
            fits = [each for each in fits if each not in taken]
        found += [each for each in fits if each not in found]
    return found


# ---- what they share ----------------------------------------------------------------------------


def describe_file(path: Path, options: ForeignOptions, opener: Open = open_raw) -> Description:
    """Describe a data set by one of its files.

    Parameters
    ----------
    path : Path
        The file.
    options : ForeignOptions
        Channels and rate that it names count; the file gives what it leaves open.
    opener : callable
        Opens it.

    Returns
    -------
    Description
        Without a montage where that of the options does not know every channel.
    """
    raw, notes = opener(path, options)
    chosen = choose_channels(raw, options, options.channels, path, notes)
    known = known_names(options.montage) if options.montage else {}
    places = all(name.lower() in known for name in chosen.names)
    return Description(
        chosen.names, options.events, options.rate or float(raw.info["sfreq"]), UNIT_VOLTS,
        options.montage if places else "", options.subtract_first,
    )  # fmt: skip


def describe(found: Sequence[ForeignSeries]) -> Description:
    """Describe a data set by its first labelled series."""
    first = next((each for each in found if each.labelled), found[0])
    return describe_file(first.path, replace(first.options), first.opener)
