"""Recordings from elsewhere: every case that a folder of a laboratory holds, as a small file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import mne
import numpy as np
import pytest

from pipeline.data.foreign_options import UNIT_VOLTS, ForeignOptions, pattern_regex
from pipeline.data.mne_files import ForeignSeries, describe_file, find_series, resolve, series_names
from pipeline.data.names import Name, identity
from pipeline.data.recording import Description, Recording, label_runs
from pipeline.errors import DataError

NAMES = ("Fp1", "Fp2", "C3", "C4")
OPTIONS = ForeignOptions(
    pattern="{subject}_{series}.fif", markers={"T1": "Left", "T2": "Right"}, before=0.1, after=0.2,
    montage="colin27_1005",
)  # fmt: skip
MARKS = ((1.0, 0.5, "T1"), (3.0, 0.5, "T2"))


def made(
    seconds: float = 6.0,
    rate: float = 100.0,
    names: tuple[str, ...] = NAMES,
    marks: tuple[tuple[float, float, str], ...] = MARKS,
    date: datetime | None = None,
    first_samp: int = 0,
) -> mne.io.RawArray:
    """Pink-ish noise of some 20 uV, in volts, with annotations."""
    random = np.random.default_rng(len(names))
    volts = 20e-6 * random.normal(size=(len(names), round(seconds * rate)))
    info = mne.create_info(list(names), rate, "eeg")
    raw = mne.io.RawArray(volts, info, first_samp=first_samp, verbose="error")
    raw.set_meas_date(date)
    # Counted from the first sample, whatever first_samp is.
    onsets = [onset + (raw.first_time if date else 0) for onset, _, _ in marks]
    raw.set_annotations(
        mne.Annotations(
            onsets, [length for _, length, _ in marks], [text for *_, text in marks], date
        ),
        verbose="error",
    )
    return raw


def saved(raw: mne.io.BaseRaw, folder: Path, name: str = "a_1") -> Path:
    path = folder / f"{name}.fif"
    raw.save(path, overwrite=True, verbose="error", fmt="double")
    return path


def read(
    path: Path,
    options: ForeignOptions = OPTIONS,
    about: Description | None = None,
    labelled: bool = True,
) -> Recording:
    about = about or describe_file(path, options)
    return ForeignSeries(Name("a"), 1, path, (path,), labelled, options).read(about)


def onsets(recording: Recording, column: int) -> list[int]:
    assert recording.events is not None
    return [first for first, _ in label_runs(recording.events[:, column])]


def notes(recording: Recording) -> str:
    return "\n".join(recording.told["notes"])


def test_samples_are_stored_in_tenths_of_a_microvolt_from_the_first_one(tmp_path):
    raw = made()
    recording = read(saved(raw, tmp_path))
    volts = raw.get_data().T
    np.testing.assert_allclose(recording.signal * UNIT_VOLTS, volts - volts[0], atol=1e-11)
    assert recording.signal.dtype == np.float32
    assert recording.about.channels == NAMES
    assert recording.about.events == ("Left", "Right")
    assert recording.about.montage == "colin27_1005"
    assert label_runs(recording.events[:, 0]) == [(90, 120)]
    assert label_runs(recording.events[:, 1]) == [(290, 320)]


def test_a_label_may_last_as_long_as_the_annotation(tmp_path):
    options = ForeignOptions(markers={"T1": "Left"}, label="span", montage="colin27_1005")
    assert label_runs(read(saved(made(), tmp_path), options).events[:, 0]) == [(100, 150)]


def test_a_large_offset_changes_nothing_beyond_rounding(tmp_path):
    raw = made()
    plain = read(saved(raw, tmp_path))
    raw.load_data()._data += 100_000 * UNIT_VOLTS
    high = read(saved(raw, tmp_path, "a_2"))
    np.testing.assert_allclose(high.signal, plain.signal, atol=1e-3)


@pytest.mark.parametrize("date", [None, datetime(2020, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("first_samp", [0, 5000])
def test_labels_count_from_the_first_sample(tmp_path, date, first_samp):
    recording = read(saved(made(date=date, first_samp=first_samp), tmp_path))
    assert (onsets(recording, 0), onsets(recording, 1)) == ([90], [290])


def test_marks_outside_of_the_recording_are_left_out_and_told(tmp_path):
    date = datetime(2020, 1, 1, tzinfo=UTC)
    raw = made(date=date, first_samp=500)
    kept = raw.annotations.copy()
    for onset in (1.0, 500.0):  # before first_samp, and past the end
        kept.append(onset, 0, "T1")
    path = saved(raw, tmp_path)
    kept.save(tmp_path / "x-annot.fif", verbose="error")

    def opener(path, options):
        opened, told = mne.io.read_raw(path, verbose="error"), []
        opened._annotations = kept  # what a reader that checks nothing gives
        return opened, told

    about = describe_file(path, OPTIONS)
    series = ForeignSeries(Name("a"), 1, path, (path,), True, OPTIONS, opener)
    recording = series.read(about)
    assert onsets(recording, 0) == [90]
    assert "2 of 'T1' lie outside of the recording" in notes(recording)


def test_a_rate_that_is_not_whole_drifts_nowhere(tmp_path):
    rate, times = 512.03, np.arange(5.0, 595.0, 5.0)
    raw = made(600.0, rate, NAMES[:1], tuple((t, 0.0, "T1") for t in times))
    options = ForeignOptions(markers={"T1": "Left"}, after=0.01, montage="colin27_1005")
    recording = read(saved(raw, tmp_path), options)
    assert recording.about.rate == pytest.approx(rate, abs=1e-3)
    found = np.array(onsets(recording, 0)) / rate
    np.testing.assert_allclose(found, times, atol=0.51 / rate + 600 * 1e-6)


def test_no_annotations_are_refused_where_labels_are_needed_only(tmp_path):
    path = saved(made(marks=()), tmp_path)
    with pytest.raises(DataError, match=r"a_1\.fif: none of its annotations .* it has none at all"):
        read(path)
    assert read(path, labelled=False).events is None
    path = saved(made(marks=((1.0, 0.0, "T9"),)), tmp_path, "a_2")
    with pytest.raises(DataError, match="it has 'T9'"):
        read(path)


def test_other_channels_are_refused_and_another_order_is_put_right(tmp_path):
    about = describe_file(saved(made(), tmp_path), OPTIONS)
    turned = made(names=NAMES[::-1])
    recording = read(saved(turned, tmp_path, "a_2"), about=about)
    volts = turned.get_data()[::-1].T
    np.testing.assert_allclose(recording.signal * UNIT_VOLTS, volts - volts[0], atol=1e-11)
    assert "another order" in notes(recording)
    fewer = saved(made(names=NAMES[:3]), tmp_path, "a_3")
    with pytest.raises(DataError, match=r"a_3\.fif: has no channel C4; it has Fp1, Fp2, C3"):
        read(fewer, about=about)


def test_another_rate_is_refused(tmp_path):
    about = describe_file(saved(made(), tmp_path), OPTIONS)
    with pytest.raises(DataError, match=r"a_2\.fif: is sampled at 200 Hz, .* at 100 Hz"):
        read(saved(made(rate=200.0), tmp_path, "a_2"), about=about)


def test_decorated_and_old_names_are_recognised_and_told(tmp_path):
    names = ("EEG FP1-REF", "Fc5.", "t3", "EEG T6-CPz", "EOG left", "EEG C3-LE")
    recording = read(saved(made(names=names), tmp_path))
    assert recording.about.channels == ("Fp1", "FC5", "T7", "P8", "C3")
    assert "EEG T6-CPz is called P8" in notes(recording)
    assert "1 channels are not used: EOG left" in notes(recording)
    assert recording.about.montage == "colin27_1005"


def test_unknown_names_have_no_montage(tmp_path):
    recording = read(saved(made(names=("E1", "E2")), tmp_path))
    assert recording.about.channels == ("E1", "E2")
    assert recording.about.montage == ""
    recording.to_raw()


def test_two_channels_of_one_name_are_refused_until_one_is_left_out(tmp_path):
    path = saved(made(names=("EEG F1-Ref-0", "F2", "EEG F1-Ref-1")), tmp_path)
    with pytest.raises(DataError, match=r"2 channels are called F1 .*dataset.exclude="):
        read(path)
    options = ForeignOptions(
        markers=OPTIONS.markers, after=0.1, exclude=("EEG F1-Ref-1",), montage="colin27_1005"
    )
    assert read(path, options).about.channels == ("F1", "F2")
    options = ForeignOptions(
        markers=OPTIONS.markers, after=0.1, rename={"EEG F1-Ref-1": "F1 again"},
        montage="colin27_1005",
    )  # fmt: skip
    assert read(path, options).about.channels == ("F1", "F2", "F1 again")


def test_bad_spans_are_left_out_and_told(tmp_path):
    recording = read(saved(made(marks=(*MARKS, (4.0, 0.5, "BAD_muscle"))), tmp_path))
    assert recording.kept is not None
    assert label_runs(~recording.kept) == [(400, 450)]
    assert "0.5 s of BAD_muscle are left out" in notes(recording)


def test_padding_is_left_out_and_told(tmp_path):
    raw = made()
    raw.load_data()._data[:, 550:] = 0
    recording = read(saved(raw, tmp_path))
    assert recording.kept is not None
    assert label_runs(~recording.kept) == [(551, 600)]
    assert "0.49 s are padding" in notes(recording)


def test_three_rows_nan_constant_and_wrong_units_are_told(tmp_path):
    with pytest.raises(DataError, match="has 3 samples"):
        read(saved(made(seconds=0.03, marks=()), tmp_path), labelled=False)
    raw = made()
    raw.load_data()._data[1, 250] = np.nan
    with pytest.raises(DataError, match=r"channel Fp2: nan at 2.5 s \(sample 250\)"):
        read(saved(raw, tmp_path))
    raw = made()
    raw.load_data()._data[2] = 5e-6
    assert "constant throughout: C3" in notes(read(saved(raw, tmp_path)))
    for factor, remedy in ((1e6, "1e-06"), (1e-6, "1e\\+06"), (1e3, "0.001")):
        raw = made()
        raw.load_data()._data *= factor
        with pytest.raises(DataError, match=f"wrong unit. Set dataset.unit_factor={remedy}"):
            read(saved(raw, tmp_path))
        options = ForeignOptions(
            markers=OPTIONS.markers, after=0.1, unit_factor=1 / factor, montage="colin27_1005"
        )
        assert 150 < read(saved(raw, tmp_path), options).signal.std() < 350


def test_stimulus_codes_are_events(tmp_path):
    raw = made(names=(*NAMES, "Trigger"), marks=())
    raw.load_data()._data[-1] = 0
    raw._data[-1, 100:103] = 7
    raw._data[-1, 300:301] = 9
    options = ForeignOptions(
        markers={"7": "Left", "9": "Right"}, after=0.1, stim_channel="Trigger",
        channels=NAMES, montage="colin27_1005",
    )  # fmt: skip
    recording = read(saved(raw, tmp_path), options)
    assert (onsets(recording, 0), onsets(recording, 1)) == ([100], [300])
    path = saved(made(), tmp_path)
    with pytest.raises(DataError, match=r"has no channel dataset\.stim_channel=Trigger"):
        read(path, options)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = saved(made(), tmp_path)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(DataError, match=r"a_1\.fif"):
        read(path)


def test_a_cnt_file_needs_its_format(tmp_path):
    path = tmp_path / "a.cnt"
    path.write_bytes(bytes(2000))
    with pytest.raises(DataError, match=r"a\.cnt: .*dataset.reader=\{data_format: int16\}"):
        describe_file(path, OPTIONS)


def test_paths_say_subject_and_series(tmp_path):
    for name in ("S2_R10", "S10_R2", "S2_R2", "notes"):
        (tmp_path / f"{name}.fif").touch()
    (tmp_path / "S2_R2.txt").touch()
    assert [str(each) for each in series_names(tmp_path, OPTIONS)] == ["R2", "R10"]
    found = find_series(tmp_path, [], [Name("R2")], [Name("R10")], OPTIONS)
    assert [(str(each.subject), str(each.series), each.labelled) for each in found] == [
        ("S2", "R2", True), ("S2", "R10", False), ("S10", "R2", True),
    ]  # fmt: skip
    assert tmp_path / "S2_R2.txt" in found[0].paths
    with pytest.raises(DataError, match="the splits name the series R7; there are R2, R10"):
        find_series(tmp_path, [], [Name("R7")], [], OPTIONS)
    with pytest.raises(DataError, match="names S3; there are S2, S10"):
        find_series(tmp_path, [Name("S3")], [Name("R2")], [], OPTIONS)
    assert resolve(["R*"], [Name("R2"), Name("R10")]) == ["R2", "R10"]


def test_patterns_are_placeholders_or_regular_expressions():
    regex = pattern_regex("**/sub-{subject}/ses-{session}/*_run-{run}_eeg.*")
    match = regex.fullmatch("data/sub-MK07/ses-1/x_run-02_eeg.edf")
    assert match is not None
    assert match.groupdict() == {"subject": "MK07", "session": "1", "run": "02"}
    for wrong in ("{subject}.edf", "{series}.edf", "(?P<subject>[.edf"):
        with pytest.raises(ValueError, match=r"."):
            pattern_regex(wrong)


def test_two_files_of_one_series_and_names_that_differ_by_case_are_refused(tmp_path):
    options = ForeignOptions(pattern="**/{subject}_{series}.fif", markers={"T1": "Left"})
    (tmp_path / "b").mkdir()
    for name in ("a_1.fif", "b/a_1.fif"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"b/a_1\.fif: is subject a, series 1 .* and so is"):
        series_names(tmp_path, options)
    (tmp_path / "b" / "a_1.fif").rename(tmp_path / "b" / "A_1.fif")
    with pytest.raises(DataError, match="case of letters"):
        series_names(tmp_path, options)
    with pytest.raises(DataError, match="no file below it matches"):
        series_names(tmp_path, ForeignOptions(pattern="{subject}-{series}.edf"))
    assert identity("1") == 1


def with_edf(raw: mne.io.BaseRaw, path: Path) -> Path:
    pytest.importorskip("edfio", reason="the extra `formats` is not installed")
    mne.export.export_raw(path, raw, overwrite=True, verbose="error")
    return path


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_pads_an_edf_file_to_a_whole_record_is_left_out(tmp_path):
    raw = made(6.55)
    recording = read(with_edf(raw, tmp_path / "a_1.edf"))
    assert len(recording.signal) == 700
    assert recording.kept is not None
    assert label_runs(~recording.kept) == [(655, 700)]
    assert onsets(recording, 0) == [90]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_discontinuous_and_a_cut_off_edf_file_are_refused(tmp_path):
    path = with_edf(made(), tmp_path / "a_1.edf")
    whole = path.read_bytes()
    path.write_bytes(whole[:192] + b"EDF+D" + whole[197:])
    with pytest.raises(DataError, match=r"a_1\.edf: is discontinuous \(EDF\+D\)"):
        read(path)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match=r"a_1\.edf: is cut off or was not closed"):
        read(path)
