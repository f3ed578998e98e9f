"""``make data`` without credentials says exactly what to do."""

from __future__ import annotations

import io
import subprocess
import zipfile

import pytest

from pipeline.data import download


@pytest.fixture
def no_kaggle(monkeypatch):
    monkeypatch.setattr(download.shutil, "which", lambda name, path: "/bin/kaggle")

    def refuse(*args, **more):
        return subprocess.CompletedProcess(args, 1, "", "\nCould not find kaggle.json\n  a hint\n")

    monkeypatch.setattr(download.subprocess, "run", refuse)


def test_without_credentials_it_says_what_to_do(no_kaggle, tmp_path, capsys):
    assert download.main([str(tmp_path / "raw")]) == 2
    said = capsys.readouterr().err
    assert "Could not find kaggle.json" in said
    for word in ("API token", "access_token", "train.zip", str(tmp_path / "raw")):
        assert word in said


def test_data_that_is_there_is_left_alone(tmp_path, capsys):
    (tmp_path / "train.zip").write_bytes(b"x")
    assert download.main([str(tmp_path)]) == 0
    assert "already" in capsys.readouterr().out


def test_the_outer_zip_is_unpacked_and_the_inner_ones_stay(tmp_path):
    outer = tmp_path / "all.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("train.zip", b"inner")
    download.unpack_outer(outer, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["train.zip"]


@pytest.fixture
def kaggle_gives(monkeypatch):
    """Make the download end in these bytes."""

    def give(folder, blob):
        def download_all(*args, **more):
            (folder / f"{download.COMPETITION}.zip").write_bytes(blob)
            return subprocess.CompletedProcess(args, 0, "", "")

        monkeypatch.setattr(download.shutil, "which", lambda name, path: "/bin/kaggle")
        monkeypatch.setattr(download.subprocess, "run", download_all)

    return give


def outer_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_download_is_unpacked_and_found_there_the_next_time(kaggle_gives, tmp_path, capsys):
    folder = tmp_path / "raw"
    kaggle_gives(folder, outer_zip({"train.zip": b"a", "../../test.zip": b"b"}))
    assert download.main([str(folder)]) == 0
    assert download.main([str(folder)]) == 0
    assert "holds the data already" in capsys.readouterr().out
    assert not (tmp_path.parent / "test.zip").exists()  # no name leads out of the folder
    assert sorted(p.name for p in folder.iterdir()) == ["test.zip", "train.zip"]


@pytest.mark.parametrize("damage", ["no zip", "cut", "content"])
def test_a_corrupt_download_is_one_line_and_leaves_nothing_half_unpacked(
    kaggle_gives, tmp_path, capsys, damage
):
    blob = outer_zip({"sample.zip": b"s" * 50, "train.zip": bytes(range(256)) * 40})
    if damage == "no zip":
        blob = b"<html>"
    elif damage == "cut":
        blob = blob[:200]
    else:
        at = blob.rfind(b"PK\x01\x02", 0, blob.rfind(b"PK\x01\x02")) - 20
        blob = blob[:at] + bytes(x ^ 0xFF for x in blob[at : at + 10]) + blob[at + 10 :]
    kaggle_gives(tmp_path, blob)
    assert download.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert f"{download.COMPETITION}.zip" in said
    assert [p.name for p in tmp_path.iterdir()] == [f"{download.COMPETITION}.zip"]


def test_a_folder_that_cannot_be_made_is_one_line(kaggle_gives, tmp_path, capsys):
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    kaggle_gives(tmp_path, b"")
    assert download.main([str(tmp_path / "data" / "raw")]) == 2
    assert "cannot be made: " in capsys.readouterr().err


def test_data_behind_a_link_to_a_folder_is_data(tmp_path, capsys):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "subj1_series1_data.csv").write_bytes(b"x")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train").symlink_to(tmp_path / "real", target_is_directory=True)
    assert download.main([str(tmp_path / "raw")]) == 0
    assert "already" in capsys.readouterr().out
