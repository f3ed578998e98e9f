"""The comparison on real event windows: its file, its trials, its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.bench import event_windows
from pipeline.bench.event_windows import (
    DISCRIMINANTS,
    JUDGE,
    NETWORKS,
    interval,
    load_windows,
    main,
    said_by_lda,
    trials,
)
from pipeline.errors import PipelineError
from tests.conftest import COMPETITION, EVENTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three trials a series, whose events differ in the mean of one channel each."""
    random, stored = np.random.default_rng(0), {}
    for subject in range(1, 13):
        for series in range(1, 7):
            name = f"s{subject}_r{series}"
            rows = np.arange(3 * 6 * 150)
            eeg = random.normal(0, 30, (len(rows), 32))
            for number, event in enumerate(EVENTS):
                starts = np.arange(3) * 900 + number * 150
                stored[f"{name}_{event}_start"] = starts + 1000
                for start in starts:
                    eeg[start : start + 150, number] += 100
            stored[f"{name}_frame"] = rows + 1000
            stored[f"{name}_eeg"] = eeg.astype(np.int16)
    path = tmp_path_factory.mktemp("windows") / "windows.npz"
    np.savez(path, **stored)
    return path


def test_windows_are_cut_where_their_events_are(archive):
    windows = load_windows(archive, COMPETITION)
    assert windows.signal.shape == (12 * 6 * 18, 150, 32)
    means = windows.signal.mean(1)
    np.testing.assert_array_equal(means[:, : len(EVENTS)].argmax(1), windows.event)
    assert len(np.unique(trials(windows))) == 12 * 6 * 3
    assert (np.bincount(trials(windows)) % 6 == 0).all()


def test_a_window_that_is_not_whole_is_left_out(archive, tmp_path):
    with np.load(archive) as stored:
        cut = dict(stored)
    keep = np.r_[0:100, 150 : 18 * 150]  # the first window of one series is torn
    cut["s1_r1_frame"], cut["s1_r1_eeg"] = cut["s1_r1_frame"][keep], cut["s1_r1_eeg"][keep]
    np.savez(tmp_path / "cut.npz", **cut)
    assert len(load_windows(tmp_path / "cut.npz", COMPETITION).event) == 12 * 6 * 18 - 1


def test_an_interval_holds_the_mean_and_widens_when_trials_agree_with_themselves():
    random = np.random.default_rng(0)
    alone = (random.random(600) < 0.7).astype(float)
    together = np.repeat((random.random(100) < 0.7).astype(float), 6)
    each = interval(alone, np.arange(600))
    trial = interval(together, np.repeat(np.arange(100), 6))
    assert each[1] < each[0] < each[2]
    assert trial[2] - trial[1] > 1.8 * (each[2] - each[1])


def test_the_command_writes_its_table(archive, tmp_path, monkeypatch):
    document = tmp_path / "recipes.md"
    document.write_text("<!-- windows:begin -->\n<!-- windows:end -->\n", encoding="utf-8")
    monkeypatch.setattr(event_windows, "DOC", document)
    small = ["model.hidden=8", "filter.lowpass_hz=[30]", "filter.power_bands_hz=[]"]
    more = ["model.input_dropout=0", "train.epochs=80", "window.batch=8"]
    # Too few windows to tell how 96 values go together.
    main([str(archive), *small, *more, "train.whiten=false", "dataset.subjects=[1,2]"])
    lines = document.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:9]]
    right = {name: float(share) for name, share, *_ in cells}
    assert list(right) == [*NETWORKS, *DISCRIMINANTS]
    assert right[JUDGE] > 0.9
    assert min(right.values()) > 0.6
    for name, *_, more in cells:
        if name == JUDGE:
            assert not more
        else:
            assert float(more.split()[0]) == pytest.approx(right[name] - right[JUDGE], abs=2e-4)


def test_a_network_that_corrects_lda_reads_no_discriminant_that_knew_its_series(archive):
    """Other labels in one series change nothing of what is said there."""
    windows = load_windows(archive, COMPETITION)
    windows = windows.chosen(windows.subject == 1)
    features = windows.signal.mean(axis=1)[:, None]
    train, test = windows.series <= 4, windows.series > 4
    said = said_by_lda(windows, features, train, test)
    assert np.isfinite(said).all()
    turned = windows.chosen(np.ones(len(windows.event), dtype=bool))
    second = windows.series == 2
    turned.event[second] = (turned.event[second] + 1) % len(EVENTS)
    again = said_by_lda(turned, features, train, test)
    np.testing.assert_array_equal(again[second], said[second])
    assert (again[~second] != said[~second]).any()


def test_a_file_that_is_something_else_is_one_clear_error(tmp_path):
    with pytest.raises(PipelineError, match="name the archive"):
        main([])
    with pytest.raises(PipelineError, match=r"nothing.npz: not the archive"):
        main([str(tmp_path / "nothing.npz")])
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(PipelineError, match=r"other.npz: not the archive.*s1_r1_frame"):
        main([str(tmp_path / "other.npz")])
