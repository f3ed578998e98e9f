"""The chances of all states of a chain, brought from row to row of a series by Bayes' rule."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from pipeline.detectors.semi_markov.chain import Chain
from pipeline.detectors.semi_markov.compiled import advance

# The chance, each row, that everything before was mistaken, the pace too, and that the true state
# is the pause in which a series begins.
LOST = 1e-9
# States that agree in pace, last event, its row and next event are forgotten while they have less
# than this share of all weights. With six pairs of events there are some 1,300 such groups, so a
# row loses less than 2e-6 of the weights; pairs and responses of other sizes, in proportion.
FORGOTTEN = 1e-9
CHUNK = 512  # rows whose evidence is in memory at a time


def follow(chain: Chain, half: int, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Weigh all states of a series, row by row.

    Parameters
    ----------
    chain : Chain
        Whose states.
    half : int
        An event's label reaches so many rows before and after it.
    after, before : ndarray, shape (T', E, A) and (T', E, B)
        Each row's evidence, see `Chain.evidence`.

    Returns
    -------
    ndarray of float32, shape (T', E)
        The chance that a row lies within each event's label, given that row and those before it.
    """
    belief = Belief(chain, half)
    parts = [
        belief.follow(after[begin : begin + CHUNK], before[begin : begin + CHUNK])
        for begin in range(0, len(after), CHUNK)
    ]
    return np.concatenate([np.zeros((0, len(chain.after)), dtype=np.float32), *parts])


class Tables(NamedTuple):
    """What a chain says of its states, whatever the rows are.

    A pair is an event and one that may follow it.

    Parameters
    ----------
    last, next : ndarray of int, shape (N,)
        By pair: its events.
    cost_near : ndarray of float32, shape (N, A + 1, B)
        What the prediction of a state costs it whatever the row is, by pair, rows since the last
        event and rows until the next.
    cost_far : ndarray of float32, shape (E, A)
        Likewise, far from the next event.
    soon : ndarray of float32, shape (G, N, B)
        When an event has just happened: the chance that the pair's other comes next, so soon.
    later : ndarray of float32, shape (G, E)
        The chance that it takes longer.
    nearing : ndarray of float32, shape (G, N, D)
        By age: the chance that a state that is still far comes near with this row, the pair's
        other event being next.
    staying : ndarray of float32, shape (G, E, D)
        The chance that it stays far.
    one_before : ndarray of float32, shape (G, E, E, up to half + 1)
        By last event and an event before it, and by rows since the last: the chance that this row
        is in the label of the one before.
    one_after : ndarray of float32, shape (G, E, E, up to half)
        Likewise, by next event and an event after it, and by rows until the next.
    lost : ndarray of float32, shape (G, E)
        The share of all weight that begins anew with each row.
    pause : int
        At which age.
    forgotten : float32
        `FORGOTTEN`.
    """

    last: np.ndarray
    next: np.ndarray
    cost_near: np.ndarray
    cost_far: np.ndarray
    soon: np.ndarray
    later: np.ndarray
    nearing: np.ndarray
    staying: np.ndarray
    one_before: np.ndarray
    one_after: np.ndarray
    lost: np.ndarray
    pause: int
    forgotten: np.float32


class State(NamedTuple):
    """How likely each state is, given the rows so far. The weights add up to `total`, not to 1.

    Parameters
    ----------
    near : ndarray of float32, shape (G, N, A, B)
        By pace and pair: the next event comes in b + 1 rows. The last one was a rows ago, where
        ``(clock - a) % A`` is the place in the third axis, so that it needs not move.
    merged : ndarray of float32, shape (G, N, B)
        The same, where the last event was A rows ago or more and leaves no response.
    held : ndarray of float32, shape (G, N, A + 1)
        Sums over the last axis of `near`, and then of `merged`.
    far : ndarray of float32, shape (G, E, D)
        More than B rows from the next event, by the last event and the rows since.
    afar : ndarray of float32, shape (G, E)
        Sums over the last axis of `far`.
    clock : ndarray of int, shape (1,)
        Rows so far.
    total : ndarray of float64, shape (1,)
        All weights' sum.
    """

    near: np.ndarray
    merged: np.ndarray
    held: np.ndarray
    far: np.ndarray
    afar: np.ndarray
    clock: np.ndarray
    total: np.ndarray

    def copy(self) -> State:
        """Give a state of its own that goes another way."""
        return State(*(part.copy() for part in self))


class Belief:
    """How likely each state of a chain is, given the rows so far.

    A state is near the next event: at a pace the last event was a rows ago, and the next one comes
    in b rows (at most B); or it is still far from it, and which event comes next and when depends
    on how long ago the last one was.

    Parameters
    ----------
    chain : Chain
        Whose states.
    half : int
        An event's label reaches so many rows before and after it.

    Attributes
    ----------
    state : State
        All that is remembered of the rows so far; may be copied and put back.
    """

    def __init__(self, chain: Chain, half: int) -> None:
        self.tables = tabulate(chain, half)
        ages, untils = chain.after.shape[1], chain.before.shape[1]
        paces, pairs, longest = self.tables.nearing.shape
        far = np.zeros((paces, len(chain.after), longest), dtype=np.float32)
        weights = chain.shares[:, None] * chain.begins  # it begins within a pause
        far[np.arange(paces), :, chain.starts] = weights
        self.state = State(
            np.zeros((paces, pairs, ages, untils), dtype=np.float32),
            np.zeros((paces, pairs, untils), dtype=np.float32),
            np.zeros((paces, pairs, ages + 1), dtype=np.float32),
            far, far.sum(axis=2), np.zeros(1, dtype=np.int64), np.ones(1),
        )  # fmt: skip
        self._chances = np.zeros((1, len(chain.after)), dtype=np.float32)

    def weights(self) -> dict[str, np.ndarray]:
        """Give what `resumed` continues from: the parts of `State`, by name."""
        return self.state._asdict()

    def resumed(self, **weights: np.ndarray) -> Belief:
        """Give another belief over the same states that continues from these weights' copies."""
        other = copy.copy(self)  # what the chain says is shared: nothing changes it
        other.state = State(**weights).copy()
        return other

    def step(self, after: np.ndarray, before: np.ndarray) -> None:
        """Bring the weights to the next row.

        Parameters
        ----------
        after, before : ndarray, shape (E, A) and (E, B)
            Its evidence, see `Chain.evidence`.
        """
        self._chances = self.follow(after[None], before[None])

    def chances(self) -> np.ndarray:
        """Give the chance that this row lies within each event's label, shape (E,)."""
        return self._chances[0]

    def follow(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Bring the weights over the next rows.

        Parameters
        ----------
        after, before : ndarray, shape (n, E, A) and (n, E, B)
            Their evidence, see `Chain.evidence`.

        Returns
        -------
        ndarray of float32, shape (n, E)
            Each row's chances. They do not depend on how a series is cut.
        """
        factors = [np.exp(np.ascontiguousarray(e, dtype=np.float32)) for e in (after, before)]
        chances = np.empty((len(after), after.shape[1]), dtype=np.float32)
        advance(*factors, chances, self.tables, self.state)
        return chances


def tabulate(chain: Chain, half: int) -> Tables:
    """Work out what a chain says of its states, see `Tables`."""
    last, following = np.ascontiguousarray(chain.pairs.T).astype(np.int64)
    kinds, ages, _ = chain.after.shape
    untils, longest = chain.before.shape[1], chain.durations.shape[2]
    durations = chain.durations.astype(np.float64)

    aged = np.concatenate([chain.after, np.zeros_like(chain.after[:, :1])], axis=1)
    size, ending = np.square(aged).sum(axis=2), chain.before[following]
    both = size[last][:, :, None] + np.square(ending).sum(axis=2)[:, None]
    both += 2 * aged[last] @ ending.mT

    timed = durations * chain.follows[:, None]  # which event, and when
    from_event = np.zeros((kinds, len(last)))
    from_event[last, np.arange(len(last))] = 1
    # The chance of an event still to come at each age, from those that are far at that age.
    beyond = np.cumsum(timed[..., ::-1], axis=2)[..., ::-1][..., untils:]
    left = np.einsum("kn,gnd->gkd", from_event, beyond)
    nearing = timed[..., untils:] / np.maximum(left[:, last], 1e-30)
    nearing = nearing.clip(0, 1).astype(np.float32)
    staying = (1 - np.einsum("kn,gnd->gkd", from_event, nearing)).clip(0, 1)
    staying[..., -1] = 0

    # Of events beyond the last and the next one, only order and durations are known.
    summed = np.cumsum(np.pad(durations, ((0, 0), (0, 0), (1, 0))), axis=2)
    shortly = summed[..., np.arange(half, -1, -1).clip(0, longest)]
    ahead = np.zeros((len(durations), kinds, kinds, half + 1))
    back = np.zeros_like(ahead)
    came_from = chain.follows / np.bincount(following, chain.follows, kinds)[following]
    for pair, (k, j) in enumerate(zip(last, following, strict=True)):
        ahead[:, k, j] = chain.follows[pair] * shortly[:, pair]
        back[:, j, k] = came_from[pair] * shortly[:, pair]
    table = Tables(
        last, following, np.exp(-both / 2), np.exp(-size[:, :ages] / 2), timed[..., :untils],
        left[..., 0], nearing, staying, back[..., : min(half + 1, ages)],
        ahead[..., 1 : min(half, untils) + 1], LOST * chain.shares[:, None] * chain.begins,
        min(ages, nearing.shape[2] - 1), np.float32(FORGOTTEN),
    )  # fmt: skip
    floats = [np.ascontiguousarray(part, dtype=np.float32) for part in table[2:-2]]
    return Tables._make([last, following, *floats, table.pause, table.forgotten])
