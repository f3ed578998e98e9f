"""The average response finds what was put into the recordings, at its place and time."""

from __future__ import annotations

import matplotlib.image
import numpy as np

from pipeline.data.recording import Description
from pipeline.results.evoked import average_series, grand_average
from pipeline.results.figures import evoked_picture

CHANNELS = ("Fz", "C3", "Cz", "C4", "Pz")
RATE = 100.0


def write(folder, subject, series, events, signal):
    np.save(folder / f"subj{subject}_series{series}_signal.npy", signal.astype(np.int16))
    np.save(folder / f"subj{subject}_series{series}_events.npy", events)


def test_a_bump_at_one_electrode_is_found_there(rng, tmp_path):
    about = Description(CHANNELS, ("lift", "never"), RATE, 1e-7, "colin27_1005")
    for series, starts in ((1, range(300, 2700, 300)), (2, [500])):
        signal = rng.normal(0, 20, (3000, len(CHANNELS))) + 4000
        events = np.zeros((3000, 2), np.uint8)
        for start in starts:  # centre 15 rows later, and the bump 20 rows after that
            events[start : start + 30, 0] = 1
            signal[start + 30 : start + 40, 1] += 500
        write(tmp_path, 1, series, events, signal)
        average_series(tmp_path, None, tmp_path, 1, series, about)
    files = [tmp_path / f"subj1_series{series}-ave.fif" for series in (1, 2)]
    evokeds = grand_average(files)
    assert list(evokeds) == ["lift"]  # what never occurs has no response
    evoked = evokeds["lift"]
    assert evoked.nave == 9
    channel, at = np.unravel_index(np.abs(evoked.data).argmax(), evoked.data.shape)
    assert evoked.ch_names[channel] == "C3"
    assert abs(evoked.times[at] - 0.2) < 0.05
    assert 30e-6 < evoked.data[channel, at] < 60e-6  # 500 units of 0.1 uV
    evoked_picture(tmp_path / "evoked.png", evokeds, "title")
    picture = matplotlib.image.imread(tmp_path / "evoked.png")[..., :3]
    assert picture.std() > 0.01
    white = (picture[:, : picture.shape[1] // 2].min(axis=(1, 2)) == 1)[::-1]
    assert white[:3].all()  # the label of the time axis is not cut off
    assert not white[: int(0.6 * 90)].all()  # and it is there


def test_an_event_without_a_whole_epoch_is_left_out(rng, tmp_path):
    about = Description(CHANNELS, ("lift",), RATE, 1e-7, "colin27_1005")
    events = np.zeros((300, 1), np.uint8)
    events[:30] = 1
    write(tmp_path, 1, 1, events, rng.normal(0, 20, (300, len(CHANNELS))))
    average_series(tmp_path, None, tmp_path, 1, 1, about)
    assert grand_average([tmp_path / "subj1_series1-ave.fif"]) == {}
