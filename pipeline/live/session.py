"""From arriving samples to steps: missing samples, probabilities, onsets, and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.live.delays import Delays
from pipeline.live.policy import Piece, Policy
from pipeline.live.view import Step, Summary
from pipeline.results.decisions import Decider, State

Now = Callable[[], float]
"""Seconds on the clock of the time stamps."""


class Predictor(Protocol):
    """What is applied to the samples; `pipeline.serving.stream.Stream` is one."""

    def push(self, samples: NDArray) -> NDArray[np.float32]:
        """Take the next samples, (n, C), and give their probabilities, (n, E).

        Raises
        ------
        DataError
            For samples that cannot be, without any change.
        """

    def reset(self) -> None:
        """Forget the series."""


class Session:
    """One signal from its first sample to its last.

    Parameters
    ----------
    predictor : Predictor
        Of a fitted recipe and a subject.
    decider : Decider
        Of onsets.
    policy : Policy
        For time stamps.
    now : callable
        Gives the seconds on the clock of the time stamps.

    Attributes
    ----------
    samples : int
        That were predicted, the held ones included; onsets count by them.
    """

    def __init__(self, predictor: Predictor, decider: Decider, policy: Policy, now: Now) -> None:
        self.predictor, self.decider, self.policy, self.now = predictor, decider, policy, now
        self.rate = policy.rate
        self.samples = 0
        self.delays = Delays()
        self.onsets = Counter(dict.fromkeys(decider.settings.events, 0))
        self._arrived, self._refused, self._lost = 0, 0, 0
        self._seconds, self._busy = 0.0, 0.0
        self._last: NDArray | None = None  # the last sample, (C,)
        self._last_time = 0.0
        self._filled = 0  # samples without a use that the last one stands in for, at the end
        self._notes: list[str] = []

    @property
    def most_held(self) -> int:
        """How many samples the last one may stand in for."""
        return int(self.policy.bridge_seconds * self.rate)

    def tell(self, note: str) -> None:
        """Tell something with the next step."""
        self._notes.append(note)

    def untold(self) -> tuple[str, ...]:
        """Give what no step has told yet."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def lose(self, samples: int) -> None:
        """Count samples that are left out because computing fell behind."""
        self._lost += samples
        self.policy.break_off(f"{samples} samples are lost, because computing fell behind")

    def take(self, samples: NDArray, times: NDArray[np.float64]) -> list[Step]:
        """Take the next chunk.

        Parameters
        ----------
        samples : ndarray, shape (n, C)
            In the recipe's units and its order of channels.
        times : ndarray of float64, shape (n,)
            Their time stamps in s.

        Returns
        -------
        list of Step
            One for each stretch without a jump; most often one.
        """
        begun = self.now()
        self._arrived += len(samples)
        steps = []
        for good, stamps in self._usable(samples, self._stamped(times)):
            for piece in self.policy.take(stamps):
                step = self._step(piece, good[piece.start : piece.stop], stamps, begun)
                steps += [step] if step is not None else []
                begun = self.now()
        return steps

    def summary(self) -> Summary:
        """Say what it was so far."""
        counts = self.policy.counts
        return Summary(
            samples=self._arrived, seconds=self._seconds, bridged=counts.bridged, gaps=counts.gaps,
            missing=counts.missing, surplus=counts.surplus, lost=self._lost,
            restarts=counts.restarts, jumps_back=counts.jumps_back, announced_rate=self.rate,
            true_rate=self.policy.true_rate, onsets=dict(self.onsets),
            delay_p50=self.delays.quantile(0.5), delay_p99=self.delays.quantile(0.99),
            load=self._busy / self._seconds if self._seconds else 0.0, refused=self._refused,
        )  # fmt: skip

    def _stamped(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Put a steady time in the place of stamps that are no numbers."""
        wrong = ~np.isfinite(times)
        if not wrong.any():
            return times
        self.tell(f"{int(wrong.sum())} time stamps are no numbers")
        times = times.copy()
        for row in np.flatnonzero(wrong):
            before = times[row - 1] if row else self._last_time
            times[row] = before + 1 / self.rate
        return times

    def _usable(
        self, samples: NDArray, times: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray, NDArray[np.float64]]]:
        """Let the last good sample stand in for those with nan; break off where they are too many.

        The stretches between two breaks are yielded, one after the other.
        """
        wrong = ~np.isfinite(samples).all(axis=1)
        if not wrong.any():
            self._filled = 0 if len(samples) else self._filled
            yield samples, times
            return
        self._refused += int(wrong.sum())
        self.tell(f"samples with nan or infinity: {int(wrong.sum())}, not used")
        samples, last, begun = samples.copy(), self._last, 0
        for row in range(len(samples)):
            if not wrong[row]:
                last, self._filled = samples[row], 0
                continue
            self._filled += 1
            if last is not None and self._filled <= self.most_held:
                samples[row] = last
                continue
            yield samples[begun:row], times[begun:row]
            begun = row + 1
            self.policy.break_off("too many samples in a row have nan or infinity")
        yield samples[begun:], times[begun:]

    def _step(
        self, piece: Piece, samples: NDArray, times: NDArray[np.float64], begun: float
    ) -> Step | None:
        """Predict a piece and decide its onsets."""
        stamps = times[piece.start : piece.stop]
        if piece.restart:
            self._restart()
        if piece.hold and self._last is not None:
            held = np.repeat(self._last[None], piece.hold, axis=0)
            samples = np.concatenate([held, samples])
            gap = np.linspace(self._last_time, stamps[0], piece.hold + 2)[1:-1]
            stamps = np.concatenate([gap, stamps])
        self._notes += piece.notes
        try:
            probabilities = self.predictor.push(samples)
        except DataError as error:
            refused = piece.stop - piece.start
            self._refused += refused
            self._filled += refused
            if self._last is None or self._filled > self.most_held:
                self.policy.break_off(f"samples refused: {refused} ({error})")
                return None
            self.tell(f"samples refused: {refused} ({error}); the last one before is held")
            samples = np.repeat(self._last[None], len(samples), axis=0)
            probabilities = self.predictor.push(samples)
        onsets = tuple(self.decider.push(probabilities))
        self.onsets.update(onset.event for onset in onsets)
        self.samples += len(samples)
        self._last, self._last_time = samples[-1], float(stamps[-1])
        done = self.now()
        arrived = times[piece.start : piece.stop]
        self.delays.add(done - arrived)
        self._seconds += len(samples) / self.rate
        self._busy += done - begun
        return Step(
            samples, stamps, probabilities, onsets, None, done - float(stamps[-1]),
            (done - begun) * self.rate / len(samples), self.untold(),
        )  # fmt: skip

    def _restart(self) -> None:
        """Forget the signal so far; samples are counted on."""
        self.predictor.reset()
        count = len(self.decider.settings.events)
        self.decider.state = State(self.decider.state.samples, (0,) * count, (None,) * count)
