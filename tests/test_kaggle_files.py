"""Raw files: what is read, and what is refused with which message."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.options import Stage
from pipeline.data.csv_table import read_table
from pipeline.data.kaggle_files import check_ids, find_series
from pipeline.data.raw_files import MOST_SERIES_BYTES, RawFile
from pipeline.data.recording import Recording, label_runs
from pipeline.errors import DataError, PipelineError
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from tests.conftest import EVENTS, SMALL, make_config

pytestmark = pytest.mark.slow

DATA = "train/subj1_series1_data.csv"
LABELS = "train/subj1_series1_events.csv"
REAL_EVENTS = Path(__file__).parents[2] / "shared" / "data" / "gal_events"


def kaggle_config(tmp_path, *more):
    return make_config(tmp_path, "dataset=kaggle", *SMALL, "stage=ingest", *more)


def edit(path: Path, change) -> None:
    """Rewrite a file by its lines."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(change(lines)), encoding="utf-8")


def cells(line: str, column: int, value: str) -> str:
    parts = line.rstrip("\n").split(",")
    parts[column] = value
    return ",".join(parts) + "\n"


def swap(lines, a, b):
    lines[a], lines[b] = lines[b], lines[a]
    return lines


def drop_column(lines, column):
    return [",".join(p for i, p in enumerate(x.split(",")) if i != column) for x in lines]


def with_line(number, change):
    """Change the line of that number, counted from 1 as the messages do."""
    return lambda lines: [*lines[: number - 1], change(lines[number - 1]), *lines[number:]]


BAD = {
    "missing column": (DATA, lambda x: drop_column(x, 3), "line 1: column F7 is missing"),
    "extra column": (
        DATA,
        lambda x: [f"{x[0].rstrip()},EOG\n", *(f"{r.rstrip()},0\n" for r in x[1:])],
        "line 1: column 'EOG' is not known",
    ),
    "renamed column": (
        DATA,
        with_line(1, lambda h: h.replace("Cz", "CZ1")),
        "column Cz is missing and 'CZ1' is not known",
    ),
    "reordered columns": (
        DATA,
        with_line(1, lambda h: h.replace("Fp1,Fp2", "Fp2,Fp1")),
        "column 2 is Fp2, where Fp1 is expected",
    ),
    "doubled column": (DATA, with_line(1, lambda h: h.rstrip() + ",Fp1\n"), "Fp1 stands there twi"),
    "doubled id": (
        DATA,
        with_line(5, lambda r: cells(r, 0, "subj1_series1_2")),
        "line 5: id 'subj1_series1_2' stands there twice",
    ),
    "missing id": (DATA, lambda x: [*x[:4], *x[5:]], "subj1_series1_3 is expected, which is mi"),
    "foreign id": (
        DATA,
        with_line(7, lambda r: cells(r, 0, "subj2_series1_5")),
        "line 7: id 'subj2_series1_5' does not belong to subj1_series1",
    ),
    "unsorted ids": (DATA, lambda x: swap(x, 4, 5), "line 5: id 'subj1_series1_4' is out of order"),
    "non-numeric cell": (
        DATA,
        with_line(9, lambda r: cells(r, 2, "12a")),
        "line 9, column Fp2: '12a' is not a number",
    ),
    "empty cell": (DATA, with_line(9, lambda r: cells(r, 2, "")), "line 9, column Fp2: ''"),
    "nan": (DATA, with_line(9, lambda r: cells(r, 1, "nan")), "line 9, column Fp1: 'nan' is not"),
    "infinity": (DATA, with_line(9, lambda r: cells(r, 1, "-inf")), "line 9, column Fp1: '-inf'"),
    "too many cells": (DATA, with_line(9, lambda r: r.rstrip() + ",1\n"), "line 9: has 34 cells"),
    "empty line": (DATA, lambda x: [*x[:8], "\n", *x[8:]], "line 9: has 1 cells where 33"),
    "empty file": (DATA, lambda x: [], "subj1_series1_data.csv: is empty"),
    "header alone": (DATA, lambda x: x[:1], "a header and no rows"),
    "cut last line": (DATA, lambda x: [*x[:-1], x[-1][:30]], "ends inside this line"),
    "cut last cell": (DATA, lambda x: [*x[:-1], x[-1].rstrip("\n")], "ends inside this line"),
    "not text": (DATA, lambda x: ["\ufffd\n", *x[1:]], "line 1: column"),
    "fewer event rows": (LABELS, lambda x: x[:-3], "rows where subj1_series1_data.csv has"),
    "event value 2": (
        LABELS,
        with_line(11, lambda r: cells(r, 2, "2")),
        "line 11, column FirstDigitTouch: 2 is neither 0 nor 1",
    ),
    "event value .5": (LABELS, with_line(11, lambda r: cells(r, 2, "0.5")), "0.5 is neither"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_file_is_one_message_that_names_file_and_place_and_leaves_nothing(raw, tmp_path, fault):
    file, change, message = BAD[fault]
    edit(raw / file, change)
    config = kaggle_config(tmp_path)
    with pytest.raises(DataError) as error:
        run(config, say=lambda line: None)
    assert message in str(error.value)
    assert Path(file).name in str(error.value)
    assert "\n" not in str(error.value)
    made = Context(config).ingest_folder.path
    assert not list(made.glob("**/*subj1_series1*"))


def test_missing_files_are_named(raw, tmp_path):
    (raw / LABELS).unlink()
    with pytest.raises(DataError, match=r"subj1_series1_events.csv is missing"):
        run(kaggle_config(tmp_path))
    (raw / DATA).unlink()
    with pytest.raises(DataError, match=r"subj1_series1_data.csv is missing"):
        run(kaggle_config(tmp_path))


def test_no_data_is_an_error_and_never_replaced_by_simulated(tmp_path):
    with pytest.raises(DataError, match=r"make data.*dataset=simulated"):
        run(kaggle_config(tmp_path))
    assert not (tmp_path / "data" / "derived").exists()


def test_a_series_that_stands_there_twice_is_refused(raw, tmp_path):
    (raw / "copy").mkdir()
    (raw / "copy" / Path(DATA).name).write_bytes((raw / DATA).read_bytes())
    with pytest.raises(DataError, match="stands also in"):
        run(kaggle_config(tmp_path))


def test_corrupt_archives_are_refused(raw, tmp_path):
    zipped = raw / "train.zip"
    zipped.write_bytes(b"PK\x03\x04 this is no zip")
    with pytest.raises(DataError, match=r"train.zip: is a corrupt zip"):
        run(kaggle_config(tmp_path))
    zipped.unlink()
    packed = gzip.compress((raw / DATA).read_bytes())
    (raw / DATA).unlink()
    (raw / f"{DATA}.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"subj1_series1_data.csv.gz: is corrupt"):
        run(kaggle_config(tmp_path))


def test_a_zip_whose_content_is_damaged_is_refused(raw, tmp_path):
    text = (raw / DATA).read_bytes()
    with zipfile.ZipFile(raw / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/subj1_series1_data.csv", text)
    blob = bytearray((raw / "more.zip").read_bytes())
    blob[len(blob) // 2] ^= 0xFF
    (raw / "more.zip").write_bytes(blob)
    (raw / DATA).unlink()
    with pytest.raises(DataError, match=r"more.zip:train/subj1_series1_data.csv: is corrupt"):
        run(kaggle_config(tmp_path))


def test_zips_in_zips_are_explained(raw, tmp_path):
    with zipfile.ZipFile(raw / "all.zip", "w") as archive:
        archive.writestr("train.zip", b"")
    with pytest.raises(DataError, match=r"unpack it once: unzip all.zip"):
        run(kaggle_config(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_is_read_only(raw, tmp_path):
    (tmp_path / "data" / "derived").mkdir()
    (tmp_path / "data" / "derived").chmod(0o500)
    with pytest.raises(PipelineError, match=r"cannot be written"):
        run(kaggle_config(tmp_path))


def test_an_output_folder_that_cannot_be_made(raw, tmp_path):
    (tmp_path / "data" / "derived").write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(PipelineError, match=r"derived.*cannot be written"):
        run(kaggle_config(tmp_path))


def read_all(config):
    context = Context(config)
    run(config, say=lambda line: None)
    folder, about = context.ingest_folder.path, context.about
    return [Recording.load(folder, raw.subject, raw.series, about) for raw in find(context)]


def test_zips_gzips_crlf_and_byte_order_mark_read_like_plain_files(raw, tmp_path):
    plain = read_all(kaggle_config(tmp_path))
    other = tmp_path / "other" / "data" / "raw"
    other.mkdir(parents=True)
    with zipfile.ZipFile(other / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((raw / "train").iterdir()):
            text = file.read_bytes()
            if "subj1_series2" in file.name:
                text = text.replace(b"\n", b"\r\n")
            if "subj2_series1" in file.name:
                text = b"\xef\xbb\xbf" + text
            archive.writestr(f"train/{file.name}", text)
        archive.writestr("__MACOSX/train/subj1_series1_data.csv", b"")
        archive.writestr("__MACOSX/._test.zip", b"")
    (other / "test").mkdir()
    for file in sorted((raw / "test").iterdir()):
        (other / "test" / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    for a, b in zip(plain, read_all(kaggle_config(tmp_path / "other")), strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.signal, b.signal)
        if a.series == 3:
            assert a.events is None
            assert b.events is None
        else:
            np.testing.assert_array_equal(a.events, b.events)


def test_recordings_are_compact_memory_mapped_and_ordered_as_numbers(raw, tmp_path):
    recordings = read_all(kaggle_config(tmp_path))
    assert [r.name for r in recordings] == [f"subj{s}_series{r}" for s in (1, 2) for r in (1, 2, 3)]
    assert all(isinstance(r.signal, np.memmap) for r in recordings)
    assert recordings[0].signal.dtype == np.int16
    assert recordings[0].events.dtype == np.uint8


def test_series_ten_comes_after_nine(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for subject in (2, 10, 1):
        for series in (10, 9):
            (folder / f"subj{subject}_series{series}_data.csv").write_text("", encoding="utf-8")
    found = find_series(folder, [], [], [9, 10])
    assert [(r.subject, r.series) for r in found] == [
        (1, 9), (1, 10), (2, 9), (2, 10), (10, 9), (10, 10)
    ]  # fmt: skip


def test_fractions_are_kept_as_float32(raw, tmp_path):
    edit(raw / DATA, with_line(4, lambda r: cells(r, 1, "12.5")))
    first = read_all(kaggle_config(tmp_path))[0]
    assert first.signal.dtype == np.float32
    assert first.signal[2, 0] == 12.5


def test_to_raw_has_volts_montage_and_annotations(raw, tmp_path):
    recording = read_all(kaggle_config(tmp_path))[0]
    made = recording.to_raw()
    np.testing.assert_allclose(
        made.get_data()[:, :50], recording.signal[:50].T * recording.about.unit_volts
    )
    assert made.ch_names == list(recording.about.channels)
    assert made.info["sfreq"] == 500
    positions = np.array([c["loc"][:3] for c in made.info["chs"]])
    assert np.isfinite(positions).all()
    assert len({tuple(p) for p in positions}) == 32
    for column, event in enumerate(EVENTS):
        runs = label_runs(recording.events[:, column])
        mine = [a for a in made.annotations if a["description"] == event]
        assert len(runs) == 2
        starts = [round(a["onset"] * 500) for a in mine]
        lengths = [round(a["duration"] * 500) for a in mine]
        assert starts == [a for a, _ in runs]
        assert lengths == [b - a for a, b in runs]


def test_raw_files_are_never_touched(raw, tmp_path):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in raw.rglob("*")}
    run(kaggle_config(tmp_path, f"stage={Stage.filter.name}"), say=lambda line: None)
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in raw.rglob("*")}


@pytest.mark.skipif(not REAL_EVENTS.is_dir(), reason="the real label files are not on this machine")
def test_real_label_files_are_accepted_with_their_overlaps():
    files = sorted(REAL_EVENTS.glob("*.csv.gz"))
    assert len(files) == 6
    overlaps = 0
    for path in files:
        table = read_table(RawFile(path), list(EVENTS), MOST_SERIES_BYTES)
        check_ids(table, path.name.removesuffix("_events.csv.gz"))
        labels = table.values
        assert set(np.unique(labels)) == {0, 1}
        overlaps += int((labels.sum(axis=1) > 1).sum())
    assert overlaps > 1000
