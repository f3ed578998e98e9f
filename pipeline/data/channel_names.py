"""Names of channels as systems write them, to those of the international 10-05 system."""

from __future__ import annotations

import re
from functools import lru_cache

_KIND = re.compile(
    r"(EEG|EOG|ECG|EKG|EMG|MISC|STI|DIG|TRIG|REF_EEG|RESP)[ _]+(?=\S)", re.IGNORECASE
)
_OTHER = re.compile(
    r"(V|H)?EOG|ECG|EKG|EMG|STI\b|DIG\b|D?TRIG|STATUS|RESP|REF_EEG|PHOTIC|MARKER|EVENT|SPO2",
    re.IGNORECASE,
)
# References that recorders write behind a channel's name. A name with another electrode behind the
# hyphen, such as F3-C3, is a bipolar channel, which has no place of its own.
_REFERENCE = re.compile(
    r"(?<=\w)[ _]*-[ _]*(REF\w*|LE|RE|AR|AVG?|AVE|CPZ|A1|A2|A1\+?A2|M1|M2|M1\+?M2|[0-9])$",
    re.IGNORECASE,
)
# Of Jasper's 10-20 system (1958), renamed in the 10-10 system (American Electroencephalographic
# Society 1991).
OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


@lru_cache(maxsize=8)
def known_names(montage: str) -> dict[str, str]:
    """Give the names that a montage of MNE knows, by their lower-case form."""
    import mne

    return {name.lower(): name for name in mne.channels.make_standard_montage(montage).ch_names}


def bare_name(name: str) -> str:
    """Take the decorations of the common systems off a channel's name.

    Parameters
    ----------
    name : str
        E.g. ``EEG Fp1-REF``, ``Fc5.`` or `` FP1``.

    Returns
    -------
    str
        E.g. ``Fp1``, ``Fc5`` and ``FP1``.
    """
    text = _KIND.sub("", name.strip(), count=1)
    text = text.strip().strip(".")
    for _ in range(2):  # MNE writes a running number behind names that stand there twice
        text = _REFERENCE.sub("", text)
    return text.strip().strip(".")


def says_no_eeg(name: str) -> bool:
    """Tell whether a name says that its channel is not EEG, whatever type its file gives it."""
    return bool(_OTHER.match(name.strip()))


def standard_name(name: str, montage: str) -> str:
    """Give a channel's name in the 10-05 system, or its own where that is not known.

    Parameters
    ----------
    name : str
        As in the file.
    montage : str
        MNE's montage whose names are known; empty for none.

    Returns
    -------
    str
        Letters' case and decorations do not count, and the old names T3, T4, T5 and T6 become T7,
        T8, P7 and P8.
    """
    bare = bare_name(name)
    known = known_names(montage) if montage else {}
    found = known.get(bare.lower())
    return name.strip() if found is None else OLD_NAMES.get(found, found)
