"""Ongoing activity of the brain: the whole cortex, and its rhythms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.simulator.courses import Array, bell, noise, plateau
from pipeline.data.simulator.draws import Part, generator
from pipeline.data.simulator.plan import TRIAL_EVENTS
from pipeline.data.simulator.setting import Setting, hardware

# Spectra and covariance of the windows
CORTEX_DIPOLES = 48
CORTEX_DEPTH = (0.45, 0.80)  # distance from the centre, head radius = 1
CORTEX_PSD = 345.0  # units^2/Hz at 1 Hz of a dipole's strongest electrode
CORTEX_SLOPE = 1.1
CORTEX_KNEE = 1.0  # Hz: below it the spectrum is flat; slower changes are electrode drifts
BROAD_PSD = 1000.0  # units^2/Hz at 1 Hz of the source that the whole scalp shows, at the rim
WANDER = (0.35, 0.08)  # slow changes of the strengths: log-SD, and corner frequency in Hz
BURSTS = (0.6, 0.4)  # log-SD and corner in Hz of a rhythm's envelope
RHYTHM_DEPTH = 0.78  # distance from the centre, head radius = 1
WEAK_SIDE = 0.6  # the right hemisphere's part in the changes, because the right hand moves
# Each event changes the power. Windows: their log variance differs between events.
POWER_SPREAD = 0.16  # log-SD of an event's effect on a region of the cortex
POWER_SHARED, POWER_WIDTH = 0.4, 0.2  # share that all subjects have alike; SD of the bell, s
REGIONS = 6  # of the cortex and of the muscles; within one, the power changes together


@dataclass(frozen=True)
class Rhythm:
    """An oscillation that comes in bursts and changes with the movement.

    Parameters
    ----------
    sites : tuple of str
        Electrodes over its sources.
    peak, peak_spread : float
        Its frequency in Hz, and how much this differs between subjects (SD).
    bandwidth : float
        In Hz.
    amplitude : float
        SD in units at the strongest electrode.
    drop : float
        Share of the amplitude that is lost during the movement, and just before it.
    rebound : float
        Share of the amplitude that is gained after the movement.
    """

    sites: tuple[str, ...]
    peak: float
    peak_spread: float
    bandwidth: float
    amplitude: float
    drop: float = 0.0
    rebound: float = 0.0


RHYTHMS = (
    Rhythm(("O1", "O2", "Pz", "PO9", "PO10"), 10.0, 0.7, 1.8, 55.0, drop=0.25),  # alpha
    Rhythm(("P7", "P8", "Fz", "Oz"), 6.0, 0.5, 2.2, 40.0),  # theta
    Rhythm(("C3", "C4"), 10.8, 0.7, 1.5, 32.0, drop=0.55),  # mu
    Rhythm(("C3", "C4"), 20.5, 1.5, 4.0, 14.0, drop=0.5, rebound=0.9),  # beta
)
SITES = tuple(site for rhythm in RHYTHMS for site in rhythm.sites)


def power(setting: Setting, part: Part, spread: float) -> Array:
    """Draw by which factor each region's amplitude changes around the events.

    Parameters
    ----------
    setting : Setting
        The recording.
    part : Part
        The part whose power changes: each part has its own effects.
    spread : float
        Log-SD of an event's effect on a region.

    Returns
    -------
    ndarray, shape (REGIONS, T)
    """
    shape = (len(TRIAL_EVENTS), REGIONS)
    shared = generator(setting.config.seed, Part.POWER, part).standard_normal(shape)
    own = generator(setting.config.seed, Part.POWER, part, setting.subject).standard_normal(shape)
    effect = np.sqrt(POWER_SHARED) * shared + np.sqrt(1 - POWER_SHARED) * own
    effect *= spread * min(setting.config.snr, 2)
    log = np.zeros((REGIONS, setting.samples))
    for row in setting.trials.centres:
        for event in np.flatnonzero(~np.isnan(row)):
            centre = row[event]
            rows, t = setting.span(centre - 3 * POWER_WIDTH, centre + 3 * POWER_WIDTH)
            log[:, rows] += effect[event][:, None] * bell((t - centre) / POWER_WIDTH)
    return np.exp(log)


def cortex(setting: Setting) -> tuple[Array, Array]:
    """Draw sources with 1/f spectra all over the cortex, and one that the whole scalp shows.

    Returns
    -------
    courses : ndarray, shape (sources, T)
    fields : ndarray, shape (sources, C)
    """
    own, random = setting.of_subject(Part.CORTEX), setting.of_series(Part.CORTEX)
    places = own.standard_normal((CORTEX_DIPOLES, 3))
    places[:, 2] = np.abs(places[:, 2]) - 0.25  # few sources below the rim of the cap
    directions = places / np.linalg.norm(places, axis=1, keepdims=True)
    places = directions * own.uniform(*CORTEX_DEPTH, (CORTEX_DIPOLES, 1))
    moments = directions + 0.6 * own.standard_normal((CORTEX_DIPOLES, 3))
    fields = setting.head.field(places @ setting.turn.T, moments @ setting.turn.T)
    strength = np.exp(0.3 * own.standard_normal(CORTEX_DIPOLES) + 0.12 * own.standard_normal())
    strength *= np.exp(0.12 * random.standard_normal(CORTEX_DIPOLES))

    def spectrum(frequency: Array) -> Array:
        pink = CORTEX_PSD / (CORTEX_KNEE**2 + frequency**2) ** (CORTEX_SLOPE / 2)
        return pink * hardware(frequency)

    courses = noise(random, spectrum, CORTEX_DIPOLES, setting.samples, setting.rate)
    spread, corner = WANDER
    strengths = np.exp(spread * setting.wander(random, corner, REGIONS) - spread**2)
    strengths *= power(setting, Part.CORTEX, POWER_SPREAD)
    for region, rows in enumerate(np.split(courses, REGIONS)):  # a region's dipoles lie together
        rows *= strengths[region]
    broad = noise(random, spectrum, 1, setting.samples, setting.rate) * strengths[:1]
    broad *= np.sqrt(BROAD_PSD / CORTEX_PSD)
    away = setting.head.away
    fields = np.concatenate([fields * strength[:, None], away[None] / away.max()])
    return np.concatenate([courses, broad]), fields


def _movements(setting: Setting, own: np.random.Generator) -> tuple[Array, Array]:
    """Say at each sample how much the hand moves, and how much it just has, 0 to 1, `(T,)`."""
    moving, after = np.zeros(setting.samples), np.zeros(setting.samples)
    lead, lag = own.uniform(0.5, 1.2), own.uniform(0.2, 0.6)
    for row in setting.trials.centres:
        start, end = row[0] - lead, row[-1] + lag
        rows, t = setting.span(start - 1, end + 1)
        moving[rows] += plateau(t, start, end, 0.5, 0.5)
        rows, t = setting.span(end - 1, end + 4)
        after[rows] += bell((t - end - 1.0) / 0.5)
    return np.minimum(moving, 1), after


def rhythms(setting: Setting) -> tuple[Array, Array]:
    """Draw the rhythms.

    Returns
    -------
    courses : ndarray, shape (sources, T)
    fields : ndarray, shape (sources, C)
    """
    own, random = setting.of_subject(Part.RHYTHMS), setting.of_series(Part.RHYTHMS)
    moving, after = _movements(setting, own)
    courses: list[Array] = []
    fields: list[Array] = []
    for rhythm in RHYTHMS:
        peak = rhythm.peak + rhythm.peak_spread * own.standard_normal()
        amplitude = rhythm.amplitude * np.exp(0.4 * own.standard_normal())
        depth = np.clip(rhythm.drop * np.exp(0.3 * own.standard_normal()), 0, 0.9)
        depth *= min(setting.config.snr, 1 / 0.9)
        for site in rhythm.sites:
            direction = setting.head.direction(site)
            place = direction * RHYTHM_DEPTH + 0.06 * own.standard_normal(3)
            moment = direction + 0.4 * own.standard_normal(3)
            turn = setting.turn
            fields.append(setting.head.field((turn @ place)[None], (turn @ moment)[None])[0])
            course = _oscillation(setting, random, peak, rhythm.bandwidth)
            size, corner = BURSTS
            burst = size * setting.wander(random, corner, 1)[0]
            side = WEAK_SIDE if site == "C4" else 1.0
            gain = 1 - side * depth * moving
            if rhythm.rebound:
                gain = gain + side * rhythm.rebound * setting.config.snr * after
            courses.append(course * np.exp(burst - size**2 / 2) * gain * amplitude)
    return np.array(courses), np.array(fields)


def _oscillation(
    setting: Setting, random: np.random.Generator, peak: float, bandwidth: float
) -> Array:
    """Draw noise of variance 1 in a band around `peak`, both in Hz, `(T,)`."""

    def spectrum(frequency: Array) -> Array:
        spread = bandwidth / 2
        return bell((frequency - peak) / spread) / spread / 2.5066  # the root of 2 pi

    return noise(random, spectrum, 1, setting.samples, setting.rate)[0]
