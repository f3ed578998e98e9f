"""The whole way on small simulated data, through the command line as a person would."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.compose import compose
from pipeline.config.live import full_keys
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Recording
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.live.run import run as run_live
from pipeline.results.rows import sigmoid
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.serving.stream import Stream
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from pipeline.stages.record import export_recipe
from pipeline.work import files, runner
from tests.conftest import EVENTS, SMALL, command_line, make_config

pytestmark = pytest.mark.slow


def places(folder: Path) -> tuple[str, str]:
    return f"data_dir={folder / 'data'}", f"output_dir={folder / 'outputs'}"


def command(
    folder: Path, *overrides: str, flags: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    return command_line(folder, *flags, *places(folder), *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run from nothing to a submission, recorded by MLflow."""
    folder = tmp_path_factory.mktemp("run")
    uri = f"sqlite:///{folder / 'runs.db'}"
    simulated = ["dataset=simulated", *[o for o in SMALL if "tracking" not in o]]
    overrides = [*simulated, f"tracking.uri={uri}"]
    done = subprocess.run(  # the one whole run as a process of its own
        [sys.executable, "-m", "pipeline", *places(folder), *overrides],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, overrides, done, uri


def test_the_last_line_is_the_path_of_a_checked_submission(finished):
    folder, overrides, done, _ = finished
    path = Path(done.stdout.splitlines()[-1])
    assert path.exists()
    assert path.name == "submission_simulated.csv"
    assert "pooled" in done.stdout
    said: list[str] = []
    run(make_config(folder, *overrides, "stage=check", f"submission={path}"), say=said.append)
    assert "every rule kept" in "\n".join(said)
    frame = pd.read_csv(path)
    broken = folder / "broken.csv"
    frame.iloc[::-1].to_csv(broken, index=False)
    checked = command(folder, *overrides, "stage=check", f"submission={broken}")
    assert checked.returncode == 2
    assert re.fullmatch(r"error: .*broken.csv: line 2: id .* is out of order.*\n", checked.stderr)


def replay_arguments(line: str) -> list[str]:
    """Give the arguments that shell and make make of `make replay DATASET=... ARGS=...`."""
    words = dict(word.split("=", 1) for word in shlex.split(line)[2:])
    given = shlex.split(words["ARGS"].replace("$$", "$"))
    return ["stage=replay", f"dataset={words['DATASET']}", *given]


def test_the_end_names_the_model_and_a_replay_that_works(finished):
    folder, _, done, uri = finished
    model, watch = done.stdout.splitlines()[-3:-1]
    assert re.fullmatch(r"fitted model: models:/m-\w+", model)
    named, line = watch.split(": ", 1)
    assert (named, line.split()[:2]) == ("watch it detect", ["make", "replay"])
    options = [*replay_arguments(line), "speed=max"]
    assert {"subject=1", "series=3", f"tracking.uri={uri}"} <= set(options)
    assert f"data_dir={folder / 'data'}" in options
    assert not [each for each in options if each.startswith(("filter", "model.", "train", "work"))]
    summary = run_live(compose(full_keys(options)))
    assert summary is not None
    assert summary.samples > 1000


def test_every_test_row_is_predicted_in_numeric_order(finished):
    _, _, done, _ = finished
    ids = pd.read_csv(done.stdout.splitlines()[-1])["id"]
    keys = [tuple(map(int, re.findall(r"\d+", each))) for each in ids]
    assert keys == sorted(keys)
    assert {key[:2] for key in keys} == {(1, 3), (2, 3)}
    for subject in (1, 2):
        rows = [key[2] for key in keys if key[0] == subject]
        assert rows == list(range(len(rows)))


def test_a_second_run_does_no_stage_again_and_says_so(finished):
    folder, overrides, done, _ = finished
    again = command(folder, *overrides)
    assert again.returncode == 0, again.stderr
    stages = ("simulate", "ingest", "filter", "train", "evaluate", "final", "submit")
    for stage in stages:
        assert re.search(rf"^{stage} +up to date", again.stdout, re.M), stage
    assert again.stdout.splitlines()[-3:] == done.stdout.splitlines()[-3:]


def test_everything_of_a_simulated_run_says_so(finished):
    folder, _, done, _ = finished
    results = Path(done.stdout.splitlines()[-1]).parent
    files = sorted(p.name for p in results.iterdir() if p.suffix in {".csv", ".png", ".html"})
    assert files == [
        "auc_simulated.csv", "evoked_simulated.png", "learning_simulated.png",
        "probabilities_simulated.png", "reliability_simulated.png", "report_simulated.html",
        "roc_simulated.png", "subjects_simulated.png", "submission_simulated.csv",
    ]  # fmt: skip
    assert "simulated" in str(results)
    assert not [p for p in folder.rglob(".*") if "writing" in p.name or ".part" in p.name]


def test_mlflow_has_a_parent_and_a_child_for_each_training(finished):
    import mlflow

    _, _, done, uri = finished
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("simulated")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r not in parents]
    assert len(parents) == 1  # a run that had nothing to do leaves no second one
    parent = parents[0]
    assert "simulated" in parent.info.run_name
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert {c.data.tags["job"] for c in children} == {
        f"subj{s}_{kind}" for s in (1, 2) for kind in ("validate", "final")
    }
    assert parent.data.params["model.hidden"] == "6"
    assert parent.data.params["filter.lowpass_hz"] == "[1.0, 5.0]"
    auc = pd.read_csv(Path(done.stdout.splitlines()[-1]).parent / "auc_simulated.csv", index_col=0)
    assert parent.data.metrics["auc_mean"] == pytest.approx(auc.loc["pooled", "mean"])
    for event in EVENTS:
        assert parent.data.metrics[f"auc_{event}"] == pytest.approx(auc.loc["pooled", event])
    child = next(c for c in children if c.data.tags["job"] == "subj1_validate")
    steps = client.get_metric_history(child.info.run_id, "valid_auc_LiftOff")
    assert [m.step for m in steps] == [1, 2]
    assert "| pooled " in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["resumable"] == "false"
    for stage in ("simulate", "ingest", "filter", "train", "evaluate", "final", "submit"):
        assert parent.data.metrics[f"seconds_{stage}"] > 0
    used = parent.inputs.dataset_inputs[0].dataset
    assert (used.name, len(used.digest)) == ("simulated", 12)
    assert '"num_series": 6' in used.profile
    kept = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "roc_simulated.png", "report_simulated.html"} <= kept
    assert "submission_simulated.csv" in kept
    assert parent.data.tags["model"].startswith("models:/")


def test_the_submission_is_what_a_stream_of_raw_samples_gives(finished, tmp_path):
    """From the raw file, chunk by chunk, with every state carried, to the submitted numbers."""
    folder, _, done, _ = finished
    context = Context(make_config(folder, "dataset=simulated", *SMALL))
    recording = Recording.load(context.ingest_folder.path, 2, 3, context.about)
    export_recipe(context, find(context), tmp_path / "recipe")
    stream = Stream(FittedRecipe.load(tmp_path / "recipe"), 2)
    pieces = np.array_split(np.asarray(recording.signal), [1, 500, 501, 4242])
    got = np.concatenate([stream.push(piece) for piece in pieces])
    frame = pd.read_csv(done.stdout.splitlines()[-1]).set_index("id")
    sent = frame.loc[[f"subj2_series3_{i}" for i in range(len(got))]].to_numpy()
    np.testing.assert_allclose(got, sent, rtol=0, atol=1e-6)


def test_fitting_never_reads_held_out_labels_or_scales(small_config):
    """Spoil the validation and test series' features: scalers and weights stay the same."""
    config = small_config("train.epochs=1")
    quiet = lambda line: None  # noqa: E731
    run(config, say=quiet)
    context = Context(config)
    before = LstmDetector.load(context.train_folder.path / "subj1_validate_model.pt")
    for series in (2, 3):
        path = context.feature_folder.path / f"subj1_series{series}_features.npy"
        name = f"subj1_series{series}{'_unlabelled' if series == 3 else ''}"
        manifest = context.feature_folder.path / f"{name}.json"
        np.save(path, np.load(path) * 7 + 100)
        known = json.loads(manifest.read_text(encoding="utf-8"))
        from pipeline.work.files import content

        stat = path.stat()
        known["outputs"][path.name] = [stat.st_size, stat.st_mtime_ns, content(path)]
        manifest.write_text(json.dumps(known), encoding="utf-8")
    run(config, say=quiet)
    after = LstmDetector.load(context.train_folder.path / "subj1_validate_model.pt")
    for a, b in zip(before.scalers[1], after.scalers[1], strict=True):
        np.testing.assert_array_equal(a, b)
    for key, weight in before.network.state_dict().items():
        np.testing.assert_array_equal(weight, after.network.state_dict()[key])


def test_a_to_b_to_a_trains_twice_only(small_config):
    def stages(*more):
        said = []
        run(small_config("stage=evaluate", *more), say=said.append)
        return [line.split()[0] for line in said if " done" in line]

    assert stages() == ["simulate", "ingest", "filter", "train", "evaluate", "evoked", "report"]
    assert stages("model.hidden=5") == ["train", "evaluate", "report"]
    assert stages() == []
    assert stages("filter.lowpass_hz=[2]") == ["filter", "train", "evaluate", "report"]
    assert stages("filter.lowpass_hz=[1,5]", "model.hidden=5") == []


def test_simulated_series_may_change_their_split_and_change_it_back(small_config):
    def stages(valid, test):
        said = []
        splits = (f"dataset.valid_series=[{valid}]", f"dataset.test_series=[{test}]")
        more = ("dataset.simulation.series=4", "stage=ingest")
        run(small_config(*splits, *more), say=said.append)
        return [line.split()[0] for line in said if " done" in line]

    assert stages(3, 4) == ["simulate", "ingest"]
    assert stages(4, 3) == ["simulate", "ingest"]
    assert stages(3, 4) == []


def flip(path: Path) -> None:
    """Change a bit in the middle of a file; its size and time stay."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_bit_that_flips_in_any_derived_file_is_mended_by_the_next_command(small_config):
    config = small_config("experiment=fbl_lda", "decisions.enabled=false")
    path = run(config, say=lambda line: None).submission
    derived = Path(config.data_dir) / "derived"
    read = {
        file: file.read_bytes()
        for file in sorted(derived.rglob("*"))
        if file.is_file()
        and file.suffix not in (".json", ".png", ".html")
        and not file.name.endswith("_history.csv")  # it says how long the fit took
    }
    submission = path.read_bytes()
    assert {file.suffix for file in read} >= {".csv", ".npy", ".pt"}
    for file in (*read, path):
        flip(file)
    runner._made.clear()  # as a new process, which remembers nothing
    files._content.cache_clear()
    run(config, say=lambda line: None)
    assert path.read_bytes() == submission
    for file, before in read.items():
        assert file.read_bytes() == before, file


def test_one_model_for_all_subjects(small_config):
    result = run(small_config("train.scope=global"), say=lambda line: None)
    rows = ["pooled", "subj1", "subj2", "subject_mean", "pooled_low", "pooled_high"]
    assert list(result.auc.index) == rows


def test_logits_become_probabilities():
    np.testing.assert_allclose(sigmoid(np.array([0.0, 800.0, -800.0])), [0.5, 1.0, 0.0])


@pytest.mark.parametrize("stage", ["simulate", "ingest", "filter", "train", "evaluate"])
def test_stages_can_be_asked_for_one_by_one(finished, stage):
    folder, overrides, _, _ = finished
    told: list[str] = []
    run(make_config(folder, *overrides, f"stage={stage}"), say=told.append)
    stages = [line.split()[0] for line in told if line.strip()]
    assert stage in stages
    assert "submit" not in stages


def test_mistakes_end_in_one_line_and_status_2(finished):
    tracked = ("tracking.enabled=true", "tracking.uri=file:///x", "seed=1")  # nothing is fresh
    for overrides, message in (
        (["dataset=kaggle"], r"error: .*data/raw: holds no subj.*make data.*"),
        (["dataset=simulated", "train.epochs=0"], r"error: train.epochs=0: must be 1 or more"),
        (
            ["dataset=simulated", *SMALL, "output_dir=/proc/no"],
            r"error: output_dir=/proc/no: cannot be written.*",
        ),
        (
            ["dataset=simulated", *SMALL, *tracked],
            r"error: tracking.uri=file:///x: MLflow cannot record there.*",
        ),
    ):
        done = command(finished[0], *overrides)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert re.fullmatch(message, done.stderr.strip().splitlines()[-1]), done.stderr


def test_the_configuration_can_be_shown_and_swept(tmp_path):
    shown = command(tmp_path, "dataset=simulated", flags=("--cfg", "job"))
    assert shown.returncode == 0
    assert "hidden:" in shown.stdout
    small = [o for o in SMALL if not o.startswith("model.hidden")]
    swept = command(
        tmp_path, "dataset=simulated", *small, "model.hidden=3,4", "stage=train",
        f"hydra.sweep.dir={tmp_path / 'sweeps'}", flags=("-m",),
    )  # fmt: skip
    assert swept.returncode == 0, swept.stderr
    assert len(list((tmp_path / "data" / "derived" / "simulated").glob("train-*"))) == 2


def test_a_typo_names_the_key(tmp_path):
    done = command(tmp_path, "dataset=simulated", "model.hiden=3")
    assert done.returncode != 0
    assert "hiden" in done.stderr
    assert "Traceback" not in done.stderr
