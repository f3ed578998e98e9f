"""``make data`` without credentials says exactly what to do."""

from __future__ import annotations

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
