"""Simulated recordings in Kaggle's format, for whoever has no data at hand.

A simulated recording has what makes the real ones hard: most of its power lies below 1 Hz, it is
neither stationary nor Gaussian, the electrodes drift, eyes and muscles move with the hand, and
subjects and series differ. It exists to try the whole pipeline out, and to tell a mistake from a
difficulty. How close it comes to the real recordings' figures is in `docs/simulator.md`; a score on
it is not one in the competition.

What a recording is made of, in the order in which it is put together
----------------------------------------------------------------------
`simulate_trials`
    The plan: when the hand starts, touches, loads, lifts, replaces and releases in each trial.
cortex
    Dipoles all over the cortex with pink spectra, whose strength wanders over seconds and changes
    with every event, and one broad source that the whole scalp shows.
rhythms
    Alpha over the back of the head; mu and beta over the hands' areas of both sides. All come in
    bursts. Mu and beta weaken from before the movement until its end, and beta rebounds after it.
eyes
    Gaze, which goes to the object and comes back with every trial and wanders otherwise; blinks,
    which are held back while the hand works and come after it.
responses
    What the brain does with each trial: a readiness ramp up to the movement, sustained potentials
    while the object is held, and phasic responses to every event. Their places and shapes are
    shared by all subjects in part and are the subject's own for the rest; their strength and
    latency vary from trial to trial. Now and then they come without a trial.
electrodes
    Offsets, drifts of every electrode for itself and of the reference, muscle activity that changes
    with every event, a little of the mains, loose contacts that jump, and movements of the cables
    that have no constant sign.

Every source is a current dipole in a sphere fitted to MNE's electrode positions. Its field at the
electrodes is taken against the reference near FCz, which explains the real recordings' small
amplitudes around the vertex and their large first principal component.

Randomness comes from numpy's `SeedSequence`: what all subjects share depends on the seed, a
subject's traits on (seed, subject), a series on (seed, subject, series). Arithmetic is in float64,
so that different processors round to the same integers.

The sources of the constants are named beside them. "Windows" are the event windows of WAY-EEG-GAL
(Luciw et al. 2014, doi 10.1038/sdata.2014.47), series 1-6, "delays" the event times of its series
1-8, all in the integer units of Kaggle's files, whose physical size is not documented.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

import mne
import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray
from scipy import fft, signal

Array = NDArray[np.float64]
Spectrum = Callable[[Array], Array]

# ---- the format (the competition's files) --------------------------------------------------------

CHANNELS = [
    "Fp1",
    "Fp2",
    "F7",
    "F3",
    "Fz",
    "F4",
    "F8",
    "FC5",
    "FC1",
    "FC2",
    "FC6",
    "T7",
    "C3",
    "Cz",
    "C4",
    "T8",
    "TP9",
    "CP5",
    "CP1",
    "CP2",
    "CP6",
    "TP10",
    "P7",
    "P3",
    "Pz",
    "P4",
    "P8",
    "PO9",
    "O1",
    "Oz",
    "O2",
    "PO10",
]
EVENTS = [
    "HandStart",
    "FirstDigitTouch",
    "BothStartLoadPhase",
    "LiftOff",
    "Replace",
    "BothReleased",
]
LABEL_SECONDS = 0.3  # an event's label is 1 for 150 samples at 500 Hz
MOST_SUBJECTS = 12
MOST_SERIES = 10

# ---- the plan of the trials (delays) -------------------------------------------------------------

TRIALS = {"short": 34, "long": 34, "mixed": 28}
# Order of the types in series 1-6; 7-10 are short. Five orders in turn, as in the real set.
SERIES_TYPES = (
    "short long mixed short mixed long",
    "mixed long short long short mixed",
    "short mixed long mixed long short",
    "long mixed short mixed short long",
    "mixed short long short long mixed",
)
FIRST_START = (2.28, 0.25, 0.45)  # s: earliest, median and log-SD of what is added to it
TAIL_SECONDS = 2.5  # from the last event to the end of the recording
# Rest from BothReleased to the next HandStart: median in s and log-SD within a series
REST = {"short": (2.99, 0.20), "long": (10.07, 0.115), "mixed": (10.33, 0.115)}
REST_SUBJECT_LOG_SD = 0.06
# Delay from the event before: median in s, log-SD between subjects, between series, between trials
DELAYS = {
    "FirstDigitTouch": (0.985, 0.22, 0.08, 0.165),
    "BothStartLoadPhase": (0.100, 0.36, 0.27, 0.56),
    "LiftOff": (0.300, 0.36, 0.12, 0.50),
    "Replace": (3.220, 0.056, 0.033, 0.050),
}
# A slow subject is slow in everything: correlation of a delay's subject term with slowness.
SLOWNESS = {"FirstDigitTouch": 1.0, "BothStartLoadPhase": 0.6, "LiftOff": 0.75, "Replace": 0.75}
DELAY_TAIL = 5.0  # degrees of freedom of Student's t of the trial term
# Replace to BothReleased is close to a normal distribution cut off near zero, hence no log-SD:
# mean, SD between subjects, between series, between trials, in s
RELEASE = (0.228, 0.045, 0.035, 0.120)
RELEASE_LEAST = 0.016  # s
LATE_LOAD_SHARE = 0.0067  # trials whose BothStartLoadPhase is marked after LiftOff: 21 of 3,120
LATE_LOAD = (0.15, 1.2)  # by how much: median in s, log-SD
LOST_LOAD_SHARE = 0.0016  # trials whose BothStartLoadPhase is not marked at all: 5 of 3,120

# ---- geometry ------------------------------------------------------------------------------------

MONTAGE = "colin27_1005"  # MNE's 10-05 positions, called standard_1005 before MNE 1.13
REFERENCE = "FCz"  # windows: the smallest amplitudes are at FC1, FC2, Fz and Cz

# ---- cortex and rhythms (spectra and covariance of the windows) ----------------------------------

CORTEX_DIPOLES = 48
CORTEX_DEPTH = (0.45, 0.80)  # distance from the centre, head radius = 1
CORTEX_PSD = 345.0  # units^2/Hz at 1 Hz of a dipole's strongest electrode
CORTEX_SLOPE = 1.1
CORTEX_KNEE = 1.0  # Hz below which the cortex's spectrum is flat: the electrodes drift instead
BROAD_PSD = 1000.0  # units^2/Hz at 1 Hz of what the whole scalp shows together, at its rim
WANDER = (0.35, 0.08)  # log-SD of strengths and the corner in Hz of their wandering
ALPHA = (10.0, 0.7, 55.0)  # Hz, SD between subjects, units (SD at the strongest electrode)
THETA = (6.0, 0.5, 40.0)
MU = (10.8, 0.7, 32.0)
BETA = (20.5, 1.5, 14.0)
RHYTHM_BANDWIDTH = {"alpha": 1.8, "theta": 2.2, "mu": 1.5, "beta": 4.0}  # Hz
BURSTS = (0.6, 0.4)  # log-SD and corner in Hz of a rhythm's envelope
# What the movement does to the power of everything: log-SD of an event's effect on a region of
# the cortex and of the muscles, how much of it all subjects share, and its width in s (windows:
# their log-variance tells events apart)
POWER_SPREAD, MUSCLE_POWER_SPREAD, POWER_SHARED, POWER_WIDTH = 0.16, 0.03, 0.4, 0.2
REGIONS = 6  # of the cortex, and so of the muscles, whose power changes together
MU_DROP, BETA_DROP, ALPHA_DROP, BETA_REBOUND = 0.55, 0.5, 0.25, 0.9  # share of the amplitude

# ---- eyes ----------------------------------------------------------------------------------------

BLINKS_A_MINUTE = (4.0, 22.0)  # between subjects
BLINK_AMPLITUDE = (1900.0, 0.45)  # median in units at Fp1, log-SD between subjects
SACCADES_A_SECOND = 0.5
GAZE_WANDER = 63.0  # SD of the gaze's place, units at its strongest electrode

# ---- electrodes ----------------------------------------------------------------------------------

OFFSET = (125.0, 120.0, 46.0)  # mean, SD between subjects, SD between series
DRIFT_SD = 72.0  # near the reference
DRIFT_EDGE = 14.0  # added per head radius of distance from it
DRIFT_FRONT = 195.0  # added at the forehead
DRIFT_CORNER = 0.0145  # Hz
DRIFT_SPREAD = (0.35, 0.45)  # log-SD between subjects and electrodes, between series and electrodes
COMMON_DRIFT = 125.0  # the reference electrode's own drift, which all others show
MUSCLE_PSD = 0.5  # units^2/Hz at 20-100 Hz, median over electrodes at the rim
MUSCLE_SPREAD = 0.7
MUSCLE_REACH = 0.35  # head radii over which electrodes see the same muscle
HARDWARE_CORNER = 160.0  # Hz: the amplifier's low-pass
MAINS = (1.6, 0.9)  # amplitude in units at 50 Hz: median, log-SD between subjects
JUMPS_A_MINUTE = 1.2
JUMP = (500.0, 0.9)  # size of a contact's jump: median in units, log-SD
CABLE = 60.0  # SD of a cable movement's size, units

# ---- responses -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """One component of what follows, or goes before, an event.

    Parameters
    ----------
    event
        The event it belongs to.
    site
        Electrode over its source; ``vertical`` and ``horizontal`` are the eyes' dipoles.
    latency, width
        In s after the event: its peak and the SD of its bell shape. For a plateau, see `until`.
    amplitude
        Units at the strongest electrode.
    until
        If given, the component is a plateau from `event` + `latency` to this event, with flanks as
        steep as `width`.
    ramp
        If given, in s, the component grows linearly for so long up to its latency, then falls back
        within `width`.
    """

    event: str
    site: str
    latency: float
    width: float
    amplitude: float
    until: str | None = None
    ramp: float | None = None


RESPONSES = (
    # the readiness potential: early and midline, then contralateral to the right hand
    Response("HandStart", "Cz", 0.0, 0.25, -75.0, ramp=1.8),
    Response("HandStart", "C3", 0.05, 0.20, -65.0, ramp=0.7),
    # the lamp that asks for the movement, and the look at the object (windows: O1 +95 at 0 ms)
    Response("HandStart", "Oz", -0.02, 0.14, 95.0),
    Response("HandStart", "P3", 0.20, 0.25, 60.0),
    Response("HandStart", "horizontal", -0.20, 0.25, -95.0),
    Response("HandStart", "vertical", 0.25, 0.30, -80.0),
    # execution and touch
    Response("HandStart", "C3", 0.55, 0.30, 55.0),
    Response("FirstDigitTouch", "CP5", 0.09, 0.05, -40.0),
    Response("FirstDigitTouch", "C3", 0.22, 0.10, 45.0),
    Response("FirstDigitTouch", "vertical", 0.25, 0.20, 90.0),
    Response("FirstDigitTouch", "Pz", -0.25, 0.20, -45.0),
    # load and lift
    Response("BothStartLoadPhase", "C3", 0.05, 0.10, -40.0),
    Response("LiftOff", "CP1", 0.10, 0.09, -50.0),
    Response("LiftOff", "Oz", 0.15, 0.25, -80.0),
    Response("LiftOff", "vertical", 0.10, 0.35, 85.0),
    # holding: a sustained potential over the hand's area
    Response("LiftOff", "C3", 0.30, 0.30, -55.0, until="Replace"),
    Response("LiftOff", "CP2", 0.50, 0.40, 40.0, until="Replace"),
    # putting down and letting go
    Response("Replace", "vertical", -0.25, 0.35, -125.0),
    Response("Replace", "Cz", -0.10, 0.25, -45.0, ramp=1.0),
    Response("Replace", "CP5", 0.10, 0.06, 45.0),
    Response("Replace", "P4", 0.15, 0.20, -40.0),
    Response("BothReleased", "C3", 0.15, 0.15, 50.0),
    Response("BothReleased", "Oz", 0.30, 0.25, 55.0),
    Response("BothReleased", "Cz", 0.70, 0.50, 50.0),
)
RESPONSE_SIZE, RESPONSE_WIDTH = 1.45, 0.62  # factors on the amplitudes and widths above
OWN_RESPONSES = 12  # more of them, of every subject's own
OWN_AMPLITUDE = 64.0
RESPONSE_GAIN = (0.46, 1.68)  # between the weakest and the strongest subject
RESPONSE_SPREAD = 0.55  # log-SD of a component's amplitude between subjects
SITE_SPREAD = (
    0.35  # how far a component's source lies off its site, in head radii, between subjects
)
TRIAL_SPREAD = 0.45  # SD of a component's amplitude between trials, as a share of it
LATENCY_SPREAD = (0.05, 0.05)  # s, between subjects, between trials
SERIES_SPREAD = 0.38  # log-SD of a component's amplitude between a subject's series
# Of every component, a minute: brain and eyes do much the same without a trial, too. The windows
# hold no rest; this is what takes a classifier's AUC to the real one.
STRAYS_A_MINUTE = 0.12
SUBJECT_SCALE = 0.37  # log-SD of a subject's factor on everything but the offsets
SERIES_ROTATION = 0.05  # rad: how far the sources turn against the cap between series


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate.

    Parameters
    ----------
    seed
        Not negative. The same seed gives the same recordings.
    subjects, series
        How many subjects (1-12) of how many series (1-10).
    trials
        Trials in a series; 0 as in the real set: 34, or 28 in a series of the mixed type.
    rate
        Samples a second. Kaggle's files have 500.
    snr
        Factor on everything that follows the hand: higher is easier.
    artefacts
        Factor on blinks, jumps and movements of cables: higher is harder. 0 leaves them out.
    """

    seed: int = 0
    subjects: int = 12
    series: int = 10
    trials: int = 0
    rate: float = 500.0
    snr: float = 1.0
    artefacts: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        for name, value, low, high in (
            ("seed", self.seed, 0, None),
            ("subjects", self.subjects, 1, MOST_SUBJECTS),
            ("series", self.series, 1, MOST_SERIES),
            ("trials", self.trials, 0, None),
            ("rate", self.rate, 50, 5000),
            ("snr", self.snr, 0, None),
            ("artefacts", self.artefacts, 0, None),
        ):
            if not low <= value or (high is not None and value > high):
                limits = f"{low} to {high}" if high is not None else f"{low} or more"
                raise ValueError(f"{name} is {value}, but must be {limits}")


@dataclass
class SimulatedTrials:
    """The plan of a series.

    Parameters
    ----------
    kind
        Type of the series: short, long or mixed.
    centres : (trials, 6)
        Times in s of the events' centres, columns as in `EVENTS`; nan where an event is not marked.
    seconds
        Length of the recording.
    """

    kind: str
    centres: Array
    seconds: float


@dataclass
class SimulatedSeries:
    """One simulated recording.

    Parameters
    ----------
    subject, series
        Numbers from 1, as in the names of the files.
    signal : (T, 32) int16
        In the units of Kaggle's files.
    events : (T, 6) uint8
        0 or 1.
    channels, event_names
        Names of the columns.
    """

    subject: int
    series: int
    signal: NDArray[np.int16]
    events: NDArray[np.uint8]
    channels: list[str]
    event_names: list[str]


# ---- randomness ----------------------------------------------------------------------------------


def _random(seed: int, *key: int) -> np.random.Generator:
    """Give the generator of one part, independent of every other part's."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


# First number of a spawn key, then (subject, series) as far as they matter.
(_SHARED, _TRAITS, _PLAN, _CORTEX, _RHYTHMS, _EYES, _RESPONSES, _ELECTRODES, _CAP, _POWER) = range(
    10
)


def _rank(seed: int, trait: int, subject: int) -> float:
    """Spread a trait evenly over the subjects: a standard normal quantile for each.

    Twelve plain draws would often be too alike. A permutation that all subjects know gives each
    its own twelfth of the distribution and still depends on the seed and the subject only.
    """
    place = _random(seed, _SHARED, trait).permutation(MOST_SUBJECTS)[subject - 1]
    return NormalDist().inv_cdf((place + 0.5) / MOST_SUBJECTS)


# ---- the plan ------------------------------------------------------------------------------------


def series_type(subject: int, series: int) -> str:
    """Type of a series: ``short``, ``long`` (longer rests) or ``mixed`` (fewer trials as well)."""
    types = SERIES_TYPES[(subject - 1) % len(SERIES_TYPES)].split()
    return types[series - 1] if series <= len(types) else "short"


def _check_numbers(config: SimulationConfig, subject: int, series: int) -> None:
    for name, value, most in (
        ("subject", subject, MOST_SUBJECTS),
        ("series", series, MOST_SERIES),
    ):
        if not 1 <= value <= most:
            raise ValueError(f"{name} is {value}, but must be 1 to {most}")


def simulate_trials(config: SimulationConfig, subject: int, series: int) -> SimulatedTrials:
    """Plan the trials of a series.

    Parameters
    ----------
    config
        What to simulate.
    subject, series
        Numbers from 1.

    Returns
    -------
    SimulatedTrials
        The events' times.

    Raises
    ------
    ValueError
        If there is no such subject or series.
    """
    _check_numbers(config, subject, series)
    kind = series_type(subject, series)
    trials = config.trials or TRIALS[kind]
    of_subject = _random(config.seed, _PLAN, subject)
    random = _random(config.seed, _PLAN, subject, series)

    slowness = _rank(config.seed, 0, subject)
    steps = np.empty((trials, len(EVENTS)))  # s from the event before
    for column, (name, (median, by_subject, by_series, by_trial)) in enumerate(DELAYS.items(), 1):
        shared = SLOWNESS[name]
        trait = shared * slowness + np.sqrt(1 - shared**2) * of_subject.standard_normal()
        log = np.log(median) + by_subject * trait + by_series * random.standard_normal()
        # Student's t: the real trial terms have a kurtosis of 3-14, mostly on the short side
        tail = random.standard_t(DELAY_TAIL, trials) * np.sqrt(1 - 2 / DELAY_TAIL)
        steps[:, column] = np.exp(log + by_trial * np.clip(tail, -4, 4))
    mean, by_subject, by_series, by_trial = RELEASE
    mean += by_subject * of_subject.standard_normal() + by_series * random.standard_normal()
    steps[:, 5] = np.maximum(mean + by_trial * random.standard_normal(trials), RELEASE_LEAST)

    median, by_trial = REST[kind]
    rest = np.log(median) + REST_SUBJECT_LOG_SD * (
        0.7 * slowness + 0.7 * of_subject.standard_normal()
    )
    steps[:, 0] = np.exp(rest + by_trial * random.standard_normal(trials))
    earliest, median, spread = FIRST_START
    steps[0, 0] = earliest + median * np.exp(spread * random.standard_t(3))
    steps[0, 0] = min(steps[0, 0], 6.0)

    centres = np.cumsum(steps.ravel()).reshape(steps.shape)
    seconds = centres[-1, -1] + TAIL_SECONDS
    load, lift = EVENTS.index("BothStartLoadPhase"), EVENTS.index("LiftOff")
    odd = random.random(trials)
    median, spread = LATE_LOAD
    late = centres[:, lift] + median * np.exp(spread * random.standard_normal(trials))
    is_late = (odd < LATE_LOAD_SHARE) & (late < seconds - TAIL_SECONDS)
    centres[is_late, load] = late[is_late]
    centres[odd > 1 - LOST_LOAD_SHARE, load] = np.nan
    return SimulatedTrials(kind, centres, float(seconds))


def _labels(trials: SimulatedTrials, samples: int, rate: float) -> NDArray[np.uint8]:
    """Mark 300 ms around every event, as `(samples, 6)` of 0 and 1."""
    events = np.zeros((samples, len(EVENTS)), np.uint8)
    width = max(1, round(LABEL_SECONDS * rate))
    for column, centres in enumerate(trials.centres.T):
        for centre in centres[~np.isnan(centres)]:
            start = round(centre * rate) - width // 2
            events[max(start, 0) : start + width, column] = 1
    return events


# ---- fields --------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _head() -> dict[str, Array]:
    """Directions of all electrodes of MNE's montage from the centre of the head, `(3,)` each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        montage = mne.channels.make_standard_montage(MONTAGE)
    places = montage.get_positions()["ch_pos"]
    points = np.array([places[name] for name in CHANNELS])
    # |p|^2 = 2 p.c + (r^2 - |c|^2) is linear in the centre c
    design = np.column_stack([2 * points, np.ones(len(points))])
    centre = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0][:3]
    return {name: (p - centre) / np.linalg.norm(p - centre) for name, p in places.items()}


def _field(places: Array, moments: Array) -> Array:
    """Potential of dipoles at the channels, against the reference, largest value 1.

    Parameters
    ----------
    places, moments : (sources, 3)
        In head radii from the centre of the head; only a moment's direction matters.

    Returns
    -------
    (sources, channels)
        That of a dipole in an unbounded conductor, which is smooth and dipolar like a head's.
    """
    head = _head()
    electrodes = np.array([head[name] for name in [*CHANNELS, REFERENCE]])
    apart = electrodes[None] - places[:, None]
    potential = (apart * moments[:, None]).sum(2) / np.linalg.norm(apart, axis=2) ** 3
    potential = potential[:, :-1] - potential[:, -1:]
    return potential / np.abs(potential).max(1, keepdims=True)


def _away() -> Array:
    """Distances of the channels from the reference in head radii, `(channels,)`."""
    head = _head()
    return np.linalg.norm([head[name] - head[REFERENCE] for name in CHANNELS], axis=1)


def _rotation(random: np.random.Generator, spread: float) -> Array:
    """Turn by small random angles around the three axes, `(3, 3)`."""
    x, y, z = spread * random.standard_normal(3)
    return np.linalg.qr(np.array([[1, -z, y], [z, 1, -x], [-y, x, 1.0]]))[0] * [-1, -1, -1]


def _eye_fields(turn: Array) -> Array:
    """Fields of looking up (and of closing the lid) and of looking right, `(2, channels)`."""
    vertical = np.array([[0.3, 0.85, -0.32], [-0.3, 0.85, -0.32]]) @ turn.T
    up, right = np.array([[0, 0.5, 1.0]] * 2), np.array([[1.0, 0.2, 0.0], [1.0, -0.2, 0.0]])
    fields = np.stack([_field(vertical, up).sum(0), _field(vertical, right).sum(0)])
    return fields / np.abs(fields).max(1, keepdims=True)


# ---- time courses --------------------------------------------------------------------------------


def _noise(random: np.random.Generator, spectrum: Array | Spectrum, rows: int, samples: int,
           rate: float) -> Array:  # fmt: skip
    """Draw Gaussian noise with a given spectrum.

    Parameters
    ----------
    random
        Generator.
    spectrum
        One-sided power per Hz as a function of the frequency in Hz.
    rows, samples
        Shape of the noise.
    rate
        In Hz.

    Returns
    -------
    (rows, samples)
        Periodic in somewhat more than `samples`, so its end does not join its beginning.
    """
    length = fft.next_fast_len(samples + round(20 * rate), real=True)
    frequency = np.fft.rfftfreq(length, 1 / rate).astype(np.float64)
    power = spectrum(frequency) if callable(spectrum) else spectrum
    parts = random.standard_normal((rows, len(frequency), 2)).view(np.complex128)[..., 0]
    parts *= np.sqrt(power * rate * length / 4)
    return fft.irfft(parts, length, axis=1)[:, :samples]


def _wander(random: np.random.Generator, corner: float, rows: int, samples: int,
            rate: float) -> Array:  # fmt: skip
    """Draw slow noise of variance 1 with a corner in Hz, `(rows, samples)`.

    It is drawn at a low rate and interpolated linearly.
    """
    slow = min(rate, 12 * corner)
    length = int(samples / rate * slow) + 4
    coarse = _noise(random, lambda f: 1 / (1 + (f / corner) ** 4), rows, length, slow)
    coarse /= np.sqrt(corner * np.pi / np.sqrt(8))  # the integral of the spectrum
    at = np.arange(samples) * (slow / rate)
    left = at.astype(np.intp)
    right = at - left
    return coarse[:, left] * (1 - right) + coarse[:, left + 1] * right


def _bell(t: Array) -> Array:
    return np.exp(-0.5 * t**2)


def _flank(t: Array) -> Array:
    """Rise smoothly from 0 at -1 to 1 at 1."""
    return 0.5 + 0.5 * np.sin(np.clip(t, -1, 1) * (np.pi / 2))


def _plateau(t: Array, start: float, end: float, rise: float, fall: float) -> Array:
    return _flank((t - start) / rise) * _flank((end - t) / fall)


def _add(course: Array, rate: float, start: float, end: float, shape: Callable[[Array], Array]):
    """Add `shape`, a function of the time in s, to `course` between two times in s."""
    first, last = max(0, int(start * rate)), min(len(course), int(end * rate) + 1)
    if first < last:
        course[first:last] += shape(np.arange(first, last) / rate)


# ---- the parts of a recording --------------------------------------------------------------------


@dataclass
class _Setting:
    """What all parts of one recording need to know."""

    config: SimulationConfig
    subject: int
    series: int
    trials: SimulatedTrials
    samples: int

    @property
    def rate(self) -> float:
        return self.config.rate

    def of_subject(self, part: int) -> np.random.Generator:
        return _random(self.config.seed, part, self.subject)

    def of_series(self, part: int) -> np.random.Generator:
        return _random(self.config.seed, part, self.subject, self.series)

    def turn(self) -> Array:
        """How the head lies under the cap in this series."""
        return _rotation(self.of_series(_CAP), SERIES_ROTATION)


def _hardware(frequency: Array) -> Array:
    return 1 / (1 + (frequency / HARDWARE_CORNER) ** 6)


def _power(setting: _Setting, part: int, spread: float) -> Array:
    """Factors on the amplitude of every region, by what the hand does: `(REGIONS, T)`."""
    shape = (len(EVENTS), REGIONS)
    shared = _random(setting.config.seed, _POWER, part).standard_normal(shape)
    own = _random(setting.config.seed, _POWER, part, setting.subject).standard_normal(shape)
    effect = np.sqrt(POWER_SHARED) * shared + np.sqrt(1 - POWER_SHARED) * own
    effect *= spread * min(setting.config.snr, 2)
    log = np.zeros((REGIONS, setting.samples))
    for row in setting.trials.centres:
        for event in np.flatnonzero(~np.isnan(row)):
            for course, size in zip(log, effect[event], strict=True):
                _add(course, setting.rate, row[event] - 3 * POWER_WIDTH,
                     row[event] + 3 * POWER_WIDTH,
                     lambda t, c=row[event], s=size: s * _bell((t - c) / POWER_WIDTH))  # fmt: skip
    return np.exp(log)


def _cortex(setting: _Setting) -> tuple[Array, Array]:
    """Ongoing activity all over the cortex: courses `(sources, T)`, fields `(sources, 32)`."""
    own, random = setting.of_subject(_CORTEX), setting.of_series(_CORTEX)
    places = own.standard_normal((CORTEX_DIPOLES, 3))
    places[:, 2] = np.abs(places[:, 2]) - 0.25  # few sources below the rim of the cap
    directions = places / np.linalg.norm(places, axis=1, keepdims=True)
    places = directions * own.uniform(*CORTEX_DEPTH, (CORTEX_DIPOLES, 1))
    moments = directions + 0.6 * own.standard_normal((CORTEX_DIPOLES, 3))
    turn = setting.turn()
    fields = _field(places @ turn.T, moments @ turn.T)
    strength = np.exp(0.3 * own.standard_normal(CORTEX_DIPOLES) + 0.12 * own.standard_normal())
    strength *= np.exp(0.12 * random.standard_normal(CORTEX_DIPOLES))

    def spectrum(frequency: Array) -> Array:
        pink = CORTEX_PSD / (CORTEX_KNEE**2 + frequency**2) ** (CORTEX_SLOPE / 2)
        return pink * _hardware(frequency)

    courses = _noise(random, spectrum, CORTEX_DIPOLES, setting.samples, setting.rate)
    spread, corner = WANDER
    wander = np.exp(
        spread * _wander(random, corner, REGIONS, setting.samples, setting.rate) - spread**2
    )
    wander *= _power(setting, _CORTEX, POWER_SPREAD)
    courses *= np.repeat(wander, CORTEX_DIPOLES // REGIONS, axis=0)  # a region lies together
    broad = _noise(random, spectrum, 1, setting.samples, setting.rate) * wander[:1]
    broad *= np.sqrt(BROAD_PSD / CORTEX_PSD)
    away = _away()
    fields = np.concatenate([fields * strength[:, None], away[None] / away.max()])
    return np.concatenate([courses, broad]), fields


def _rhythms(setting: _Setting) -> tuple[Array, Array]:
    """Theta, alpha, mu and beta: courses `(sources, T)`, fields `(sources, 32)`."""
    own, random = setting.of_subject(_RHYTHMS), setting.of_series(_RHYTHMS)
    head, turn = _head(), setting.turn()
    moving, after = np.zeros(setting.samples), np.zeros(setting.samples)
    lead, lag = own.uniform(0.5, 1.2), own.uniform(0.2, 0.6)
    for row in setting.trials.centres:
        start, end = row[0] - lead, row[-1] + lag
        _add(moving, setting.rate, start - 1, end + 1,
             lambda t, s=start, e=end: _plateau(t, s, e, 0.5, 0.5))  # fmt: skip
        _add(after, setting.rate, end - 1, end + 4,
             lambda t, e=end: _bell((t - e - 1.0) / 0.5))  # fmt: skip
    moving = np.minimum(moving, 1)

    courses, fields = [], []
    sites = {
        "alpha": ("O1", "O2", "Pz", "PO9", "PO10"),
        "theta": ("P7", "P8", "Fz", "Oz"),
        "mu": ("C3", "C4"),
        "beta": ("C3", "C4"),
    }
    drop = {"alpha": ALPHA_DROP, "theta": 0.0, "mu": MU_DROP, "beta": BETA_DROP}
    for name, (peak, spread, amplitude) in (
        ("alpha", ALPHA), ("theta", THETA), ("mu", MU), ("beta", BETA),
    ):  # fmt: skip
        peak += spread * own.standard_normal()
        width = RHYTHM_BANDWIDTH[name]
        amplitude *= np.exp(0.4 * own.standard_normal())
        depth = np.clip(drop[name] * np.exp(0.3 * own.standard_normal()), 0, 0.9)
        depth *= min(setting.config.snr, 1 / 0.9)
        for site in sites[name]:
            place = head[site] * 0.78 + 0.06 * own.standard_normal(3)
            moment = head[site] + 0.4 * own.standard_normal(3)
            fields.append(_field((turn @ place)[None], (turn @ moment)[None])[0])
            course = _noise(
                random, lambda f, p=peak, w=width: _bell((f - p) / (w / 2)) / (w / 2) / 2.5066,
                1, setting.samples, setting.rate,
            )[0]  # fmt: skip
            size, corner = BURSTS
            burst = size * _wander(random, corner, 1, setting.samples, setting.rate)[0]
            # the left hemisphere moves the right hand
            side = 0.6 if site == "C4" else 1.0
            gain = 1 - side * depth * moving
            if name == "beta":
                gain = gain + side * BETA_REBOUND * setting.config.snr * after
            courses.append(course * np.exp(burst - size**2 / 2) * gain * amplitude)
    return np.array(courses), np.array(fields)


def _eyes(setting: _Setting) -> tuple[Array, Array]:
    """Gaze and blinks: courses `(3, T)`, fields `(3, 32)`."""
    own, random = setting.of_subject(_EYES), setting.of_series(_EYES)
    rate, samples = setting.rate, setting.samples
    seconds = samples / rate
    courses = np.zeros((3, samples))

    # between the trials' own movements of the eyes, gaze jumps about at random
    for row in courses[:2]:
        jumps = random.poisson(SACCADES_A_SECOND * seconds)
        at = np.sort(random.integers(0, samples, jumps + 1))
        at[0] = 0
        level = GAZE_WANDER * random.standard_normal(jumps + 1)
        row += np.repeat(level, np.diff(np.append(at, samples)))
    smooth = max(1, round(0.04 * rate))  # a saccade takes some 40 ms
    courses[:2] = signal.lfilter(np.ones(smooth) / smooth, 1, courses[:2], axis=1)

    low, high = BLINKS_A_MINUTE
    a_minute = low * (high / low) ** own.random() * setting.config.artefacts
    median, spread = BLINK_AMPLITUDE
    median *= np.exp(spread * own.standard_normal())
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
        _add(courses[2], rate, time - 0.5, time + 1,
             lambda t, c=time, s=size, w=width:
             s * np.where(t < c, _bell((t - c) / w), _bell((t - c) / (1.6 * w))))  # fmt: skip
    fields = _eye_fields(setting.turn())
    return courses, fields[[0, 1, 0]]


@lru_cache(maxsize=4 * MOST_SUBJECTS)
def _subject_responses(seed: int, subject: int) -> tuple[list[Response], Array, Array, Array]:
    """Components of one subject's responses.

    Returns
    -------
    components : list of Response
        With the subject's own amplitudes and latencies.
    places, moments : (components, 3)
        Of their dipoles.
    steadiness : (components,)
        How little the amplitude varies between trials, as a factor on the spread.
    """
    head = _head()
    own = _random(seed, _RESPONSES, subject)
    low, high = RESPONSE_GAIN
    rank = NormalDist().cdf(_rank(seed, 1, subject))
    quality = low * (high / low) ** rank
    components, places, moments = [], [], []
    table = list(RESPONSES)
    for _ in range(OWN_RESPONSES):
        event = EVENTS[own.integers(len(EVENTS))]
        site = ["F3", "F4", "C3", "Cz", "C4", "CP5", "P3", "Pz", "P4", "Oz", "T7"][own.integers(11)]
        amplitude = OWN_AMPLITUDE * own.choice([-1, 1])
        table.append(
            Response(event, site, own.uniform(-0.25, 0.5), own.uniform(0.05, 0.35), amplitude)
        )
    for response in table:
        size = RESPONSE_SIZE * response.amplitude * quality
        size *= np.exp(RESPONSE_SPREAD * own.standard_normal())
        latency = response.latency + LATENCY_SPREAD[0] * own.standard_normal()
        width = RESPONSE_WIDTH * response.width * np.exp(0.15 * own.standard_normal())
        components.append(
            Response(response.event, response.site, latency, width, size, response.until,
                     response.ramp)
        )  # fmt: skip
        off = own.standard_normal((2, 3))
        direction = head.get(response.site, np.zeros(3))
        place = direction * 0.7 + 0.3 * SITE_SPREAD * off[0]
        places.append(place)
        moments.append(direction + SITE_SPREAD * off[1])
    return (
        components,
        np.array(places),
        np.array(moments),
        np.exp(0.2 * own.standard_normal(len(components))),
    )


def _response_course(
    component: Response, row: Array, shift: float
) -> tuple[float, float, Callable]:
    """Give a component's beginning and end in s and its shape in one trial with events `row`."""
    at = row[EVENTS.index(component.event)] + component.latency + shift
    width = component.width
    if component.until is not None:
        end = row[EVENTS.index(component.until)]
        return at - width, end + width, lambda t: _plateau(t, at, end, width, width)
    if component.ramp is not None:
        begin = at - component.ramp
        return (
            begin,
            at + 4 * width,
            lambda t: np.where(t < at, (t - begin) / component.ramp, _bell((t - at) / width)),
        )
    return at - 4 * width, at + 4 * width, lambda t: _bell((t - at) / width)


def _responses(setting: _Setting) -> tuple[Array, Array]:
    """Draw what brain and eyes do with every trial: courses `(k, T)`, fields `(k, 32)`."""
    config, random = setting.config, setting.of_series(_RESPONSES)
    components, places, moments, steadiness = _subject_responses(config.seed, setting.subject)
    turn = setting.turn()
    fields = _field(places @ turn.T, moments @ turn.T)
    for row, field in enumerate(_eye_fields(turn)):
        name = ("vertical", "horizontal")[row]
        fields[[k for k, c in enumerate(components) if c.site == name]] = field
    trials = setting.trials.centres
    # where an event is not marked, it took place nevertheless
    trials = np.where(np.isnan(trials), trials[:, [0, 1, 3, 3, 4, 5]], trials)
    courses = np.zeros((len(components), setting.samples))
    in_series = np.exp(SERIES_SPREAD * random.standard_normal(len(components)))
    effort = np.exp(0.2 * random.standard_normal(len(trials)))  # shared by a trial's components
    size = 1 + TRIAL_SPREAD * steadiness * random.standard_normal((len(trials), len(components)))
    shift = LATENCY_SPREAD[1] * random.standard_normal((len(trials), len(components)))
    for k, component in enumerate(components):
        for trial, row in enumerate(trials):
            start, end, shape = _response_course(component, row, shift[trial, k])
            gain = component.amplitude * in_series[k] * size[trial, k] * effort[trial] * config.snr
            _add(courses[k], setting.rate, start, end, lambda t, g=gain, f=shape: g * f(t))
        seconds = setting.samples / setting.rate
        for at in random.uniform(0, seconds, random.poisson(STRAYS_A_MINUTE * seconds / 60)):
            # as if all events came one after the other at that moment, so a plateau is a short one
            start, end, shape = _response_course(component, at + np.arange(len(EVENTS)) * 0.3, 0.0)
            gain = component.amplitude * in_series[k] * random.lognormal(0, 0.5) * config.snr
            _add(courses[k], setting.rate, start, end, lambda t, g=gain, f=shape: g * f(t))
    return courses, fields


def _electrodes(setting: _Setting) -> Array:
    """Draw what electrodes show for themselves, without any field, `(32, T)`."""
    config, rate, samples = setting.config, setting.rate, setting.samples
    own, random = setting.of_subject(_ELECTRODES), setting.of_series(_ELECTRODES)
    head = _head()
    places = np.array([head[name] for name in CHANNELS])
    channels = len(places)
    away = _away()
    front = np.clip((places[:, 1] - 0.6) / 0.4, 0, 1)  # 1 at the forehead

    # drift
    spread = DRIFT_SPREAD
    size = DRIFT_SD + DRIFT_EDGE * away + DRIFT_FRONT * front
    size = size * np.exp(spread[0] * own.standard_normal(channels))
    size = size * np.exp(spread[1] * random.standard_normal(channels))
    drift = _drift(random, channels + 1, samples, rate)
    total = drift[:-1]
    total *= size[:, None]
    total += COMMON_DRIFT * (away / away.mean())[:, None] * drift[-1]

    # muscles at the rim of the cap, with bursts
    rim = np.clip((0.75 - places[:, 2]) / 0.75, 0.12, None)
    muscle = MUSCLE_PSD * rim**2 * np.exp(MUSCLE_SPREAD * own.standard_normal(channels))
    muscle *= np.exp(0.4 * random.standard_normal(channels))
    hiss = _noise(
        random,
        lambda f: _hardware(f) / (1 + (8 / np.maximum(f, 1e-3)) ** 2),
        channels, samples, rate,
    )  # fmt: skip
    burst = np.exp(0.5 * _wander(random, 0.3, REGIONS, samples, rate) - 0.125)
    burst *= _power(setting, _ELECTRODES, MUSCLE_POWER_SPREAD)
    hiss *= burst[np.arange(channels) * REGIONS // channels]
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = _bell(apart / MUSCLE_REACH)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    total += np.sqrt(muscle)[:, None] * (near @ hiss)

    # the mains
    median, spread_mains = MAINS
    mains = median * np.exp(
        spread_mains * own.standard_normal() + 0.6 * own.standard_normal(channels)
    )
    wave = np.sin(2 * np.pi * 50.0 * np.arange(samples) / rate + random.uniform(0, 2 * np.pi))
    total += mains[:, None] * wave

    # loose contacts
    jumps = random.poisson(JUMPS_A_MINUTE * samples / rate / 60 * config.artefacts)
    for _ in range(jumps):
        channel, at = random.integers(channels), random.uniform(0, samples / rate)
        median, spread_jump = JUMP
        jump = median * np.exp(spread_jump * random.standard_normal()) * random.choice([-1, 1])
        decay = random.uniform(0.2, 1.5)
        _add(total[channel], rate, at, at + 8 * decay,
             lambda t, a=at, j=jump, d=decay: j * np.exp((a - t) / d))  # fmt: skip

    # cables that swing with the arm, to either side
    for row in setting.trials.centres:
        for event in (0, 3, 4, 5):
            swing = CABLE * config.artefacts * random.standard_t(4) * own.uniform(0.5, 1)
            pull = swing * random.standard_normal(channels) * away / 2
            at, width = row[event] + random.normal(0.1, 0.1), random.uniform(0.1, 0.4)
            first, last = int((at - 4 * width) * rate), int((at + 4 * width) * rate)
            first, last = max(first, 0), min(last, samples)
            if first < last:
                time = np.arange(first, last) / rate
                total[:, first:last] += pull[:, None] * _bell((time - at) / width)

    mean, by_subject, by_series = OFFSET
    offset = mean + by_subject * own.standard_normal(channels)
    total += (offset + by_series * random.standard_normal(channels))[:, None]
    return total


def _drift(random: np.random.Generator, rows: int, samples: int, rate: float) -> Array:
    """Draw slow drifts of variance 1, `(rows, samples)`: power falls as f^-2 above a corner."""
    slow = min(rate, 20.0)  # above 3 Hz nothing of it is left, so draw few samples
    length = int(samples / rate * slow) + 4

    def spectrum(frequency: Array) -> Array:
        return 1 / (1 + (frequency / DRIFT_CORNER) ** 2) / (1 + (frequency / 2) ** 4)

    coarse = _noise(random, spectrum, rows, length, slow)
    coarse /= np.sqrt(DRIFT_CORNER * np.pi / 2)
    fine = np.arange(samples) * (slow / rate)
    left = fine.astype(np.intp)
    right = fine - left
    return coarse[:, left] * (1 - right) + coarse[:, left + 1] * right


# ---- a recording ---------------------------------------------------------------------------------


def simulate_series(config: SimulationConfig, subject: int, series: int) -> SimulatedSeries:
    """Simulate one series of one subject.

    Parameters
    ----------
    config
        What to simulate.
    subject, series
        Numbers from 1. Any of 12 x 10 can be had, whatever `config.subjects` and `config.series`
        say: those are for whoever simulates all.

    Returns
    -------
    SimulatedSeries
        The same for the same seed, subject and series, whatever else was simulated.

    Raises
    ------
    ValueError
        If there is no such subject or series.
    """
    trials = simulate_trials(config, subject, series)
    samples = round(trials.seconds * config.rate)
    setting = _Setting(config, subject, series, trials, samples)
    total = _electrodes(setting)
    for part in (_cortex, _rhythms, _eyes, _responses):
        courses, fields = part(setting)
        total += fields.T @ courses
    total *= np.exp(SUBJECT_SCALE * _rank(config.seed, 2, subject) - SUBJECT_SCALE**2)
    limits = np.iinfo(np.int16)
    rounded = np.clip(np.rint(total.T, order="C"), limits.min, limits.max).astype(np.int16)
    return SimulatedSeries(
        subject,
        series,
        rounded,
        _labels(trials, samples, config.rate),
        list(CHANNELS),
        list(EVENTS),
    )


def write_series(
    simulated: SimulatedSeries, folder: Path | str, with_events: bool
) -> tuple[Path, ...]:
    """Write one series as Kaggle's CSV files.

    Parameters
    ----------
    simulated
        The recording.
    folder
        Where to; made if it does not exist.
    with_events
        Whether to write the events' file too, which Kaggle keeps back for the test series.

    Returns
    -------
    tuple of Path
        ``subj1_series1_data.csv`` and, if asked for, ``subj1_series1_events.csv``. Each appears
        complete or not at all.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"subj{simulated.subject}_series{simulated.series}"
    rows = pa.array(np.arange(len(simulated.signal))).cast(pa.string())
    ids = pa.compute.binary_join_element_wise(name, rows, "_")
    kinds = [("data", simulated.channels, simulated.signal)]
    if with_events:
        kinds.append(("events", simulated.event_names, simulated.events))  # type: ignore[arg-type]
    written = []
    for kind, names, values in kinds:
        path = folder / f"{name}_{kind}.csv"
        part = folder / f".{path.name}.{os.getpid()}.part"
        columns = np.ascontiguousarray(values.T)
        table = pa.table([ids, *columns], names=["id", *names])
        # The header is written by hand: pyarrow quotes it, whatever the quoting style.
        options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
        try:
            with open(part, "wb") as file:
                file.write(",".join(table.column_names).encode() + b"\n")
                pa.csv.write_csv(table, file, options)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        written.append(path)
    return tuple(written)
