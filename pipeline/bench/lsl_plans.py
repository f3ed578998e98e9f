"""The streams that the Lab Streaming Layer bench sends: one without a fault, one per fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.data.recording import Description


@dataclass(frozen=True)
class Part:
    """One stream, from its beginning to its end.

    Parameters
    ----------
    channels : tuple of str
        Names of the columns of `samples`.
    samples : ndarray, shape (n, channels)
        In the recording's units.
    stamps, due : ndarray, shape (n,)
        Time stamps of the samples, and when they are sent; in s from the start.
    """

    channels: tuple[str, ...]
    samples: NDArray
    stamps: NDArray[np.float64]
    due: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is sent, and what should result from it.

    Parameters
    ----------
    name : str
        Name of the stream.
    title : str
        Description for the table.
    parts : tuple of Part
        The streams, one after another.
    segments : tuple of ndarray
        The signal that the recipe should see between two restarts, each of shape (n, C). Empty if
        the stream should be refused.
    counts : dict
        Values that `Summary` should have.
    notes : tuple of str
        Words that the messages should contain.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    segments: tuple[NDArray, ...]
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def plans(signal: NDArray, about: Description, seconds: float, fault_seconds: float) -> list[Plan]:
    """Plan one stream without a fault, and one for each fault.

    Parameters
    ----------
    signal : ndarray, shape (T, C)
        Signal of a recording, at least as long as the longest plan.
    about : Description
        Describes the recording.
    seconds, fault_seconds : float
        Length of the stream without a fault, and of each other one.
    """
    rate, names = about.rate, about.channels
    rows = round(fault_seconds * rate)
    x = np.asarray(signal[:rows])
    t = np.arange(rows) / rate
    whole = np.asarray(signal[: round(seconds * rate)])
    at = round(0.4 * rows)

    def part(samples: NDArray, stamps: NDArray, due: NDArray, order: Sequence[int] = ()) -> Part:
        chosen = list(order) or list(range(len(names)))
        return Part(tuple(names[i] for i in chosen), samples[:, chosen], stamps, due)

    steady = np.arange(len(whole)) / rate
    single = [at, at + 1, at + 2, at + round(rate)]
    held = x.copy()
    held[single[:3]], held[single[3]] = x[at - 1], x[single[3] - 1]
    long_gap = slice(at, at + round(2 * rate))
    back = np.where(np.arange(rows) < at, t, t - 3.0)
    order = list(np.random.default_rng(0).permutation(len(names)))
    extra = part(x, t, t, order)
    extra = Part(
        (*extra.channels, "battery"), np.column_stack([extra.samples, np.ones(rows)]), t, t
    )
    slow = np.arange(rows) / (0.995 * rate)
    half = slice(0, at), slice(at, rows)
    gone = names[len(names) // 2]
    without = [i for i in range(len(names)) if names[i] != gone]

    def less(rows_gone: Sequence[int] | slice) -> Part:
        samples, stamps = (np.delete(each, rows_gone, axis=0) for each in (x, t))
        return part(samples, stamps, stamps)

    none = {"gaps": 0, "missing": 0, "restarts": 0, "jumps_back": 0, "lost": 0, "refused": 0}
    return [
        Plan("steady", f"{seconds:g} s without a fault", (part(whole, steady, steady),), (whole,),
             none),
        Plan("drops", "3 samples and 1 sample are missing", (less(single),), (held,),
             none | {"gaps": 2, "missing": 4, "bridged": 4}, ("held",)),
        Plan("gap", "a gap of 2 s", (less(long_gap),), (x[:at], x[long_gap.stop :]),
             none | {"gaps": 1, "missing": round(2 * rate), "bridged": 0, "restarts": 1},
             ("gap of 2.00 s",)),
        Plan("back", "time stamps jump back by 3 s", (part(x, back, t),), (x[:at], x[at:]),
             none | {"jumps_back": 1, "restarts": 1}, ("jump back by 3.00 s",)),
        Plan("permuted", "channels in another order, and one more", (extra,), (x,), none,
             ("another order", "battery")),
        Plan("missing", f"channel {gone} is missing", (part(x, t, t, without),), ()),
        Plan("slow", f"{0.995 * rate:g} Hz, announced as {rate:g}", (part(x, slow, slow),), (x,),
             none, ("-0.50%",)),
        Plan("returns", "the stream ends and comes back, in another order of channels",
             tuple(part(x[s], t[s] - t[s][0], t[s] - t[s][0], o)
                   for s, o in zip(half, ([], order), strict=True)),
             tuple(x[s] for s in half), none | {"restarts": 1}, ("is back", "another order")),
    ]  # fmt: skip
