"""One colour per event: the same in all pictures of the report, on the front page and live.

The colours are those of Okabe & Ito (2008, Color Universal Design), which people with any kind of
colour blindness can tell apart. Grey takes the place of their black, which a dark page would hide;
their yellow is left out, because it is hard to see on white.
"""

from __future__ import annotations

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
STYLES = ("-", "--", "-.", ":")


def event_color(number: int) -> str:
    """Give the colour of an event by its column; after seven events the colours repeat."""
    return COLORS[number % len(COLORS)]


def event_style(number: int) -> str:
    """Give the line style of an event, which differs where the colours repeat."""
    return STYLES[number // len(COLORS) % len(STYLES)]
