"""What is asked of recordings that MNE reads: how files are named, which channels, which events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

UNIT_VOLTS = 1e-7  # V in a unit of the stored signal, as the competition's files probably have it
MOST_NAMED = 8  # of a long list in a message

_HOLES = re.compile(r"\{(?P<name>[a-z]+)\}|(?P<deep>\*\*/)|(?P<star>\*)|(?P<any>\?)")


@dataclass(frozen=True)
class ForeignOptions:
    """How recordings from elsewhere are read; every field is an option of the group ``dataset``.

    Parameters
    ----------
    pattern : str
        Which files, and what their paths say; see `pattern_regex`.
    markers : dict of str to str
        Event column by what an annotation says, or by a stimulus code as text.
    label : str
        ``onset``: a label lasts from `before` s before an event's onset to `after` s behind it;
        ``span``: as long as the annotation.
    before, after : float
        In s.
    stim_channel : str or None
        Channel whose codes are the events; None to read annotations.
    channels : tuple of str
        Which, by their names after renaming, in this order; empty for all of the type `pick`.
    pick : str
        MNE's channel type.
    exclude : tuple of str
        Channels that are left out, by their names in the file.
    rename : dict of str to str
        New name by the name in the file.
    standard_names : bool
        Recognise decorated and old names; see `pipeline.data.channel_names.standard_name`.
    montage : str
        MNE's montage, used where it knows all channels.
    rate : float
        Samples a second that every file must have; 0 for those of the first file.
    subtract_first : bool
        Count each channel from its first sample, in double precision, before it is stored.
    unit_factor : float
        What MNE reads is multiplied by this, where a file's header gives a wrong unit.
    reader : dict of str to object
        Further arguments of MNE's reader, e.g. ``data_format`` of a CNT file.
    entities : tuple of str
        BIDS only: the entities that make the name of a series, where a file has them.
    """

    pattern: str = ""
    markers: dict[str, str] = field(default_factory=dict)
    label: str = "onset"
    before: float = 0.0
    after: float = 0.0
    stim_channel: str | None = None
    channels: tuple[str, ...] = ()
    pick: str = "eeg"
    exclude: tuple[str, ...] = ()
    rename: dict[str, str] = field(default_factory=dict)
    standard_names: bool = True
    montage: str = ""
    rate: float = 0.0
    subtract_first: bool = True
    unit_factor: float = 1.0
    reader: dict[str, object] = field(default_factory=dict)
    entities: tuple[str, ...] = ()

    @property
    def events(self) -> tuple[str, ...]:
        """The event columns, in the order in which `markers` names them first."""
        return tuple(dict.fromkeys(self.markers.values()))


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Turn a pattern into the regular expression that it stands for.

    Parameters
    ----------
    pattern : str
        For a file's path below the raw folder, with ``/`` between folders. Either a regular
        expression with named groups, e.g. ``(?P<subject>S[0-9]+)(?P<series>R[0-9]+)[.]edf``; or
        text with placeholders, e.g. ``{subject}/{session}_{run}.edf``, where ``*`` stands for any
        characters of a name and ``**/`` for any folders. ``subject`` must be there, and one more;
        all others together are the series.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    text = pattern
    if "(?P<" not in pattern:
        parts, end, seen = [], 0, set[str]()
        for hole in _HOLES.finditer(pattern):
            parts.append(re.escape(pattern[end : hole.start()]))
            end = hole.end()
            name = hole["name"]
            if name:
                parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
                seen.add(name)
            else:
                parts.append("(?:.*/)?" if hole["deep"] else "[^/]*" if hole["star"] else "[^/]")
        text = "".join([*parts, re.escape(pattern[end:])])
    try:
        made = re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if "subject" not in made.groupindex or len(made.groupindex) < 2:
        raise ValueError("must say which part of a path is {subject} and which is {series}")
    return made


def some(names: Sequence[object]) -> str:
    """List names, not more than a message bears."""
    told = ", ".join(str(name) for name in names[:MOST_NAMED])
    return told + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
