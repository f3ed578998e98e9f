"""What the command line says of mistakes, and what it leaves where it is started."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pipeline.config.paths import CONF, PROJECT
from tests.conftest import command_line

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tmp_path):
    """Run the command line in an empty folder; without --config-path on the project's files."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        places = (f"data_dir={tmp_path / 'data'}", f"output_dir={tmp_path / 'outputs'}")
        (tmp_path / "shell").mkdir(exist_ok=True)
        return command_line(tmp_path / "shell", *arguments, *places)

    return run


def one_error(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("experiment=nope", ["experiment/nope", "fbl_lda, fbl_lr"]),
        ("dataset=nope", ["dataset/nope", "in 'dataset': bids, eegmmidb, kaggle, mne, simulated"]),
        ("model.hiden=3", ["model.hiden", "Key 'hiden' not in 'Model'", "did you mean hidden?"]),
        ("experiment=null", ["experiment=null", "conf/experiment"]),
        ("model.hidden=[1,2", ["error: model.hidden=[1,2: cannot be read; give KEY=VALUE"]),
        ("=3", ["error: =3: names no key; give KEY=VALUE"]),
    ],
)
def test_a_typo_is_one_line(command, flags, override, parts):
    said = one_error(command(*flags, "dataset=simulated", override))
    assert all(part in said for part in parts)


def test_a_value_that_is_missing_is_one_line(command):
    assert "missing mandatory value: name" in one_error(command("dataset=mne_options"))
    done = command("-m", "dataset=mne_options")
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "missing mandatory value: name; full_key: dataset.name" in line


def test_a_typo_in_what_is_swept_is_told_before_any_job_starts(command):
    said = one_error(command("-m", "dataset=simulated", "stage=filter", "experiment=lstm,nope"))
    assert "experiment/nope" in said


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_broken_file_is_named_with_its_line(command, tmp_path, flags):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    broken = conf / "model" / "lstm.yaml"
    broken.write_text("cell: fused\nhidden: [96\nlayers: 1\n", encoding="utf-8")
    said = one_error(command(*flags, "--config-path", str(conf), "dataset=simulated"))
    assert f"{broken}: line 3" in said
    broken.write_text("cell: fused\nhidden: many\n", encoding="utf-8")
    said = one_error(command(*flags, "--config-path", str(conf), "dataset=simulated"))
    assert "model/lstm" in said
    assert "many" in said


def test_nothing_is_left_in_the_shell_s_folder(command, tmp_path):
    done = command("dataset=kaggle", "stage=ingest")
    assert "data/raw" in one_error(done)
    done = command("-m", "dataset=kaggle", "stage=ingest", "seed=0,1")
    assert done.returncode == 2
    assert done.stderr.count("error: job ") == 2  # the first stops the second in no way
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "shell").iterdir())


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ("train DATASET=simulated", "hybrid"), ("train DATASET=kaggle", "hybrid"),
        ("train DATASET=mne", "lstm"), ("train DATASET=simulated RECIPE=fbl_lda", "fbl_lda"),
        ("train ARGS=dataset=mne", "lstm"), ("explain DATASET=simulated", "hybrid"),
        ("sweep DATASET=simulated", "lstm"),
    ],
)  # fmt: skip
def test_make_takes_the_recipe_that_suits_the_recordings(options, recipe):
    told = subprocess.run(
        ["make", "-n", *options.split()], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert f"experiment={recipe} " in told.stdout
