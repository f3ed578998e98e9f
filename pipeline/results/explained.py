"""What is known of what a detector looks at: one subject's, or the mean over subjects."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.recording import Description
from pipeline.results.scoring import MEAN

WHOLE = "nothing"
"""The part in the table of losses whose row has the AUC itself."""


@dataclass
class Explained:
    """Activation patterns, and what permutation costs.

    Parameters
    ----------
    patterns : dict of str to ndarray, each of shape (E, L, C)
        ``EEG`` in V, and log power by band; both per standard deviation of the score. Empty where
        there are none.
    seconds : ndarray, shape (L,)
        Their lags.
    whole : ndarray, shape (E,)
        The AUC with nothing permuted; empty where nothing was.
    lost : dict of str to ndarray, each of shape (E,)
        By what was permuted: a kind and a name, e.g. ``channel Cz``.
    """

    patterns: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    whole: np.ndarray = field(default_factory=lambda: np.zeros(0))
    lost: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it."""
        names = json.dumps([list(self.patterns), list(self.lost)])
        arrays = [*self.patterns.values(), *self.lost.values()]
        np.savez(path, *arrays, names=names, seconds=self.seconds, whole=self.whole)

    @classmethod
    def load(cls, path: Path) -> Explained:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            patterns, lost = json.loads(str(stored["names"]))
            arrays = [stored[f"arr_{number}"] for number in range(len(patterns) + len(lost))]
            return cls(
                dict(zip(patterns, arrays, strict=False)), stored["seconds"], stored["whole"],
                dict(zip(lost, arrays[len(patterns) :], strict=True)),
            )  # fmt: skip

    @classmethod
    def mean(cls, subjects: list[Explained]) -> Explained:
        """Average over subjects; of an event's AUC over those who have one."""
        first = subjects[0]
        asked = [each for each in subjects if len(each.whole)]
        return cls(
            {k: np.mean([each.patterns[k] for each in subjects], axis=0) for k in first.patterns},
            first.seconds,
            _mean([each.whole for each in asked]) if asked else np.zeros(0),
            {
                name: _mean([each.lost[name] for each in asked if name in each.lost])
                for name in {name: None for each in asked for name in each.lost}
            },
        )

    def pattern_table(self, about: Description) -> pd.DataFrame:
        """Put the patterns into a table: signal, event and lag, and a column per channel.

        EEG is in µV per standard deviation of the score, power in log units.
        """
        parts = []
        for signal, pattern in self.patterns.items():
            for event, course in zip(about.events, pattern, strict=True):
                values = course * 1e6 if signal == "EEG" else course
                frame = pd.DataFrame(values, columns=list(about.channels))
                frame.insert(0, "seconds", np.round(self.seconds, 6))
                frame.insert(0, "event", event)
                frame.insert(0, "signal", signal)
                parts.append(frame)
        return pd.concat(parts, ignore_index=True)

    def loss_table(self, about: Description) -> pd.DataFrame:
        """Put the losses into a table: kind and part, and a column per event and for their mean.

        The first row, of kind ``auc``, has the AUC with `WHOLE` permuted.
        """
        rows = [("auc", WHOLE, self.whole)]
        for name, values in self.lost.items():
            kind, _, part = name.partition(" ")
            rows.append((kind, part, values))
        frame = pd.DataFrame([values for *_, values in rows], columns=list(about.events))
        frame[MEAN] = frame.mean(axis=1, skipna=False)
        frame.insert(0, "part", [part for _, part, _ in rows])
        frame.insert(0, "kind", [kind for kind, *_ in rows])
        return frame


def _mean(values: list[np.ndarray]) -> np.ndarray:
    """Average over the subjects who have a value; nan where none has."""
    together = np.array(values)
    known = np.isfinite(together)
    total = np.where(known, together, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
