"""Simulate one recording: put the parts together and round to integers."""

from __future__ import annotations

import numpy as np

from pipeline.data.recording import Description, Recording
from pipeline.data.simulator import brain, responses
from pipeline.data.simulator.artefacts import electrodes, eyes
from pipeline.data.simulator.draws import Trait, rank
from pipeline.data.simulator.format import labels
from pipeline.data.simulator.head import Head, head_of
from pipeline.data.simulator.options import SimulationConfig, check_numbers, refusal
from pipeline.data.simulator.plan import SimulatedTrials, event_columns, simulate_trials
from pipeline.data.simulator.setting import Setting
from pipeline.errors import ConfigError

SUBJECT_SCALE = 0.37  # log-SD between subjects of a factor on the whole signal


def check_description(about: Description) -> tuple[Head, list[int]]:
    """Refuse a data set that the simulator cannot imitate.

    Parameters
    ----------
    about : Description
        Channels, events, rate and montage.

    Returns
    -------
    head : Head
        Fitted to the channels.
    columns : list of int
        The column of each event in `SimulatedTrials.centres`.

    Raises
    ------
    ConfigError
        If the rate is out of range, an event has no timing, a channel has no position, or the
        montage lacks an electrode that the simulator needs. The message names the key.
    """
    if wrong := refusal("rate", about.rate):
        raise ConfigError(f"dataset.rate={about.rate:g}: {wrong} for simulated recordings")
    columns = event_columns(about.events)
    return head_of(about, (*brain.SITES, *responses.SITES)), columns


def simulate_series(
    config: SimulationConfig,
    about: Description,
    subject: int,
    series: int,
    trials: SimulatedTrials | None = None,
) -> Recording:
    """Simulate one series of one subject.

    Parameters
    ----------
    config : SimulationConfig
        What to simulate.
    about : Description
        Channels, events, rate and montage.
    subject, series : int
        Subject 1 to 12 and series 1 to 10, also beyond `config.subjects` and `config.series`.
    trials : SimulatedTrials, optional
        When the events take place. By default, `simulate_trials` draws that.

    Returns
    -------
    Recording
        An int16 signal of shape (T, C) in the units of Kaggle's files, and uint8 labels of shape
        (T, E). They depend on the seed, the subject and the series only, not on what else is
        simulated.

    Raises
    ------
    ConfigError
        If there is no such subject or series, or if `check_description` refuses the data set.
    """
    check_numbers(subject, series)
    head, columns = check_description(about)
    trials = trials or simulate_trials(config, subject, series)
    samples = round(trials.seconds * about.rate)
    setting = Setting(config, subject, series, head, trials, samples, about.rate)
    total = electrodes(setting)
    for part in (brain.cortex, brain.rhythms, eyes, responses.responses):
        courses, fields = part(setting)
        total += fields.T @ courses
    scale = rank(config.seed, Trait.SCALE, subject)
    total *= np.exp(SUBJECT_SCALE * scale - SUBJECT_SCALE**2)
    limits = np.iinfo(np.int16)
    np.clip(np.rint(total, out=total), limits.min, limits.max, out=total)
    signal = np.ascontiguousarray(total.astype(np.int16).T)
    return Recording(subject, series, signal, labels(trials, columns, samples, about.rate), about)
