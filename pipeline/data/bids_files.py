"""A BIDS data set to recordings on disk, and recordings to a BIDS data set, through MNE-BIDS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.bids_metadata import complete, event_codes
from pipeline.data.foreign_options import ForeignOptions
from pipeline.data.foreign_reading import told_by_mne
from pipeline.data.mne_files import ForeignSeries, chosen_series, companions, describe, resolve
from pipeline.data.names import Id, identity
from pipeline.data.recording import Recording
from pipeline.errors import DataError, PipelineError

if TYPE_CHECKING:
    import mne

__all__ = ["describe", "find_series", "resolve", "series_names", "write_bids"]

ENDINGS = (".vhdr", ".edf", ".bdf", ".set")
# Beside a recording's own files, these tell of it, for whole folders below them.
SIDECARS = ("_events.tsv", "_channels.tsv", "_eeg.json", "_electrodes.tsv", "_coordsystem.json")


def _mne_bids() -> Any:
    try:
        import mne_bids
    except ImportError as error:
        raise PipelineError(
            "BIDS data sets need MNE-BIDS: pip install -c constraints.txt -e '.[bids]'"
        ) from error
    return mne_bids


def open_bids(path: Path, options: ForeignOptions) -> tuple[mne.io.BaseRaw, list[str]]:
    """Open a recording of a BIDS data set, with its events as annotations.

    Their descriptions are ``trial_type``, or ``value`` where there is no such column.
    """
    mne_bids = _mne_bids()
    notes: list[str] = []
    with told_by_mne(path, notes):
        raw = mne_bids.read_raw_bids(
            mne_bids.get_bids_path_from_fname(path), dict(options.reader), verbose="warning"
        )
    return raw, notes


def _listed(folder: Path, entities: Sequence[str]) -> dict[tuple[Id, Id], Path]:
    """Find a BIDS data set's recordings of EEG, by subject and series."""
    mne_bids = _mne_bids()
    if not (folder / "dataset_description.json").is_file():
        raise DataError(f"{folder}: is no BIDS data set (it has no dataset_description.json)")
    found: dict[tuple[Id, Id], Path] = {}
    for path in sorted(folder.glob("sub-*/**/*_eeg.*")):
        if path.suffix not in ENDINGS:
            continue
        parts = mne_bids.get_entities_from_fname(path)
        short = {"session": "ses", "acquisition": "acq", "task": "task", "run": "run"}
        named = [f"{short.get(key, key)}-{parts[key]}" for key in entities if parts.get(key)]
        key = identity(parts["subject"]), identity("_".join(named))
        if not named or key in found:
            other = f", and so is {found[key]}" if key in found else ""
            raise DataError(
                f"{path}: is subject {key[0]}, series {str(key[1])!r}{other}; name the entities "
                "that tell series apart in dataset.entities=[session,task,acquisition,run]"
            )
        found[key] = path
    if not found:
        raise DataError(f"{folder}: has no recording of EEG ({', '.join(ENDINGS)})")
    return found


def series_names(folder: Path, options: ForeignOptions) -> list[Id]:
    """List the names of all series that are there, in their order."""
    return sorted({series for _, series in _listed(folder, options.entities)})


def find_series(
    folder: Path,
    subjects: list[Id],
    labelled: list[Id],
    unlabelled: list[Id],
    options: ForeignOptions,
) -> list[ForeignSeries]:
    """Find the files of every series that the splits name; see `mne_files.find_series`."""
    there = _listed(folder, options.entities)
    found = []
    for subject, series, events in chosen_series(there, subjects, labelled, unlabelled):
        path = there[subject, series]
        begin = path.name.removesuffix("".join(path.suffixes)).removesuffix("_eeg")
        told = {
            each for level in (path.parent, *path.parents[:3]) for each in level.glob("*")
            if each.name.endswith(SIDECARS)
            and (level != path.parent or each.name.startswith(begin))
        }  # fmt: skip
        people = [each for each in (folder / "participants.tsv",) if each.is_file()]
        files = tuple(sorted({*companions(path), *told, *people}))
        found.append(ForeignSeries(subject, series, path, files, events, options, open_bids))
    return found


# ---- the other way ------------------------------------------------------------------------------


def bids_label(name: Id | str) -> str:
    """Write a name as BIDS allows: letters and digits."""
    return "".join(each for each in str(name) if each.isascii() and each.isalnum())


def write_bids(folder: Path, recordings: Sequence[Recording], name: str, task: str) -> None:
    """Write recordings as a BIDS data set (BrainVision).

    Parameters
    ----------
    folder : Path
        New, or empty.
    recordings : sequence of Recording
        Each becomes ``sub-<subject>_task-<task>_run-<series>``, or ``acq-<series>`` where the
        series is no number. Its labels are its events, with onset, duration, trial_type and value;
        so are the spans that are left out.
    name : str
        Of the data set.
    task : str
        What people did.

    Raises
    ------
    DataError
        For two names that BIDS would write alike.
    """
    mne_bids = _mne_bids()
    seen: dict[tuple[str, str], Recording] = {}
    for each in recordings:
        key = (bids_label(each.subject), bids_label(each.series))
        if "" in key or key in seen:
            raise DataError(
                f"{each.name}: BIDS writes names with letters and digits alone, and this one as "
                f"{key}, which is empty or taken; rename it"
            )
        seen[key] = each
    codes = event_codes(recordings)
    for (subject, series), each in seen.items():
        raw = each.to_raw()
        which = {"run" if series.isdecimal() else "acquisition": series}
        path = mne_bids.BIDSPath(
            subject=subject, task=bids_label(task), datatype="eeg", root=folder, **which
        )
        mne_bids.write_raw_bids(
            raw, path, event_id=codes if len(raw.annotations) else None, format="BrainVision",
            allow_preload=True, overwrite=True, verbose="error",
        )  # fmt: skip
    mne_bids.make_dataset_description(path=folder, name=name, overwrite=True, verbose="error")
    complete(folder, recordings, name, task)
