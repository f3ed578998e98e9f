"""Random generators: one for each part, subject and series."""

from __future__ import annotations

from enum import IntEnum
from statistics import NormalDist

import numpy as np

from pipeline.data.simulator.options import MOST_SUBJECTS


class Part(IntEnum):
    """First number of a generator's key. Subject and series follow, if the part depends on them.

    With other numbers the recordings would be others, so these numbers never change.
    """

    SHARED = 0
    PLAN = 2
    CORTEX = 3
    RHYTHMS = 4
    EYES = 5
    RESPONSES = 6
    ELECTRODES = 7
    CAP = 8
    POWER = 9


class Trait(IntEnum):
    """Properties in which the twelve subjects are spread evenly, see `rank`."""

    SLOWNESS = 0
    RESPONSE_QUALITY = 1
    SCALE = 2


def generator(seed: int, *key: int) -> np.random.Generator:
    """Give the generator of one part, independent of every other part's."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def rank(seed: int, trait: Trait, subject: int) -> float:
    """Spread a trait evenly over the subjects: a standard normal quantile for each.

    Twelve independent draws would often be too similar. So the distribution is divided into twelve
    parts, and a random permutation gives each subject one of them. The result depends on the seed
    and the subject only.
    """
    place = generator(seed, Part.SHARED, trait).permutation(MOST_SUBJECTS)[subject - 1]
    return NormalDist().inv_cdf((place + 0.5) / MOST_SUBJECTS)
