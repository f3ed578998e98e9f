"""What does not come from the brain: eyes, muscles, electrodes and cables."""

from __future__ import annotations

import numpy as np
from scipy import signal

from pipeline.data.simulator.brain import REGIONS, power
from pipeline.data.simulator.courses import Array, bell, noise, slow_noise
from pipeline.data.simulator.draws import Part
from pipeline.data.simulator.setting import Setting, hardware

# Eyes
BLINKS_A_MINUTE = (4.0, 22.0)  # between subjects
BLINK_AMPLITUDE = (1900.0, 0.45)  # median in units at Fp1, log-SD between subjects
SACCADES_A_SECOND = 0.5
SACCADE_SECONDS = 0.04
GAZE_WANDER = 63.0  # SD of the gaze's direction, in units at the strongest electrode
# Electrodes
OFFSET = (125.0, 120.0, 46.0)  # mean, SD between subjects, SD between series
DRIFT_SD = 72.0  # near the reference
DRIFT_EDGE = 14.0  # added per head radius of distance from the reference
DRIFT_FRONT = 195.0  # added at the forehead
DRIFT_CORNER = 0.0145  # Hz
DRIFT_RATE = 20.0  # Hz: the drifts have no power above 3 Hz, so few samples are drawn
DRIFT_SPREAD = (0.35, 0.45)  # log-SD between subjects and electrodes, between series and electrodes
COMMON_DRIFT = 125.0  # the drift of the reference electrode, which is in all channels
MUSCLE_PSD = 0.5  # units^2/Hz at 20-100 Hz, median over electrodes at the rim
MUSCLE_SPREAD = 0.7
MUSCLE_POWER_SPREAD = 0.03  # log-SD of an event's effect on the muscles near a region
MUSCLE_REACH = 0.35  # head radii over which electrodes see the same muscle
MAINS_HERTZ = 50.0
MAINS = (1.6, 0.9)  # amplitude in units: median, log-SD between subjects
JUMPS_A_MINUTE = 1.2
JUMP = (500.0, 0.9)  # size of a contact's jump: median in units, log-SD
CABLE = 60.0  # SD of a cable movement's size, units
CABLE_EVENTS = (0, 3, 4, 5)  # columns of the plan: events at which the arm swings


def eyes(setting: Setting) -> tuple[Array, Array]:
    """Draw gaze and blinks.

    Returns
    -------
    courses : ndarray, shape (3, T)
        Gaze up, gaze to the right, blinks.
    fields : ndarray, shape (3, C)
    """
    own, random = setting.of_subject(Part.EYES), setting.of_series(Part.EYES)
    courses = np.zeros((3, setting.samples))
    courses[:2] = _gaze(setting, random)
    _add_blinks(setting, own, random, courses[2])
    fields = setting.head.eye_fields(setting.turn)
    return courses, fields[[0, 1, 0]]


def _gaze(setting: Setting, random: np.random.Generator) -> Array:
    """Draw random jumps of the gaze, in addition to the eye movements of the trials, `(2, T)`."""
    samples = setting.samples
    rows = np.zeros((2, samples))
    for row in rows:
        jumps = random.poisson(SACCADES_A_SECOND * setting.seconds)
        at = np.sort(random.integers(0, samples, jumps + 1))
        at[0] = 0
        level = GAZE_WANDER * random.standard_normal(jumps + 1)
        row += np.repeat(level, np.diff(np.append(at, samples)))
    smooth = max(1, round(SACCADE_SECONDS * setting.rate))
    return signal.lfilter(np.ones(smooth) / smooth, 1, rows, axis=1)


def _add_blinks(
    setting: Setting, own: np.random.Generator, random: np.random.Generator, course: Array
) -> None:
    """Add blinks: fewer while the hand moves, and some more after the movement."""
    low, high = BLINKS_A_MINUTE
    a_minute = low * (high / low) ** own.random() * setting.config.artefacts
    median, spread = BLINK_AMPLITUDE
    median *= np.exp(spread * own.standard_normal())
    seconds = setting.seconds
    times = random.uniform(0, seconds, random.poisson(a_minute * seconds / 60))
    keep = random.random(len(times))
    held = own.uniform(0.3, 0.9)  # share of blinks that are held back during the movement
    for row in setting.trials.centres:
        busy = (times > row[0] - 0.3) & (times < row[4])
        keep[busy & (keep < held)] = -1
    times = times[keep >= 0]
    later = setting.trials.centres[:, 5]
    later = later[random.random(len(later)) < own.uniform(0.0, 0.5) * min(a_minute / 10, 1)]
    times = np.append(times, later + random.normal(0.3, 0.4, len(later)))
    for time in times:
        size = median * np.exp(0.3 * random.standard_normal())
        width = 0.06 * np.exp(0.2 * random.standard_normal())
        rows, t = setting.span(time - 0.5, time + 1)
        closing, opening = bell((t - time) / width), bell((t - time) / (1.6 * width))
        course[rows] += size * np.where(t < time, closing, opening)


def electrodes(setting: Setting) -> Array:
    """Draw what comes from electrodes, muscles, mains and cables, not from sources, `(C, T)`."""
    # The order matters: all draw from the same two generators.
    own, random = setting.of_subject(Part.ELECTRODES), setting.of_series(Part.ELECTRODES)
    total = _drifts(setting, own, random)
    _add_muscles(setting, own, random, total)
    _add_mains(setting, own, random, total)
    _add_jumps(setting, random, total)
    _add_cables(setting, own, random, total)
    mean, by_subject, by_series = OFFSET
    channels = len(total)
    offset = mean + by_subject * own.standard_normal(channels)
    total += (offset + by_series * random.standard_normal(channels))[:, None]
    return total


def _drifts(setting: Setting, own: np.random.Generator, random: np.random.Generator) -> Array:
    """Draw the drift of each electrode, and that of the reference, which is in all, `(C, T)`."""
    places, away = setting.head.places, setting.head.away
    channels = len(places)
    front = np.clip((places[:, 1] - 0.6) / 0.4, 0, 1)  # 1 at the forehead
    spread = DRIFT_SPREAD
    size = DRIFT_SD + DRIFT_EDGE * away + DRIFT_FRONT * front
    size = size * np.exp(spread[0] * own.standard_normal(channels))
    size = size * np.exp(spread[1] * random.standard_normal(channels))

    def spectrum(frequency: Array) -> Array:
        """Fall as f^-2 above the corner."""
        return 1 / (1 + (frequency / DRIFT_CORNER) ** 2) / (1 + (frequency / 2) ** 4)

    drift = slow_noise(
        random, spectrum, DRIFT_CORNER * np.pi / 2, channels + 1, setting.samples, setting.rate,
        min(setting.rate, DRIFT_RATE),
    )  # fmt: skip
    common = COMMON_DRIFT * (away / away.mean())
    total = drift[:-1]
    for channel, row in enumerate(total):  # row by row, which stays in the processor's cache
        row *= size[channel]
        row += common[channel] * drift[-1]
    return total


def _add_muscles(
    setting: Setting, own: np.random.Generator, random: np.random.Generator, total: Array
) -> None:
    """Add bursts of muscle activity, strongest at the rim of the cap."""
    places = setting.head.places
    channels = len(places)
    rim = np.clip((0.75 - places[:, 2]) / 0.75, 0.12, None)
    muscle = MUSCLE_PSD * rim**2 * np.exp(MUSCLE_SPREAD * own.standard_normal(channels))
    muscle *= np.exp(0.4 * random.standard_normal(channels))

    def spectrum(frequency: Array) -> Array:
        return hardware(frequency) / (1 + (8 / np.maximum(frequency, 1e-3)) ** 2)

    hiss = noise(random, spectrum, channels, setting.samples, setting.rate)
    burst = np.exp(0.5 * setting.wander(random, 0.3, REGIONS) - 0.125)
    burst *= power(setting, Part.ELECTRODES, MUSCLE_POWER_SPREAD)
    for channel, row in enumerate(hiss):
        row *= burst[channel * REGIONS // channels]
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = bell(apart / MUSCLE_REACH)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    seen = near @ hiss
    for channel, row in enumerate(total):
        row += np.sqrt(muscle)[channel] * seen[channel]


def _add_mains(
    setting: Setting, own: np.random.Generator, random: np.random.Generator, total: Array
) -> None:
    """Add mains hum."""
    median, spread = MAINS
    mains = median * np.exp(spread * own.standard_normal() + 0.6 * own.standard_normal(len(total)))
    phase = 2 * np.pi * MAINS_HERTZ * np.arange(setting.samples) / setting.rate
    wave = np.sin(phase + random.uniform(0, 2 * np.pi))
    for channel, row in enumerate(total):
        row += mains[channel] * wave


def _add_jumps(setting: Setting, random: np.random.Generator, total: Array) -> None:
    """Add loose contacts: sudden jumps that decay."""
    expected = JUMPS_A_MINUTE * setting.samples / setting.rate / 60 * setting.config.artefacts
    for _ in range(random.poisson(expected)):
        channel, at = random.integers(len(total)), random.uniform(0, setting.seconds)
        median, spread = JUMP
        jump = median * np.exp(spread * random.standard_normal()) * random.choice([-1, 1])
        decay = random.uniform(0.2, 1.5)
        rows, t = setting.span(at, at + 8 * decay)
        total[channel, rows] += jump * np.exp((at - t) / decay)


def _add_cables(
    setting: Setting, own: np.random.Generator, random: np.random.Generator, total: Array
) -> None:
    """Add the effect of cables that swing with the arm."""
    away, rate = setting.head.away, setting.rate
    for row in setting.trials.centres:
        for event in CABLE_EVENTS:
            swing = CABLE * setting.config.artefacts * random.standard_t(4) * own.uniform(0.5, 1)
            pull = swing * random.standard_normal(len(total)) * away / 2
            at, width = row[event] + random.normal(0.1, 0.1), random.uniform(0.1, 0.4)
            first, last = int((at - 4 * width) * rate), int((at + 4 * width) * rate)
            first, last = max(first, 0), min(last, setting.samples)
            if first < last:
                t = np.arange(first, last) / rate
                total[:, first:last] += pull[:, None] * bell((t - at) / width)
