"""What brain and eyes do in every trial: potentials before, during and after the events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from pipeline.data.simulator.courses import Array, bell, plateau
from pipeline.data.simulator.draws import Part, Trait, generator, rank
from pipeline.data.simulator.head import Head
from pipeline.data.simulator.plan import TRIAL_EVENTS
from pipeline.data.simulator.setting import Setting


@dataclass(frozen=True)
class Response:
    """One component of the response to an event. It may begin before the event.

    Parameters
    ----------
    event : str
        The event it belongs to.
    site : str
        Electrode over its source; ``vertical`` and ``horizontal`` are the eyes' dipoles.
    latency, width : float
        Time of the peak after the event, and SD of the bell shape, in s. For a plateau, see
        `until`.
    amplitude : float
        At the strongest electrode, in units of Kaggle's files.
    until : str or None
        If given, the component is a plateau. It lasts from `latency` after `event` until this
        event; it rises and falls within `width`.
    ramp : float or None
        If given, the component grows linearly for this time, in s, until its latency. Then it
        falls back within `width`.
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
OWN_RESPONSES = 12  # components that each subject has in addition
OWN_SITES = ("F3", "F4", "C3", "Cz", "C4", "CP5", "P3", "Pz", "P4", "Oz", "T7")
OWN_AMPLITUDE = 64.0
RESPONSE_GAIN = (0.46, 1.68)  # between the weakest and the strongest subject
RESPONSE_SPREAD = 0.55  # log-SD of a component's amplitude between subjects
# How far a component's source lies off its site, in head radii, between subjects
SITE_SPREAD = 0.35
TRIAL_SPREAD = 0.45  # SD of a component's amplitude between trials, as a share of it
LATENCY_SPREAD = (0.05, 0.05)  # s, between subjects, between trials
SERIES_SPREAD = 0.38  # log-SD of a component's amplitude between a subject's series
# How often per minute each component appears without a trial. The windows contain no rest between
# trials, so this is set so that the AUC of a classifier is that on the real recordings.
STRAYS_A_MINUTE = 0.12
STRAY_STEP = 0.3  # s between the imagined events of a stray
EYE_SITES = ("vertical", "horizontal")
SITES = tuple(
    {r.site: None for r in RESPONSES if r.site not in EYE_SITES} | dict.fromkeys(OWN_SITES)
)


@dataclass(frozen=True)
class SubjectResponses:
    """The components of one subject's responses.

    Parameters
    ----------
    components : tuple of Response
        K components, with the subject's own amplitudes and latencies.
    places, moments : ndarray, shape (K, 3)
        Of their dipoles.
    steadiness : ndarray, shape (K,)
        Factor on how much the amplitude varies between trials.
    """

    components: tuple[Response, ...]
    places: Array
    moments: Array
    steadiness: Array


def subject_responses(seed: int, subject: int, head: Head) -> SubjectResponses:
    """Draw the components of one subject's responses."""
    own = generator(seed, Part.RESPONSES, subject)
    low, high = RESPONSE_GAIN
    # The cdf of the rank is the subject's place among all subjects, 0 to 1.
    quality = low * (high / low) ** NormalDist().cdf(rank(seed, Trait.RESPONSE_QUALITY, subject))
    table = list(RESPONSES)
    for _ in range(OWN_RESPONSES):
        event = TRIAL_EVENTS[own.integers(len(TRIAL_EVENTS))]
        site = OWN_SITES[own.integers(len(OWN_SITES))]
        amplitude = OWN_AMPLITUDE * own.choice([-1, 1])
        table.append(
            Response(event, site, own.uniform(-0.25, 0.5), own.uniform(0.05, 0.35), amplitude)
        )
    components, places, moments = [], [], []
    for response in table:
        size = RESPONSE_SIZE * response.amplitude * quality
        size *= np.exp(RESPONSE_SPREAD * own.standard_normal())
        latency = response.latency + LATENCY_SPREAD[0] * own.standard_normal()
        width = RESPONSE_WIDTH * response.width * np.exp(0.15 * own.standard_normal())
        components.append(replace(response, latency=latency, width=width, amplitude=size))
        off = own.standard_normal((2, 3))
        eye = response.site in EYE_SITES  # `responses` takes the field of the eyes for it
        direction = np.zeros(3) if eye else head.direction(response.site)
        places.append(direction * 0.7 + 0.3 * SITE_SPREAD * off[0])
        moments.append(direction + SITE_SPREAD * off[1])
    steadiness = np.exp(0.2 * own.standard_normal(len(components)))
    return SubjectResponses(tuple(components), np.array(places), np.array(moments), steadiness)


def _course(
    component: Response, row: Array, shift: float
) -> tuple[float, float, Callable[[Array], Array]]:
    """Give a component's beginning and end in s, and its shape, in one trial.

    Parameters
    ----------
    component : Response
        The component.
    row : ndarray, shape (6,)
        Times of the trial's events in s.
    shift : float
        What is added to the latency, in s.
    """
    at = row[TRIAL_EVENTS.index(component.event)] + component.latency + shift
    width, ramp = component.width, component.ramp
    if component.until is not None:
        end = row[TRIAL_EVENTS.index(component.until)]
        return at - width, end + width, lambda t: plateau(t, at, end, width, width)
    if ramp is not None:
        begin = at - ramp
        return (
            begin,
            at + 4 * width,
            lambda t: np.where(t < at, (t - begin) / ramp, bell((t - at) / width)),
        )
    return at - 4 * width, at + 4 * width, lambda t: bell((t - at) / width)


def responses(setting: Setting) -> tuple[Array, Array]:
    """Draw what brain and eyes do in every trial, and now and then without a trial (strays).

    Returns
    -------
    courses : ndarray, shape (K, T)
    fields : ndarray, shape (K, C)
    """
    config, random = setting.config, setting.of_series(Part.RESPONSES)
    own = subject_responses(config.seed, setting.subject, setting.head)
    components = own.components
    fields = setting.head.field(own.places @ setting.turn.T, own.moments @ setting.turn.T)
    for site, field in zip(EYE_SITES, setting.head.eye_fields(setting.turn), strict=True):
        fields[[k for k, c in enumerate(components) if c.site == site]] = field
    trials = setting.trials.centres
    # BothStartLoadPhase took place even if it is not marked: at LiftOff.
    trials = np.where(np.isnan(trials), trials[:, [0, 1, 3, 3, 4, 5]], trials)
    courses = np.zeros((len(components), setting.samples))
    in_series = np.exp(SERIES_SPREAD * random.standard_normal(len(components)))
    effort = np.exp(0.2 * random.standard_normal(len(trials)))  # shared by a trial's components
    drawn = (len(trials), len(components))
    size = 1 + TRIAL_SPREAD * own.steadiness * random.standard_normal(drawn)
    shift = LATENCY_SPREAD[1] * random.standard_normal(drawn)
    for k, component in enumerate(components):
        for trial, row in enumerate(trials):
            gain = component.amplitude * in_series[k] * size[trial, k] * effort[trial] * config.snr
            _add(setting, courses[k], gain, _course(component, row, shift[trial, k]))
        strays = random.poisson(STRAYS_A_MINUTE * setting.seconds / 60)
        for at in random.uniform(0, setting.seconds, strays):
            # As if all events followed quickly from that moment on, so a plateau is short.
            row = at + np.arange(len(TRIAL_EVENTS)) * STRAY_STEP
            gain = component.amplitude * in_series[k] * random.lognormal(0, 0.5) * config.snr
            _add(setting, courses[k], gain, _course(component, row, 0.0))
    return courses, fields


def _add(
    setting: Setting,
    course: Array,
    gain: float,
    shaped: tuple[float, float, Callable[[Array], Array]],
) -> None:
    """Add a component's shape, times `gain`, to its course."""
    start, end, shape = shaped
    rows, t = setting.span(start, end)
    course[rows] += gain * shape(t)
