"""Simulated recordings in Kaggle's format, for everybody who does not have Kaggle's data.

What makes real recordings hard is in the simulated ones, too: most of the power lies below 1 Hz,
the signal is neither stationary nor Gaussian, the electrodes drift, eyes and muscles move with the
hand, and subjects and series differ. With them you can try the whole pipeline, and find out whether
a bad score comes from the code or from the data. `docs/simulator.md` compares its figures with
those of the real recordings; a score on simulated recordings says nothing about the competition.

How a recording is made, file by file
-------------------------------------
options
    The options, and their limits.
draws
    The random generators: one for each part, subject and series.
plan
    When the hand starts, touches, loads, lifts, replaces and releases in each trial.
head
    Electrodes, and the fields of dipoles at the electrodes.
courses
    Time courses: noise with a given spectrum, bells and plateaus.
setting
    What all parts of one recording use: head, trials, length, random generators.
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
(`pipeline.data.recording.Description`). The channels may be any that the montage knows. The events
must be among those that have a timing in `plan`.

Every source is a current dipole in a sphere. The field at each electrode is its difference from the
field at the reference electrode near FCz. This reproduces two things of the real recordings: small
amplitudes around the vertex, and a large first principal component.

Randomness comes from numpy's `SeedSequence`: what all subjects share depends on the seed, a
subject's traits on (seed, subject), a series on (seed, subject, series). Arithmetic is in float64,
so that different processors round to the same integers.

Comments beside the constants name their sources. "Windows" are 300 ms of EEG around each event of
series 1-6 of WAY-EEG-GAL (Luciw et al. 2014, doi 10.1038/sdata.2014.47); "delays" are the event
times of its series 1-8. Amplitudes are in the integer units of Kaggle's files, whose physical size
is not documented.

This file imports nothing, so that the check of the configuration can read `options` quickly.
"""
