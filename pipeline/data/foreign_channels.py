"""Which channels of a file are used, and what they are called from then on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.channel_names import says_no_eeg, standard_name
from pipeline.data.foreign_options import ForeignOptions, some
from pipeline.errors import DataError

if TYPE_CHECKING:
    import mne


@dataclass(frozen=True)
class Chosen:
    """Channels of one file.

    Parameters
    ----------
    names : tuple of str
        What they are called from now on.
    in_file : tuple of str
        What MNE calls them.
    """

    names: tuple[str, ...]
    in_file: tuple[str, ...]


def choose_channels(
    raw: mne.io.BaseRaw, options: ForeignOptions, wanted: tuple[str, ...], path: Path,
    notes: list[str],
) -> Chosen:  # fmt: skip
    """Choose a file's channels, and name them.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The file.
    options : ForeignOptions
        Its `pick`, `exclude`, `rename` and `standard_names`.
    wanted : tuple of str
        The names to find, in this order; empty for all of the type.
    path : Path
        For messages.
    notes : list of str
        Told what is left out and what is called otherwise.

    Raises
    ------
    DataError
        For names that are not there, or that two channels have.
    """
    lacking = [each for each in (*options.exclude, *options.rename) if each not in raw.ch_names]
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    names = {}
    for each in raw.ch_names:
        if each in options.exclude:
            continue
        standard = standard_name(each, options.montage) if options.standard_names else each
        names[each] = options.rename.get(each, standard)
    if wanted:
        used = {each: name for each, name in names.items() if name in wanted}
    else:
        others = [each for each in names if says_no_eeg(each) and each not in options.rename]
        used = {
            each: name for each, name in names.items()
            if types[each] == options.pick and (options.pick != "eeg" or each not in others)
        }  # fmt: skip
    twice = [name for name, count in Counter(used.values()).items() if count > 1]
    if twice:
        same = [each for each, name in used.items() if name == twice[0]]
        raise DataError(
            f"{path}: {len(same)} channels are called {twice[0]} ({some(same)}, as MNE tells them "
            f"apart); leave out all but one with dataset.exclude=['{same[-1]}'], or give them "
            "names with dataset.rename={...}"
        )
    place = {name: each for each, name in used.items()}
    missing = [name for name in wanted if name not in place]
    if missing:
        raise DataError(
            f"{path}: has no channel {some(missing)}; it has {some(raw.ch_names)}. Name channels "
            "that all files have with dataset.channels=[...], or rename its own with "
            "dataset.rename={...}"
        )
    if not used:
        kinds = ", ".join(sorted(set(types.values())))
        raise DataError(
            f"{path}: has no channel of type {options.pick} (it has {kinds}); set dataset.pick, or "
            "name channels with dataset.channels=[...]"
        )
    order = wanted or tuple(used.values())
    chosen = Chosen(order, tuple(place[name] for name in order))
    _tell(raw, chosen, lacking, notes)
    return chosen


def _tell(raw: mne.io.BaseRaw, chosen: Chosen, lacking: list[str], notes: list[str]) -> None:
    if lacking:
        notes.append(f"dataset.exclude or rename names {some(lacking)}, which it does not have")
    left = [each for each in raw.ch_names if each not in chosen.in_file]
    if left:
        notes.append(f"{len(left)} channels are not used: {some(left)}")
    called = [
        f"{each} is called {name}"
        for each, name in zip(chosen.in_file, chosen.names, strict=True)
        if each.strip().strip(".").lower() != name.lower()
    ]
    if called:
        notes.append(some(called))
    places = [raw.ch_names.index(each) for each in chosen.in_file]
    if places != sorted(places):
        notes.append("its channels stand in another order than asked for, and are put into it")
