"""Random generators: one for each part, subject and series."""

from __future__ import annotations

from enum import IntEnum
from statistics import NormalDist

import numpy as np

from pipeline.data.simulator.options import MOST_SUBJECTS


class Part(IntEnum):
    """First number of a generator's key; then come subject and series where they matter.

    Another number is another recording, so these never change.
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
    """What differs evenly between the subjects."""

    SLOWNESS = 0
    RESPONSE_QUALITY = 1
    SCALE = 2


def generator(seed: int, *key: int) -> np.random.Generator:
    """Give the generator of one part, independent of every other part's."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def rank(seed: int, trait: Trait, subject: int) -> float:
    """Spread a trait evenly over the subjects: a standard normal quantile for each.

    Twelve plain draws would often be too alike. A permutation that all subjects know gives each
    its own twelfth of the distribution, and still depends on the seed and the subject only.
    """
    place = generator(seed, Part.SHARED, trait).permutation(MOST_SUBJECTS)[subject - 1]
    return NormalDist().inv_cdf((place + 0.5) / MOST_SUBJECTS)
