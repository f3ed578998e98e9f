"""Recordings from elsewhere, the whole way: the same as from CSV files, and real EEG."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from pipeline.config.paths import PROJECT
from pipeline.data.bids_files import describe, find_series, series_names, write_bids
from pipeline.data.foreign_options import ForeignOptions
from pipeline.data.mne_files import ForeignSeries, describe_file
from pipeline.data.names import Name
from pipeline.data.recording import Recording
from pipeline.errors import ConfigError, DataError
from pipeline.features.feature_series import FeatureSeries
from pipeline.results.decisions import Decider, Settings
from pipeline.results.rows import hold, sigmoid
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.stages.context import Context
from pipeline.stages.evaluate import RHYTHM
from pipeline.stages.flow import find, run
from pipeline.stages.record import export_recipe
from pipeline.studies.search import inner_split
from tests.conftest import EVENTS, make_config, unless_given
from tests.conftest import SMALL as COMMON

pytestmark = pytest.mark.slow

SHARED = PROJECT.parent / "shared" / "data"


def markers(prefix: str = "") -> str:
    return "{" + ",".join(f"{prefix}{event}:{event}" for event in EVENTS) + "}"


SMALL = (
    "experiment=fbl_lda", "filter.lowpass_hz=[1,5]", "filter.decimate=25", "workers=1",
    "tracking.enabled=false",
    "dataset.train_series=[1]", "dataset.valid_series=[2]", "dataset.test_series=[3]",
)  # fmt: skip


@pytest.fixture(scope="module")
def from_csv(tmp_path_factory) -> tuple[Context, Path]:
    """The whole way from CSV files, done once: the context and the submission."""
    more = ("experiment=fbl_lda", "filter.lowpass_hz=[1,5]", "dataset.simulation.trials=2")
    small = unless_given(COMMON, more)
    config = make_config(tmp_path_factory.mktemp("csv"), "dataset=simulated", *small, *more)
    submission = run(config, say=lambda line: None).submission
    assert submission is not None
    return Context(config), submission


@pytest.fixture
def recordings(from_csv) -> list[Recording]:
    """Simulated recordings, ingested from CSV files."""
    context, _ = from_csv
    return [
        Recording.load(context.ingest_folder.path, raw.subject, raw.series, context.about)
        for raw in find(context)
    ]


def foreign(folder: Path, ending: str, *more: str):
    called = markers("Comment/" if ending == "vhdr" else "")  # as MNE reads BrainVision's
    return make_config(
        folder, "dataset=mne", f"dataset.raw={folder / 'lab'}", f"dataset.markers={called}",
        f"dataset.pattern='{{subject}}_{{series}}.{ending}'", "dataset.label=span", *SMALL, *more,
    )  # fmt: skip


def write(recording: Recording, folder: Path, ending: str) -> None:
    folder.mkdir(exist_ok=True)
    raw, path = recording.to_raw(), folder / f"{recording.subject}_{recording.series}.{ending}"
    if ending == "fif":
        raw.save(path, fmt="double", verbose="error")
        return
    package = {"edf": "edfio", "vhdr": "pybv", "set": "eeglabio"}[ending]
    pytest.importorskip(package, reason="the extra `formats` is not installed")
    raw.export(path, verbose="error")


# How far off a format's numbers are, in units of the signal (0.1 uV): FIF is written in double
# precision; pybv writes float32 in uV; EEGLAB's are float32; EDF has 16 bits for each channel's
# own range, which is some 10,000 units here.
QUANTISATION = {"fif": 1e-3, "vhdr": 1e-2, "set": 1e-2, "edf": 0.3}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("ending", QUANTISATION)
def test_other_formats_give_what_csv_files_give(recordings, from_csv, tmp_path, ending):
    for each in recordings:
        write(each, tmp_path / "lab", ending)
    config = foreign(tmp_path / "x", ending, f"dataset.raw={tmp_path / 'lab'}",
                     "dataset.subtract_first=false")  # fmt: skip
    result = run(config, say=lambda line: None)
    context = Context(config)
    assert context.about.channels == recordings[0].about.channels
    assert set(context.about.events) == set(EVENTS)
    columns = [context.about.events.index(event) for event in EVENTS]
    for each in recordings:
        back = Recording.load(context.ingest_folder.path, each.subject, each.series, context.about)
        rows = len(each.signal)
        assert np.abs(back.signal[:rows] - each.signal).max() < QUANTISATION[ending]
        if each.events is not None:
            assert back.events is not None
            np.testing.assert_array_equal(back.events[:rows, columns], each.events)
    csv, submission = from_csv
    mine, theirs = (
        FeatureSeries.load(each.feature_folder.path, 1, 1).features for each in (context, csv)
    )
    rows = min(len(mine), len(theirs))
    assert np.abs(mine[:rows] - theirs[:rows]).max() < 2 * QUANTISATION[ending] + 0.01
    assert result.submission is not None
    submitted = pd.read_csv(submission, index_col="id")
    told = pd.read_csv(result.submission / "subj1_series3_probabilities.csv")
    wanted = submitted[submitted.index.str.startswith("subj1_series3_")]
    differ = np.abs(told[list(EVENTS)].to_numpy()[: len(wanted)] - wanted.to_numpy())
    assert differ.max() < 0.05 if ending == "edf" else differ.max() < 1e-3


def test_predictions_are_files_that_others_open_and_a_served_recipe_agrees(recordings, tmp_path):
    for each in recordings:
        write(each, tmp_path / "lab", "fif")
    for path in (tmp_path / "lab").iterdir():  # names, not numbers
        path.rename(path.with_name(f"MK0{path.name[0]}_run{path.name[2:]}"))
    config = foreign(
        tmp_path, "fif", "dataset.train_series=[run1]", "dataset.valid_series=[run2]",
        "dataset.test_series=['run[3-9]']",
    )  # fmt: skip
    told: list[str] = []
    result = run(config, say=told.append)
    assert result.auc is not None
    assert {"subjMK01", "subjMK02", *RHYTHM} <= set(result.auc.index)
    assert any("onsets: where a probability rises to 0.5 (too few" in line for line in told)
    folder = result.submission
    assert folder is not None
    name = "subjMK01_seriesrun3"
    table = pd.read_csv(folder / f"{name}_probabilities.csv")
    raw = mne.io.read_raw(tmp_path / "lab" / "MK01_run3.fif", verbose="error")
    assert len(table) == raw.n_times
    events = pd.read_csv(folder / f"{name}_events.tsv", sep="\t")
    assert list(events.columns) == ["onset", "duration", "trial_type", "sample"]
    marked = mne.read_annotations(folder / f"{name}-annot.fif")
    raw.set_annotations(marked)
    np.testing.assert_allclose(marked.onset, np.sort(events["onset"]), atol=1e-6)
    assert sorted(marked.description) == sorted(events["trial_type"])
    context = Context(config)
    export_recipe(context, find(context), tmp_path / "recipe")
    served = FittedRecipe.load(tmp_path / "recipe")
    units = raw.get_data(picks=list(context.about.channels)).T / context.about.unit_volts
    probabilities = served.predict(units + 1e5, "MK01")  # any offset
    np.testing.assert_allclose(table[list(context.about.events)], probabilities, atol=2e-3)
    with pytest.raises(DataError, match=r"subject=MK03: .*choose from MK01, MK02"):
        served.predict(units, "MK03")


def test_onsets_are_decided_with_what_the_training_series_chose(recordings, tmp_path):
    """One subject has a single training series and so chooses nothing; it is decided, too."""
    one, two, new, other = recordings[:4]
    for each, numbers in (one, [1]), (two, [2, 4]), (new, [3]), (other, [1, 3, 4]):
        for number in numbers:
            write(replace(each, series=number), tmp_path / "lab", "fif")
    config = foreign(
        tmp_path, "fif", "dataset.train_series=[1,2]", "dataset.valid_series=[4]",
        "decisions.thresholds=5",
    )  # fmt: skip
    told: list[str] = []
    result = run(config, say=told.append)
    assert any(line.startswith("folds    2 done") for line in told)  # both of subject 1
    assert result.decisions is not None
    assert result.submission is not None
    settings = Settings.load(result.submission / "decisions_mne.json")
    context = Context(config)
    for name, recording in ("subj1_series3", new), ("subj2_series3", other):
        events = pd.read_csv(result.submission / f"{name}_events.tsv", sep="\t")
        logits = np.load(context.train_folder.path / f"{name}_logits.npy")
        chances = sigmoid(hold(logits, context.every, len(recording.signal)))
        decided = Decider(settings).push(chances)
        assert list(zip(events["sample"], events["trial_type"], strict=True)) == decided


def test_bad_spans_are_neither_learned_from_nor_scored(recordings, tmp_path):
    first, second, third = recordings[:3]
    for each in (first, second, third):
        write(each, tmp_path / "lab", "fif")
    config = foreign(tmp_path, "fif", "stage=evaluate")
    plain = run(config, say=lambda line: None).auc
    for number in (1, 2):  # a span of nonsense, marked
        path = tmp_path / "lab" / f"1_{number}.fif"
        raw = mne.io.read_raw(path, preload=True, verbose="error")
        begin = raw.n_times - 3000
        raw.annotations.append(begin / raw.info["sfreq"], 100.0, "BAD_cable")
        raw._data[:, begin:] *= -30
        raw.save(path, fmt="double", overwrite=True, verbose="error")
    told: list[str] = []
    spoilt = run(config, say=told.append).auc
    assert any("BAD_cable are left out of fitting and scoring" in line for line in told)
    assert plain is not None
    assert spoilt is not None
    assert abs(spoilt.loc["pooled", "mean"] - plain.loc["pooled", "mean"]) < 0.2
    context = Context(config)
    features = FeatureSeries.load(context.feature_folder.path, 1, 1)
    every = config.filter.every
    assert len(features.features) == -(-(len(first.signal) - 3000) // every)
    assert np.abs(features.features).max() < 5 * np.abs(np.asarray(first.signal)).max()


def test_a_subject_without_training_series_is_refused(recordings, tmp_path):
    for each in recordings:
        write(each, tmp_path / "lab", "fif")
    (tmp_path / "lab" / "2_1.fif").unlink()
    with pytest.raises(
        DataError, match=r"subject 2: has none of the series 1, .*dataset\.subjects"
    ):
        run(foreign(tmp_path, "fif", "stage=evaluate"), say=lambda line: None)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dataset.pattern=x.edf", "dataset.pattern=x.edf: must say which part"),
        ("dataset.label=middle", "dataset.label=middle: must be onset or span"),
        ("dataset.unit_volts=1", "dataset.unit_volts=1.0: is always 1e-07 here"),
        ("dataset.simulation.trials=3", "dataset.simulation=.*is for dataset=simulated"),
        ("dataset.unit_factor=0", "dataset.unit_factor=0.0: must be above 0"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(tmp_path, override, said):
    with pytest.raises(ConfigError, match=said):
        foreign(tmp_path, "fif", override)


def test_what_is_left_open_is_asked_for_where_it_is_needed(tmp_path):
    for given, key in ([], "markers"), (["dataset.markers={T1:T1}"], "train_series"):
        with pytest.raises(ConfigError, match=rf"dataset\.{key}=.*stage=ingest tells"):
            Context(make_config(tmp_path, "dataset=mne", *given))


FORMATS = SHARED / "formats"
READ = {
    "test.vhdr": (26, 1000, "Stimulus/S253"),
    "test_old_layout_latin1_software_filter.vhdr": (25, 250, "New Segment/"),
    "test_edf_stim_channel.edf": (19, 128, ""),
    "test_egi.raw": (256, 250, ""),
}
REFUSED = {
    "duplicate_channel_labels.edf": "2 channels are called F1 .*dataset.exclude",
    "eeg_plus_triggers.xdf": "XDF holds several streams",
    "test_raw_h5.set": "put the .fdt file",
    "test_uneven_samp.edf": "Set dataset.unit_factor=1e-06",
}


@pytest.mark.skipif(not FORMATS.is_dir(), reason="the shared files of many formats are not here")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*READ, *REFUSED])
def test_files_of_many_formats_are_read_or_refused_in_a_line(tmp_path, name):
    path = FORMATS / name
    options = ForeignOptions(montage="colin27_1005")
    if name in REFUSED:
        series = ForeignSeries(Name("a"), 1, path, (path,), False, options)
        with pytest.raises(DataError, match=f"{re.escape(str(path))}: .*{REFUSED[name]}"):
            series.read(describe_file(path, options))
        return
    told: list[str] = []
    config = make_config(
        tmp_path, "dataset=mne", f"dataset.raw={FORMATS}", "stage=ingest", "workers=1",
        f"dataset.pattern='(?P<subject>{path.stem[:4]})(?P<series>{path.stem[4:]})[.]{path.suffix[1:]}'"
        if path.stem[4:] else "dataset.pattern='(?P<subject>te)(?P<series>st)[.]vhdr'",
    )  # fmt: skip
    run(config, say=told.append)
    channels, rate, mark = READ[name]
    line = next(line for line in told if line.startswith(f"{path}: subject"))
    assert f"{channels} channels, {rate} Hz" in line
    assert mark in line


def test_folds_are_counted_in_the_series_that_a_pattern_finds(recordings, tmp_path):
    for each in (*recordings, replace(recordings[0], series=4)):
        write(each, tmp_path / "lab", "fif")
    for split in ("decisions.enabled=true", "stack.members=[fbl_lda]"):
        group = split.partition(".")[0]
        options = ("dataset.train_series=['[12]']", "dataset.valid_series=[4]", split)
        config = foreign(tmp_path, "fif", *options, f"{group}.folds=2")
        assert Context(config).train_series == [1, 2]
        with pytest.raises(ConfigError, match=rf"{group}\.folds=3: only 2 series to split"):
            Context(foreign(tmp_path, "fif", *options, f"{group}.folds=3"))
    assert inner_split(config) == [
        "dataset.train_series=[1]", "dataset.valid_series=[2]", "dataset.test_series=[3]",
    ]  # fmt: skip


def test_a_bids_data_set_is_written_and_read_back_to_the_same_labels(recordings, tmp_path):
    pytest.importorskip("mne_bids", reason="the extra `bids` is not installed")
    folder = tmp_path / "set"
    labelled = [each for each in recordings if each.events is not None]
    kept = np.ones(len(labelled[0].signal), dtype=bool)
    kept[1000:1501] = kept[-7:] = False
    labelled[0] = replace(labelled[0], kept=kept)
    write_bids(folder, labelled, "Simulated", "grasp and lift")
    options = ForeignOptions(
        markers={event: event for event in EVENTS}, label="span", montage="colin27_1005",
        entities=("session", "task", "run"),
    )  # fmt: skip
    names = series_names(folder, options)
    assert names == ["task-graspandlift_run-1", "task-graspandlift_run-2"]
    found = find_series(folder, [], names, [], options)
    about = describe(found)
    assert about.channels == labelled[0].about.channels
    columns = [about.events.index(event) for event in EVENTS]
    for each, series in zip(labelled, found, strict=True):
        back = series.read(about)
        assert back.events is not None
        np.testing.assert_array_equal(back.events[:, columns], each.events)
        assert back.kept is not None
        np.testing.assert_array_equal(back.kept, True if each.kept is None else each.kept)
        signal = np.asarray(each.signal, dtype=float)
        assert np.abs(back.signal - (signal - signal[0])).max() < 0.02
    check_metadata(folder, labelled)
    validator = shutil.which("bids-validator-deno", path=Path(sys.executable).parent)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run(
        [validator, str(folder), "--format", "json"], capture_output=True, text=True
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [each for each in issues if each.get("severity") == "error"]
    assert not errors
    left = {each.get("subCode") or each["code"] for each in issues}
    assert left <= NOT_KNOWN, left - NOT_KNOWN


# What the validator recommends and no file of a recording tells.
NOT_KNOWN = {
    "Authors", "CapManufacturer", "CapManufacturersModelName", "CogAtlasID", "CogPOID",
    "DeviceSerialNumber", "HEDVersion", "HeadCircumference", "InstitutionAddress",
    "InstitutionName", "InstitutionalDepartmentName", "Instructions", "License",
    "ManufacturersModelName", "SoftwareVersions", "SourceDatasets", "StimulusPresentation",
    "SubjectArtefactDescription", "TOO_FEW_AUTHORS",
}  # fmt: skip


def check_metadata(folder, recordings):
    """What is known stands there, and nothing that is not."""
    about = recordings[0].about
    (description,) = folder.glob("dataset_description.json")
    stored = json.loads(description.read_text(encoding="utf-8"))
    assert "Authors" not in stored  # nobody is invented
    assert [each["Name"] for each in stored["GeneratedBy"]] == ["grasp-and-lift", "MNE-BIDS"]
    for path in folder.rglob("*_eeg.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert stored["Manufacturer"] == stored["HardwareFilters"] == "n/a"
        assert stored["MISCChannelCount"] == 0
        assert "grasp and lift" in stored["TaskDescription"]
        assert all(event in stored["TaskDescription"] for event in about.events)
    for path in folder.rglob("*_events.json"):
        levels = json.loads(path.read_text(encoding="utf-8"))["value"]["Levels"]
        table = pd.read_csv(path.with_suffix(".tsv"), sep="\t")
        assert len(table)
        assert {
            (levels[str(v)], t) for v, t in zip(table["value"], table["trial_type"], strict=True)
        } <= {(event, event) for event in (*about.events, "BAD_left_out")}
    for path in folder.rglob("*_coordsystem.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert stored["FiducialsCoordinates"] == stored["AnatomicalLandmarkCoordinates"]
    text = (folder / "README").read_text(encoding="utf-8")
    assert all(each in text for each in (*about.channels, *about.events, f"{about.rate:g} Hz"))


def test_a_bids_data_set_with_sessions_runs_and_values_alone(tmp_path):
    mne_bids = pytest.importorskip("mne_bids", reason="the extra `bids` is not installed")
    random = np.random.default_rng(0)
    info = mne.create_info(["C3", "C4"], 100.0, "eeg")
    for session, run_number in (("01", "1"), ("01", "2"), ("02", "10")):
        raw = mne.io.RawArray(2e-5 * random.normal(size=(2, 1000)), info, verbose="error")
        raw.set_annotations(mne.Annotations([2.0, 5.0], [0.0, 0.0], ["a", "b"]))
        path = mne_bids.BIDSPath(
            subject="MK07", session=session, run=run_number, task="x", datatype="eeg",
            root=tmp_path,
        )  # fmt: skip
        mne_bids.write_raw_bids(
            raw, path, event_id={"a": 7, "b": 9}, format="BrainVision", allow_preload=True,
            verbose="error",
        )  # fmt: skip
    for path in tmp_path.rglob("*_events.tsv"):
        pd.read_csv(path, sep="\t").drop(columns="trial_type").to_csv(path, sep="\t", index=False)
    options = ForeignOptions(
        markers={"7": "Left", "9": "Right"}, after=0.1, montage="colin27_1005",
        entities=("session", "run"),
    )  # fmt: skip
    names = series_names(tmp_path, options)
    assert names == ["ses-01_run-1", "ses-01_run-2", "ses-02_run-10"]
    for series in find_series(tmp_path, [Name("MK07")], names, [], options):
        back = series.read(describe([series]))
        assert [list(np.flatnonzero(column))[:1] for column in back.events.T] == [[200], [500]]
        assert any(path.name == "participants.tsv" for path in series.paths)
    with pytest.raises(DataError, match="and so is"):
        series_names(tmp_path, ForeignOptions(entities=("session",)))


@pytest.mark.skipif(not FORMATS.is_dir(), reason="the shared files of many formats are not here")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_foreign_bids_data_set_is_read():
    pytest.importorskip("mne_bids", reason="the extra `bids` is not installed")
    options = ForeignOptions(montage="colin27_1005", entities=("session", "run"))
    (series,) = find_series(FORMATS / "BIDS_test", [], [], [Name("ses-01_run-01")], options)
    recording = series.read(describe([series]))
    assert recording.signal.shape == (15360, 16)
