"""Raw files of every kind: bounded, read in place, or refused in one line that says what to do."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from pipeline.data.kaggle_files import find_sample, find_series
from pipeline.data.raw_files import MOST_SERIES_BYTES, RawFile, excerpt, files_below, printable
from pipeline.data.recording import Description
from pipeline.errors import DataError

NAME = "subj1_series1"
MEMBER = f"train/{NAME}_data.csv"
TEXT = f"id,Fp1\n{NAME}_0,12\n{NAME}_1,-3\n".encode()
ABOUT = Description(("Fp1",), ("HandStart",), 500.0, 1e-7, "colin27_1005")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def ingest(folder: Path) -> None:
    """Find the one series below a folder and read it."""
    for raw in find_series(folder, [], [], [1]):
        raw.read(ABOUT)


def refusal(folder: Path) -> str:
    """The one line that the folder is refused with."""
    with pytest.raises(DataError) as error:
        ingest(folder)
    message = str(error.value)
    assert message.isprintable()
    assert str(folder) in message
    assert len(message.replace(str(folder), "")) < 400
    return message


@pytest.fixture
def folder(tmp_path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    return raw


def zipped(folder: Path, content: bytes = TEXT, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "train.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(MEMBER, content)
    return path


def patch(path: Path, *changes: tuple[bytes, int, bytes]) -> None:
    """Overwrite bytes at an offset behind the last place of a signature."""
    blob = bytearray(path.read_bytes())
    for signature, offset, value in changes:
        at = blob.rfind(signature) + offset
        blob[at : at + len(value)] = value
    path.write_bytes(blob)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


# ---- zips ----------------------------------------------------------------------------------------


def test_an_encrypted_zip_is_refused_before_any_work(folder):
    patch(zipped(folder), (CENTRAL, 8, b"\x01\x00"), (LOCAL, 6, b"\x01\x00"))
    with pytest.raises(DataError, match="is encrypted; unpack the zip with its password"):
        find_series(folder, [], [], [1])
    assert MEMBER in refusal(folder)


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 98, 65535])
def test_another_compression_method_is_refused_before_any_work(folder, method):
    patch(zipped(folder), (CENTRAL, 10, struct.pack("<H", method)))
    message = refusal(folder)
    assert f"is packed by method {method} (" in message
    assert "unpack the zip" in message


def test_a_zip_of_a_later_version_is_refused(folder):
    patch(zipped(folder), (CENTRAL, 6, struct.pack("<H", 99)))
    assert "is a zip of a kind that is not read here (zip file version 9.9)" in refusal(folder)


def test_a_member_name_that_is_not_utf8_is_refused(folder):
    path = zipped(folder)
    blob = path.read_bytes().replace(MEMBER.encode(), b"\xff" + MEMBER.encode()[1:])
    path.write_bytes(blob)
    member_name = find_series(folder, [], [], [1])[0].data.member
    assert member_name is not None  # read as the old code page, where the zip claims no more
    patch(path, (CENTRAL, 9, b"\x08"))
    assert "whose name is not UTF-8, as it claims; unpack it" in refusal(folder)


def test_a_member_that_claims_too_much_is_refused_before_any_work(folder):
    patch(zipped(folder), (CENTRAL, 24, struct.pack("<L", MOST_SERIES_BYTES + 1)))
    with pytest.raises(DataError, match=r"claims to unpack to 268,435,457 bytes"):
        find_series(folder, [], [], [1])


@pytest.mark.parametrize("claimed", [100, 1_000_000])
def test_a_member_of_another_length_than_it_claims_is_refused(folder, claimed):
    path = zipped(folder, TEXT * 100)
    patch(path, (CENTRAL, 24, struct.pack("<L", claimed)))
    assert "is corrupt" in refusal(folder)


def test_a_long_list_of_members_is_refused_without_being_read(folder):
    path = zipped(folder)
    patch(path, (END, 12, struct.pack("<L", 17 << 20)))
    assert "its list of members has more than 16 MiB" in refusal(folder)


def test_names_with_line_ends_are_told_in_one_line(folder):
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        archive.writestr(f"a\nb\x1b{'c' * 3000}/{NAME}_data.csv", b"nothing\n")
    assert "line 1: column id is missing" in refusal(folder)


# ---- what unpacks to far too much ----------------------------------------------------------------

HEAD = b"id,Fp1\n" + f"{NAME}_0,".encode()


def bomb(stream: io.BufferedIOBase, mebibytes: int, head: bytes) -> None:
    stream.write(head)
    for _ in range(mebibytes):
        stream.write(b"0" * (1 << 20))


@pytest.mark.parametrize("head", [HEAD, b""], ids=["with header", "without"])
@pytest.mark.parametrize("kind", ["zip", "gz", "gz in zip", "plain"])
def test_what_unpacks_to_far_too_much_is_refused_while_it_is_read(folder, kind, head, monkeypatch):
    most = 4 << 20
    monkeypatch.setattr("pipeline.data.kaggle_files.MOST_SERIES_BYTES", most)
    if kind == "zip":
        path = folder / "train.zip"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(MEMBER, "w") as s,
        ):
            bomb(s, 64, head)
        patch(path, (CENTRAL, 24, struct.pack("<L", most - 5)))  # claims less
        message = "is corrupt" if head else "line 1"
    elif kind == "gz":
        with gzip.open(folder / f"{NAME}_data.csv.gz", "wb") as stream:
            bomb(stream, 64, head)
        message = "has more than 4 MiB" if head else "line 1"
    elif kind == "gz in zip":
        with (
            zipfile.ZipFile(folder / "train.zip", "w") as archive,
            archive.open(f"{MEMBER}.gz", "w") as s,
            gzip.open(s, "wb") as stream,
        ):
            bomb(stream, 64, head)
        message = "has more than 4 MiB" if head else "line 1"
    else:
        with open(folder / f"{NAME}_data.csv", "wb") as stream:
            bomb(stream, 64, head)
        message = "has more than 4 MiB"
    tracemalloc.start()
    said = refusal(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in said
    assert peak < 6 * most  # and not the 64 MiB that it unpacks to


# ---- the file system -----------------------------------------------------------------------------


def test_folders_and_files_may_be_links(folder, tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "kept.csv").write_bytes(TEXT)
    (real / f"{NAME}_data.csv").symlink_to(real / "kept.csv")
    (folder / "train").symlink_to(real, target_is_directory=True)
    (real / "up").symlink_to(folder, target_is_directory=True)  # a loop
    (real / "self").symlink_to(real, target_is_directory=True)
    (folder / "again").symlink_to(real, target_is_directory=True)  # read once, by its first name
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    assert names == ["again/kept.csv", f"again/{NAME}_data.csv"]
    ingest(folder)


def test_a_link_to_nothing_is_named(folder):
    (folder / f"{NAME}_data.csv").symlink_to(folder / "gone.csv")
    assert "is a link to" in refusal(folder)
    assert "which is not there" in refusal(folder)
    (folder / f"{NAME}_data.csv").unlink()
    (folder / f"{NAME}_data.csv").symlink_to(folder / f"{NAME}_data.csv")  # to itself
    assert "is a link to" in refusal(folder)


@pytest.mark.parametrize("name", [f"{NAME}_data.csv", f"{NAME}_data.csv.gz"])
def test_a_folder_in_a_files_place_is_named(folder, name):
    (folder / name).mkdir()
    assert f"{name}: is a folder; put the file in its place" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_a_files_place_is_named_and_not_waited_for(folder):
    os.mkfifo(folder / f"{NAME}_data.csv")
    assert "is no regular file" in refusal(folder)


def test_a_file_that_becomes_a_folder_or_goes_between_finding_and_reading(folder, tmp_path):
    path = folder / f"{NAME}_data.csv"
    path.write_bytes(TEXT)
    (raw,) = find_series(folder, [], [], [1])
    path.unlink()
    with pytest.raises(DataError, match=r"_data\.csv: cannot be read: No such file"):
        raw.read(ABOUT)
    path.mkdir()
    with pytest.raises(DataError, match=r"_data\.csv: cannot be read: Is a directory"):
        raw.read(ABOUT)


@pytest.mark.skipif(ROOT, reason="root may read everything")
@pytest.mark.parametrize("name", [f"{NAME}_data.csv", "train.zip"])
def test_a_file_that_may_not_be_read_is_named_before_any_work(folder, name):
    (folder / name).write_bytes(TEXT)
    (folder / name).chmod(0)
    with pytest.raises(DataError, match="Permission denied; make it readable"):
        find_series(folder, [], [], [1])


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(folder):
    (folder / "train").mkdir(mode=0)
    assert "train: cannot be read: Permission denied" in refusal(folder)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "I/O error")]
)
def test_what_the_system_refuses_is_one_line(folder, monkeypatch, error):
    path = folder / f"{NAME}_data.csv"
    path.write_bytes(TEXT)

    def refuse(*args, **more):
        raise error

    monkeypatch.setattr("builtins.open", refuse)
    message = refusal(folder)
    monkeypatch.undo()
    assert f"_data.csv: cannot be read: {error.strerror}" in message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("added", [b"", f"{NAME}_2,5\n".encode()])
def test_a_file_that_changes_while_it_is_read_is_refused(folder, packed, added):
    path = zipped(folder) if packed else folder / f"{NAME}_data.csv"
    if not packed:
        path.write_bytes(TEXT)
    file = RawFile(path, MEMBER if packed else None)

    def change(start: bytes) -> None:
        blob = path.read_bytes()
        path.write_bytes(blob + added)
        os.utime(path, ns=(1, 1))

    with pytest.raises(DataError, match="changed while it was read; run again") as error:
        file.read(1000, change)
    assert str(path) in str(error.value)


def test_a_zip_that_is_replaced_by_another_is_one_line(folder, tmp_path):
    path = zipped(folder)
    (raw,) = find_series(folder, [], [], [1])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(DataError, match=r"train\.zip:train/subj1_series1_data\.csv: is corrupt"):
        raw.read(ABOUT)


def test_names_of_files_are_ascii_numbers_of_a_sane_length(folder):
    (folder / "subj\u0661_series1_data.csv").write_bytes(TEXT)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(f"subj{'1' * 5000}_series1_data.csv", TEXT)
    assert "holds no subj" in refusal(folder)


def test_the_sample_submission_is_found_in_a_linked_folder(folder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "sample_submission.csv").write_bytes(TEXT)
    assert find_sample(folder) is None
    (folder / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert find_sample(folder) == RawFile(folder / "link" / "sample_submission.csv")


# ---- what messages quote -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"\x00" * 10**7, "\n" * 10**7, b"\xff" * 70, "a" * 61, "\\" * 50]
)
def test_an_excerpt_is_short_and_printable(content):
    shown = excerpt(content)
    assert shown.isprintable()
    assert len(shown) < 100
    assert f"{len(content):,}" in shown


def test_an_excerpt_of_a_short_text_is_the_text():
    assert excerpt("12a") == excerpt(b"12a") == "'12a'"
    assert excerpt("it's") == "'it's'" or excerpt("it's") == "'it\\'s'"


def test_a_name_is_printable_whatever_bytes_it_has():
    for name in ("a\nb", os.fsdecode(b"a\xffb"), "x" * 5000, "\x1b[31m"):
        shown = printable(name)
        shown.encode()
        assert shown.isprintable()
        assert len(shown) <= 210
