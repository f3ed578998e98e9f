"""Opens files that MNE reads: what MNE warns of is told, and what it cannot read is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.foreign_options import ForeignOptions, some
from pipeline.errors import DataError

if TYPE_CHECKING:
    import mne

# Said by MNE's readers of a file that is cut off, or of a header that is wrong about its length.
_CUT_OFF = ("does not match the file size", "truncat")
# Readers that `mne.io.read_raw` does not choose by a file's ending.
_FURTHER = {".raw": "read_raw_egi"}


@contextmanager
def told_by_mne(path: Path, notes: list[str]) -> Iterator[None]:
    """Turn MNE's warnings into notes, and its errors into one line.

    Parameters
    ----------
    path : Path
        Whom they are about.
    notes : list of str
        Added to.

    Raises
    ------
    DataError
        Naming the file.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except (DataError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:  # whatever a reader raises for bytes that it does not expect
            text = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{path}: MNE cannot read it: {text[:300]}{_advice(path, text)}"
            ) from error
    for warning in caught:
        if not issubclass(warning.category, RuntimeWarning):
            continue
        text = " ".join(str(warning.message).split())
        if any(part in text.lower() for part in _CUT_OFF):
            raise DataError(
                f"{path}: is cut off or was not closed: {text} Copy it again, or save what is left "
                "of it as a new file"
            )
        if text not in notes and "naming conventions" not in text:
            notes.append(text)


def _advice(path: Path, text: str) -> str:
    """Say what would help."""
    ending = path.suffix.lower()
    if ending == ".xdf":
        return (
            " (XDF holds several streams, of which one must be chosen: save that one as FIF or "
            "BrainVision, e.g. with MNELAB or pyxdf, and name these files)"
        )
    if "Unsupported file type" in text:
        return " (save it in a format that MNE reads, e.g. EDF, BrainVision, EEGLAB or FIF)"
    if "No module named" in text or ("required" in text and "install" in text):
        return " (install it with `pip install -c constraints.txt -e '.[formats]'`)"
    if ".fdt" in text:
        return " (put the .fdt file, which holds the samples, beside the .set file)"
    return ""


def open_raw(path: Path, options: ForeignOptions) -> tuple[mne.io.BaseRaw, list[str]]:
    """Open a recording without reading its samples.

    Parameters
    ----------
    path : Path
        In a format that MNE reads.
    options : ForeignOptions
        Its `reader` goes to MNE.

    Returns
    -------
    raw : mne.io.BaseRaw
    notes : list of str
        What MNE warned of.

    Raises
    ------
    DataError
        Naming the file and what would help.
    """
    import mne

    notes: list[str] = []
    if path.suffix.lower() in (".edf", ".bdf"):
        _look_at_header(path, notes)
    if path.suffix.lower() == ".cnt" and "data_format" not in options.reader:
        raise DataError(
            f"{path}: a CNT file does not say how wide its samples are, and a wrong guess gives "
            "wrong samples; tell it with dataset.reader={data_format: int16} or int32"
        )
    further = _FURTHER.get(path.suffix.lower())
    read: Callable = getattr(mne.io, further) if further else mne.io.read_raw
    with told_by_mne(path, notes):
        raw = read(path, preload=False, verbose="warning", **options.reader)
    return raw, notes


def _look_at_header(path: Path, notes: list[str]) -> None:
    """Refuse a discontinuous EDF+ or BDF+ file, whose gaps MNE does not keep; tell of mixed rates.

    The header's 44 reserved bytes say that it is (Kemp & Olivan 2003, "European data format
    'plus'"); its last fields say how many samples of each channel a record holds.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(256)
            text = head[252:256].decode("latin-1").strip()
            count = int(text) if text.isdecimal() else 0
            fields = file.read(256 * count).decode("latin-1")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    names = [fields[16 * i : 16 * (i + 1)].strip() for i in range(count)]
    samples = [fields[216 * count + 8 * i :][:8].strip() for i in range(count)]
    rates = {
        name: int(number) for name, number in zip(names, samples, strict=True)
        if number.isdecimal() and "Annotations" not in name
    }  # fmt: skip
    slower = [name for name, each in rates.items() if each < max(rates.values())]
    if slower:
        notes.append(
            f"channels have different rates: MNE resamples {some(slower)} to the highest, by a "
            "method that looks ahead; leave them out where that matters (dataset.exclude)"
        )
    if head[192:197] in (b"EDF+D", b"BDF+D"):
        raise DataError(
            f"{path}: is discontinuous ({head[192:197].decode()}): it has gaps in time, and its "
            "samples would be taken for neighbours; save each continuous part as a file (EDF+C)"
        )
