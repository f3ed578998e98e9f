"""The chances of all states of a chain, brought from row to row of a series by Bayes' rule."""

from __future__ import annotations

import copy

import numpy as np

from pipeline.detectors.semi_markov.chain import Chain

# The chance, each row, that everything before was mistaken, the pace too, and that the true state
# is the pause after a trial.
LOST = 1e-9


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
    chances = np.zeros((len(after), len(chain.after)), dtype=np.float32)
    for row, (since, until) in enumerate(zip(after, before, strict=True)):
        belief.step(since, until)
        chances[row] = belief.chances()
    return chances


class Belief:
    """How likely each state of a chain is, given the rows so far.

    A state is near the next event, ``near[g, k, a, b]``: at pace g the last event, k, was a rows
    ago (at most A: longer ago leaves no response), and the next one, k + 1, comes in b + 1 rows; or
    it is still far from it, ``far[g, k, a]``: more than B rows, and how likely it is to come near
    now depends on a. The weights add up to `total`, not to 1.

    Parameters
    ----------
    chain : Chain
        Whose states.
    half : int
        An event's label reaches so many rows before and after it.
    """

    def __init__(self, chain: Chain, half: int) -> None:
        self.kinds, self.ages, _ = chain.after.shape
        self.untils = chain.before.shape[1]
        self.following = np.roll(np.arange(self.kinds), -1)  # each event's next one
        self.shares = chain.shares
        self._cost(chain)
        self._time(chain.durations.astype(np.float64), half)

        paces, kinds, longest = self.nearing.shape
        self.near = np.zeros((paces, kinds, self.ages + 1, self.untils), dtype=np.float32)
        self.moved = np.zeros_like(self.near)  # where the next row's `near` is written
        self.far = np.zeros((paces, kinds, longest), dtype=np.float32)
        self.far[np.arange(paces), -1, chain.starts] = chain.shares  # it begins within a pause
        self.total: np.floating = np.float32(1)
        self.pause = min(self.ages, longest - 1)
        self.early = min(self.ages, longest)  # ages of `far` that have a response
        # By the last event and the rows since it: how well the response fits the row.
        self.fits_after = np.ones((kinds, self.ages + 1), dtype=np.float32)

    def _cost(self, chain: Chain) -> None:
        """Work out what a state's prediction costs it whatever the row is: half its size."""
        ending = chain.before[self.following]  # by the last event, like all else
        aged = np.concatenate([chain.after, np.zeros_like(chain.after[:, :1])], axis=1)
        size = np.square(aged).sum(axis=2)
        both = size[:, :, None] + np.square(ending).sum(axis=2)[:, None] + 2 * aged @ ending.mT
        self.cost_near, self.cost_far = np.exp(-both / 2), np.exp(-size[:, : self.ages] / 2)

    def _time(self, durations: np.ndarray, half: int) -> None:
        """Work out what the durations, shape (G, E, D), say of each state."""
        untils = self.untils
        # The chance that a state that is still far, at each age, comes near with this row.
        beyond = np.cumsum(durations[..., ::-1], axis=2)[..., ::-1][..., untils:]
        nearing = durations[..., untils:] / np.maximum(beyond, 1e-30)
        self.nearing = nearing.clip(0, 1).astype(np.float32)
        self.nearing[..., -1] = 1
        # When an event has just happened: that the next one comes so soon, or later than all these.
        self.soon = durations[..., :untils].astype(np.float32)
        self.later = beyond[..., 0].astype(np.float32)
        # Of events beyond the last and the next one, only the durations are known: by rows since
        # the last event, or until the next, the chance that one more lies within `half` rows.
        summed = np.cumsum(np.pad(durations, ((0, 0), (0, 0), (1, 0))), axis=2)
        shortly = summed[..., np.arange(half, -1, -1).clip(0, summed.shape[2] - 1)]
        shortly = shortly.astype(np.float32)
        self.seen, self.coming = min(half + 1, self.ages), min(half, untils)
        self.one_before = np.roll(shortly, 1, axis=1)[..., : self.seen]
        self.one_after = np.roll(shortly, -1, axis=1)[..., 1 : self.coming + 1]

    def weights(self) -> dict[str, np.ndarray]:
        """Give what `resumed` continues from."""
        return {"near": self.near, "far": self.far, "total": np.asarray(self.total)}

    def resumed(self, near: np.ndarray, far: np.ndarray, total: np.ndarray) -> Belief:
        """Give another belief over the same states that continues from these weights' copies."""
        other = copy.copy(self)  # what the chain says is shared: nothing changes it
        other.near, other.far, other.total = near.copy(), far.copy(), total.dtype.type(total)
        other.moved, other.fits_after = np.empty_like(near), np.empty_like(self.fits_after)
        return other

    def step(self, after: np.ndarray, before: np.ndarray) -> None:
        """Go on to the next row.

        Parameters
        ----------
        after, before : ndarray, shape (E, A) and (E, B)
            Its evidence, see `Chain.evidence`.
        """
        ages = self.ages
        # The weights' sum is divided out one row later, with what is multiplied anyway.
        self.fits_after[:, :ages] = np.exp(after) / self.total
        self.fits_after[:, ages] = 1 / self.total
        ahead = np.exp(before[self.following])
        fits = self.cost_near * self.fits_after[:, :, None] * ahead[:, None]
        happening = np.roll(self.near[..., 0].sum(axis=2), 1, axis=1)
        approaching = self.far * self.nearing
        self._step_near(fits, happening, approaching)
        self._step_far(happening, approaching)
        self.total = self.near.sum() + self.far.sum()
        self.far[:, -1, self.pause] += LOST * self.total * self.shares

    def _step_near(self, fits: np.ndarray, happening: np.ndarray, approaching: np.ndarray) -> None:
        """Move the states near the next event: one row older, and one row nearer to it."""
        ages, early, near, moved = self.ages, self.early, self.near, self.moved
        np.multiply(near[:, :, :-1, 1:], fits[:, 1:, :-1], out=moved[:, :, 1:, :-1])
        moved[:, :, ages, :-1] += near[:, :, ages, 1:] * fits[:, ages, :-1]
        moved[..., -1] = 0
        moved[:, :, 1 : early + 1, -1] = approaching[..., :early]
        moved[:, :, ages, -1] += approaching[..., early:].sum(axis=2)
        moved[..., -1] *= fits[..., -1]
        moved[:, :, 0] = happening[..., None] * self.soon * fits[:, 0]
        self.near, self.moved = moved, near

    def _step_far(self, happening: np.ndarray, approaching: np.ndarray) -> None:
        """Move the states far from the next event: one row older, less those that come near."""
        far, early = self.far, self.early
        far -= approaching
        far[..., 1:] = far[..., :-1].copy()
        far[..., 0] = happening * self.later
        far[..., :early] *= (self.fits_after[:, : self.ages] * self.cost_far)[:, :early]
        far[..., early:] /= self.total

    def chances(self) -> np.ndarray:
        """Give the chance that this row lies within each event's label, shape (E,)."""
        seen, longest = self.seen, self.far.shape[2]
        ago = self.near[:, :, :seen].sum(axis=3)
        ago[..., : min(seen, longest)] += self.far[..., :seen]
        hence = self.near[..., : self.coming].sum(axis=2)
        chance = ago.sum(axis=2) + np.roll(hence.sum(axis=2), 1, axis=1)
        chance += np.roll((ago * self.one_before).sum(axis=2), -1, axis=1)
        chance += np.roll((hence * self.one_after).sum(axis=2), 2, axis=1)
        return chance.sum(axis=0) / self.total
