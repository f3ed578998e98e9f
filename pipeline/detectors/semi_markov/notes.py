"""What a fit tells about the events it learned from, where something is not as one may think."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.data.names import Id
from pipeline.detectors.base import Line, Report
from pipeline.detectors.semi_markov.order import RARE, Order
from pipeline.detectors.semi_markov.timing import Timing
from pipeline.errors import DataError

# A label so many times as long as most may be two that overlap.
LONG = 1.5


def tell(lines: Sequence[str], report: Report, history: Sequence[Line]) -> None:
    """Report what is odd, and keep it in the line of the history that is marked best."""
    for note in lines:
        report(0.0, {"note": note})
    for line in history:
        if line["best"] and lines:
            line["notes"] = "; ".join(lines)


def demand_events(subject: Id, seen: Sequence[object]) -> None:
    """Refuse a subject without any event in the fitted series."""
    if not seen:
        raise DataError(
            f"subject {subject}: no event in the fitted series; check dataset.train_series"
        )


def notes(
    order: Order,
    timings: Sequence[Timing],
    series: Sequence[Id],
    widths: Sequence[tuple[int, int]],
    names: Sequence[str],
) -> Counter[str]:
    """Say what is odd about one subject's events.

    Parameters
    ----------
    order : Order
        That was learned.
    timings : sequence of Timing
        By series.
    series : sequence of int or Name
        The series.
    widths : sequence of (int, int)
        The event and the rows of each label.
    names : sequence of str
        The events' names.

    Returns
    -------
    Counter
        Sentences in which ``{n}`` stands for how often, and how often.
    """
    found: Counter[str] = Counter()
    for kind, name in enumerate(names):
        seen = [sum(event == kind for _, event in timing.events) for timing in timings]
        if not sum(seen):
            found[f"{name} is in none of the fitted series, and is never predicted"] += 1
            continue
        if sum(seen) == 1:
            found[f"{name} takes place once in the fitted series, which teaches little"] += 1
        absent = [str(which) for which, count in zip(series, seen, strict=True) if not count]
        if absent:
            found[f"{name} does not take place in series {', '.join(absent)}"] += 1
        usual = LONG * float(np.median([rows for _, rows in widths]))
        long = sum(event == kind and rows > usual for event, rows in widths)
        if long:
            found[
                f"{{n}} labels of {name} are over {LONG} times as long as most: if events overlap "
                "in them, they are taken for one"
            ] += long
    if order.left_out:
        share = f"{RARE:.0%}".replace("%", " %")
        found[
            f"{{n}} times an event came after another that it follows in less than {share} of "
            "the cases; the chain leaves such orders out"
        ] += order.left_out
    return found


def sentences(by_subject: dict[Id, Counter[str]]) -> list[str]:
    """Put the subjects' notes together: a line for each thing, with the subjects it is true for."""
    lines = []
    for text in dict.fromkeys(text for found in by_subject.values() for text in found):
        whose = [str(subject) for subject, found in by_subject.items() if text in found]
        count = sum(found[text] for found in by_subject.values())
        lines.append(
            f"subject{'s' * (len(whose) > 1)} {', '.join(whose)}: {text.replace('{n}', str(count))}"
        )
    return lines
