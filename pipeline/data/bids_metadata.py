"""What a BIDS data set says of itself, as far as the recordings' own description knows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.data.recording import LEFT_OUT, Recording

Json = dict[str, Any]
PROJECT = "grasp-and-lift"
UNKNOWN = "n/a"  # BIDS' word for it


def event_codes(recordings: Sequence[Recording]) -> dict[str, int]:
    """Give each event its number, and one to the spans that are left out, if there are any."""
    left_out = any(each.kept is not None and not each.kept.all() for each in recordings)
    names = (*recordings[0].about.events, *([LEFT_OUT] if left_out else []))
    return {name: number for number, name in enumerate(names, 1)}


def complete(folder: Path, recordings: Sequence[Recording], name: str, task: str) -> None:
    """Answer what MNE-BIDS leaves open, and take back what it supposes.

    It takes the amplifier's maker from the files' format, which is a choice of the writer's.

    Parameters
    ----------
    folder : Path
        A data set that MNE-BIDS has written.
    recordings : sequence of Recording
        What is in it; one or more.
    name : str
        Of the data set.
    task : str
        What people did.
    """
    about = recordings[0].about
    events = ", ".join(about.events)
    codes = event_codes(recordings)
    levels = {event: f"the event {event}" for event in about.events}
    if LEFT_OUT in codes:
        levels[LEFT_OUT] = "not fit to be learned from or scored"

    def recording(stored: Json) -> Json:
        counted = {"MISCChannelCount": stored.pop("MiscChannelCount", 0)}
        told = f"{task}. These events are marked: {events}."
        return stored | counted | {
            "TaskDescription": told, "Manufacturer": UNKNOWN, "HardwareFilters": UNKNOWN,
        }  # fmt: skip

    def marks(stored: Json) -> Json:
        stored["trial_type"]["Levels"] = levels
        stored["value"]["Levels"] = {str(code): event for event, code in codes.items()}
        return stored

    _rewrite(folder, "*_eeg.json", recording)
    _rewrite(folder, "*_events.json", marks)
    _rewrite(folder, "*_coordsystem.json", _places)
    description = folder / "dataset_description.json"
    _rewrite(folder, description.name, lambda stored: _description(stored, name))
    (folder / "README").write_text(_readme(recordings, name, task), encoding="utf-8")


def _rewrite(folder: Path, pattern: str, change: Callable[[Json], Json]) -> None:
    """Change the JSON files of this name, wherever they are below the folder."""
    for path in sorted(folder.rglob(pattern)):
        stored = change(json.loads(path.read_text(encoding="utf-8")))
        text = json.dumps(stored, indent=4, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


def _places(stored: Json) -> Json:
    """Say that the fiducials are the anatomical landmarks, in the electrodes' own coordinates."""
    described = stored.get("EEGCoordinateSystemDescription", UNKNOWN)
    landmarks = stored.get("AnatomicalLandmarkCoordinates")
    if not landmarks:
        return stored
    return stored | {
        "AnatomicalLandmarkCoordinateSystemDescription": described,
        "FiducialsCoordinates": landmarks,
        "FiducialsCoordinateSystem": stored["AnatomicalLandmarkCoordinateSystem"],
        "FiducialsCoordinateSystemDescription": described,
        "FiducialsCoordinateUnits": stored["AnatomicalLandmarkCoordinateUnits"],
        "FiducialsDescription": "The anatomical landmarks of the montage; nobody was measured.",
    }


def _description(stored: Json, name: str) -> Json:
    """Name what has written the data set; authors that nobody named are not invented."""
    stored.pop("Authors", None)
    ours = {
        "Name": PROJECT, "Version": version(PROJECT),
        "Description": f"writes ingested recordings as BIDS (data set {name})",
    }  # fmt: skip
    return stored | {"GeneratedBy": [ours, *stored.get("GeneratedBy", [])]}


def _readme(recordings: Sequence[Recording], name: str, task: str) -> str:
    """Say in words what is there."""
    about = recordings[0].about
    subjects = {each.subject for each in recordings}
    without = sum(each.events is None for each in recordings)
    minutes = sum(len(each.signal) for each in recordings) / about.rate / 60
    montage = f"the standard montage {about.montage} of MNE" if about.montage else "not known"
    numbered = event_codes(recordings).items()
    codes = "\n".join(f"- {event}: value {code}" for event, code in numbered)
    return f"""{name}
{"=" * len(name)}

EEG of {len(subjects)} subjects, {len(recordings)} recordings, {minutes:.1f} minutes in all.
Task: {task}.

Recordings
----------

{len(about.channels)} channels at {about.rate:g} Hz: {", ".join(about.channels)}.
Places of the electrodes: {montage}. Nobody was measured.
The reference, the ground, the amplifier and its filters are not known.
Each recording is a run, or, where its series has a name, an acquisition of that name.
Samples are in volts. One unit of the recordings that they come from is {about.unit_volts:g} V.

Events
------

An event lasts as long as its label in the recordings that they come from.

{codes}

{without} of the recordings have no labels: their events are not known.

Written by {PROJECT} with MNE-BIDS:

Appelhoff, S., et al. (2019). MNE-BIDS: Organizing electrophysiological data into the BIDS format
and facilitating their analysis. Journal of Open Source Software 4 (1896).
https://doi.org/10.21105/joss.01896

Pernet, C. R., et al. (2019). EEG-BIDS, an extension to the brain imaging data structure for
electroencephalography. Scientific Data 6, 103. https://doi.org/10.1038/s41597-019-0104-8
"""
