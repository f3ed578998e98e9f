"""One series as it is recorded: samples in, chunk by chunk, and probabilities out.

Any fitted recipe can run so, because no filter, feature or detector looks ahead. A chunk may have
any number of samples. The probabilities are the same, to the last bit, however a series is cut into
chunks, and they differ from `FittedRecipe.predict` by rounding errors only: a stream computes each
feature row by itself, while `predict` computes many in one matrix product, whose last bits depend
on its size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.data.names import Id
from pipeline.features.interface import Features
from pipeline.features.registry import make_features
from pipeline.results.rows import sigmoid
from pipeline.serving.fitted_recipe import FittedRecipe, less_the_first
from pipeline.serving.snapshot import fingerprint, pack, unpack
from pipeline.work.machine import threads

ROW = "row {} of the chunk"


@dataclass(frozen=True)
class _Level:
    """A recipe, or a member of a stack, within a stream.

    Parameters
    ----------
    recipe : FittedRecipe
        Whose detector is used.
    bank : int
        Which of the stream's features it reads; -1 for a stack, which reads its members.
    members : tuple of _Level
        A stack's first level.
    """

    recipe: FittedRecipe
    bank: int
    members: tuple[_Level, ...]


class Stream:
    """A fitted recipe, applied to one series chunk by chunk.

    One thread computes, as in `FittedRecipe.predict`. Two streams of one process take turns.

    Parameters
    ----------
    recipe : FittedRecipe
        Any: an LSTM, a stack, ...
    subject : int or Name
        Whose series it is; one that was learned from.

    Attributes
    ----------
    rows : int
        Samples so far.

    Raises
    ------
    DataError
        For a subject that is not known.

    Examples
    --------
    >>> stream = Stream(FittedRecipe.load(folder), subject=3)  # doctest: +SKIP
    >>> probabilities = stream.push(chunk)  # (n, C) to (n, E)  # doctest: +SKIP
    """

    def __init__(self, recipe: FittedRecipe, subject: Id) -> None:
        recipe.demand_subject(subject)
        self.recipe, self.subject = recipe, subject
        self._banks: list[Features] = []
        self._top = self._level(recipe, {})
        self._channels = len(recipe.about.channels)
        self._start = self._fresh()
        self._state = self._start
        with threads(1):  # also for the libraries that the first push loads
            self.push(np.zeros((1, self._channels)))
        self.reset()

    def _level(self, recipe: FittedRecipe, known: dict[str, int]) -> _Level:
        """Lay out a recipe; members with the same filters share their features."""
        if recipe.bank is None:
            members = tuple(self._level(member, known) for member in recipe.members)
            return _Level(recipe, -1, members)
        key = json.dumps(recipe.bank, sort_keys=True)
        if key not in known:
            known[key] = len(self._banks)
            self._banks.append(make_features(recipe.about.rate, recipe.bank))
        return _Level(recipe, known[key], ())

    def _fresh(self) -> dict[str, Any]:
        """Give the state before the first sample."""
        first = np.zeros(self._channels)
        levels = [
            {
                "detector": level.recipe.detectors[self.subject].start(self.subject),
                "logits": np.zeros(len(level.recipe.about.events), dtype=np.float32),
            }
            for level in _walk(self._top)
        ]
        banks = [bank.start(first) for bank in self._banks]
        return {"rows": 0, "first": first, "banks": banks, "levels": levels}

    @property
    def rows(self) -> int:
        """Samples so far."""
        return self._state["rows"]

    def reset(self) -> None:
        """Forget the series: the next sample is the first of another one."""
        self._state = self._start

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples, and give the probabilities at each of them.

        A chunk that is refused leaves the stream as it was: it continues with the next chunk.

        Parameters
        ----------
        samples : ndarray, shape (n, C)
            The samples that follow those of the call before, in the files' units; n is 1 or more.

        Returns
        -------
        ndarray of float32, shape (n, E)
            Row t depends on samples up to t only.

        Raises
        ------
        DataError
            The samples are not real, finite numbers of this shape, or are too large to be
            computed with.
        """
        chunk = self.recipe.checked(samples, ROW)
        state = self._state
        first = state["first"] if state["rows"] else chunk[0].astype(np.float64)
        raw = chunk
        if self.recipe.about.relative:
            chunk = less_the_first(chunk, first)
        with threads(1, all_loaded=True), np.errstate(over="ignore", invalid="ignore"):
            features, banks = self._features(chunk, state)
            held, levels = self._predict(features, state, len(chunk))
        if not np.isfinite(held).all():
            raise self.recipe.too_large(raw, ROW)
        self._state = {
            "rows": state["rows"] + len(chunk), "first": first, "banks": banks, "levels": levels,
        }  # fmt: skip
        return sigmoid(held).astype(np.float32)

    def _features(self, chunk: np.ndarray, state: dict[str, Any]) -> tuple[list, list]:
        """Compute all kinds of features of a chunk, and their new states."""
        features, after = [], []
        for bank, before in zip(self._banks, state["banks"], strict=True):
            begun = before if state["rows"] else bank.start(chunk[0])
            rows, new = bank.transform(chunk, begun)
            if not np.isfinite(rows).all():
                rows = np.full_like(rows, np.nan)  # too large; no detector has to cope with it
            features.append(rows)
            after.append(new)
        return features, after

    def _predict(self, features: list, state: dict[str, Any], rows: int) -> tuple[np.ndarray, list]:
        """Give the logits at each sample of a chunk, shape (n, E), and the levels' new states."""
        after: list[dict[str, Any]] = []
        chunk = range(state["rows"], state["rows"] + rows)
        held = self._held(self._top, 1, chunk, features, iter(state["levels"]), after)
        return held, after

    # A method, because a function within `_predict` that calls itself is a cycle of references. It
    # would keep each chunk's features and states until Python looks for such cycles.
    def _held(
        self,
        level: _Level,
        every: int,
        chunk: range,
        features: list,
        old: Iterator[dict[str, Any]],
        new: list[dict[str, Any]],
    ) -> np.ndarray:
        """Give a level's logits at the multiples of ``every`` within the chunk.

        The next state of ``old`` is the level's; its new one, and its members', go into ``new``.
        """
        before = next(old)
        after = dict(before)
        new.append(after)
        step, begin = level.recipe.every, chunk.start
        if level.members:
            parts = [self._held(each, step, chunk, features, old, new) for each in level.members]
            ready = np.concatenate(parts, axis=1)
        else:
            ready = features[level.bank]
        logits = before["logits"][None]
        if len(ready):
            detector = level.recipe.detectors[self.subject]
            fresh, after["detector"] = detector.push(ready, before["detector"])
            logits = np.concatenate([logits, fresh])
            after["logits"] = fresh[-1]
        at = np.arange(begin + -begin % every, chunk.stop, every)
        # The latest prediction by then: row 0 is the one before the chunk.
        return logits[at // step - (begin - 1) // step]

    def snapshot(self) -> bytes:
        """Give the stream's state: `restore` continues from it, in another process, too.

        Returns
        -------
        bytes
            Arrays and plain values. Nothing in it is ever run as code.
        """
        return pack(self._state, self._fingerprint)

    def restore(self, snapshot: bytes) -> None:
        """Continue where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes
            Of a stream of the same recipe and subject.

        Raises
        ------
        DataError
            It is damaged, or of another recipe, subject or version. The stream stays as it was.
        """
        self._state = unpack(snapshot, self._start, self._fingerprint)

    @cached_property
    def _fingerprint(self) -> str:
        """Name what a snapshot is good for."""
        return fingerprint(self.recipe, self.subject)


def _walk(level: _Level) -> Iterator[_Level]:
    """Yield a level, then its members, in the order in which they predict."""
    yield level
    for member in level.members:
        yield from _walk(member)
