"""Simulated recordings in Kaggle's format, for those who have no data at hand.

A simulated recording has what makes the real ones hard: most of its power lies below 1 Hz, it is
neither stationary nor Gaussian, the electrodes drift, eyes and muscles move with the hand, and
subjects and series differ. It lets you try the whole pipeline, and it tells a mistake in the code
from a difficulty of the data. `docs/simulator.md` compares its figures with those of the real
recordings; a score on simulated recordings says nothing about the competition.

How a recording is made, file by file
-------------------------------------
options
    What can be chosen, and within which limits.
draws
    The random generators: one for each part, subject and series.
plan
    When the hand starts, touches, loads, lifts, replaces and releases in each trial.
head
    Electrodes, and the fields of dipoles at the electrodes.
courses
    Time courses: noise with a given spectrum, bells and plateaus.
setting
    What all parts of one recording need to know.
brain
    Dipoles all over the cortex with pink spectra; theta, alpha, mu and beta rhythms. Their strength
    varies over seconds and changes with every event.
responses
    The potentials that each trial evokes, and what the eyes do in each trial.
artefacts
    Gaze and blinks; offsets, drifts, muscles, mains, loose contacts and moving cables.
format
    Labels, and Kaggle's CSV files.
simulate
    Puts the parts together: `simulate_series`.

Channels, events, rate and montage come from the data set's description
(`pipeline.data.recording.Description`). The channels are any that the montage knows; the events are
those that `plan` has a timing for, or some of them.

Every source is a current dipole in a sphere. Its field at the electrodes is taken against the
reference near FCz, which explains the real recordings' small amplitudes around the vertex and their
large first principal component.

Randomness comes from numpy's `SeedSequence`: what all subjects share depends on the seed, a
subject's traits on (seed, subject), a series on (seed, subject, series). Arithmetic is in float64,
so that different processors round to the same integers.

The sources of the constants are named beside them. "Windows" are the event windows of WAY-EEG-GAL
(Luciw et al. 2014, doi 10.1038/sdata.2014.47), series 1-6, "delays" the event times of its series
1-8. Amplitudes are in the integer units of Kaggle's files, whose physical size is not documented.

This file imports nothing, so that the check of the configuration can read `options` quickly.
"""
