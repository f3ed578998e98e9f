"""A store of runs that is a file: what cannot be written, and what was moved."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from urllib.parse import unquote

import mlflow
import pytest

from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.tracking import store
from pipeline.tracking.experiments import find_experiment

pytestmark = pytest.mark.slow


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def project(tmp_path, empty_store):
    """A folder with a store, a run with a file, and a model with a file: client, run, model."""
    folder = tmp_path / "before"
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "mlflow.db")
    client = mlflow.MlflowClient(uri)
    experiment = find_experiment(client, uri, "a data set")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "as it was", "note.txt")
    model = client.create_logged_model(experiment, name="model", source_run_id=run).model_id
    (tmp_path / "card.md").write_text("a card", encoding="utf-8")
    client.log_model_artifact(model, str(tmp_path / "card.md"))
    mlflow.set_tracking_uri(uri)
    client.create_registered_model("name")
    client.create_model_version("name", f"models:/{model}", run, model_id=model)
    mlflow.set_tracking_uri(None)
    return folder, run, model


LOOK = """
import sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
run = client.get_run(sys.argv[2])
model = client.get_logged_model(sys.argv[3])
experiment = client.get_experiment(run.info.experiment_id)
print(run.info.artifact_uri, experiment.artifact_location, model.artifact_location, sep="\\n")
print([file.path for file in client.list_artifacts(sys.argv[2])])
print([file.path for file in client.list_logged_model_artifacts(sys.argv[3])])
"""


def assert_found(folder, run, model):
    """Look in a new process: MLflow's client remembers where a model's files were."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", LOOK, uri, run, model], capture_output=True, text=True, check=True
    )
    *places, files, model_files = done.stdout.splitlines()
    assert all(str(folder / "mlruns") in unquote(place) for place in places), places
    assert (files, model_files) == ("['note.txt']", "['card.md']")


def test_a_project_that_was_moved_finds_its_runs_and_models(project, tmp_path):
    folder, run, model = project
    new = tmp_path / "after it moved"  # with spaces, which an address writes otherwise
    folder.rename(new)
    uri = f"sqlite:///{new / 'mlflow.db'}"
    assert store.repair(uri) >= 3
    assert_found(new, run, model)
    assert store.repair(uri) == 0


def test_a_copy_of_a_project_has_its_own_files_and_the_command_says_what_it_did(project, tmp_path):
    folder, run, model = project
    shutil.copytree(folder, tmp_path / "copy")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.tracking.store",
         f"sqlite:///{tmp_path / 'copy' / 'mlflow.db'}"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "paths corrected" in done.stdout
    assert_found(tmp_path / "copy", run, model)
    assert_found(folder, run, model)


def test_files_that_lie_elsewhere_on_purpose_stay_there(uri, tmp_path, empty_store):
    shutil.copyfile(empty_store, tmp_path / "runs.db")
    client = mlflow.MlflowClient(uri)
    far = (tmp_path / "far" / "mlruns").as_uri()
    experiment = client.create_experiment("far", artifact_location=far)
    run = client.create_run(experiment).info.run_id
    (tmp_path / "mlruns").mkdir()
    assert store.repair(uri) == 0
    assert client.get_run(run).info.artifact_uri.startswith(far)


def test_a_store_is_made_whole_or_not_at_all(uri, tmp_path, monkeypatch):
    def die(address):
        sqlite3.connect(address.removeprefix("sqlite:///")).execute("CREATE TABLE runs (a)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "MlflowClient", die)
        with pytest.raises(KeyboardInterrupt):
            store.make(uri)
    (tmp_path / ".runs.db.0.new").write_text("left by one that was killed", encoding="utf-8")
    store.make(uri)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]
    assert mlflow.MlflowClient(uri).search_experiments()


def test_a_store_that_is_good_is_left_as_it_is(uri, tmp_path):
    store.check(uri)
    store.check("http://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


def test_a_store_that_another_program_holds_is_refused(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(tmp_path / "runs.db")
    other.execute("CREATE TABLE a (b)")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(PipelineError, match="another program holds the file locked"):
        store.check(uri)
    other.rollback()
    store.check(uri)


def test_a_file_that_is_no_store_is_refused(uri, tmp_path):
    (tmp_path / "runs.db").write_text("notes, and no database at all", encoding="utf-8")
    with pytest.raises(PipelineError, match="file is not a database"):
        store.check(uri)


@pytest.mark.parametrize(
    "uri",
    ["sqlite://", "sqlite:///", "sqlite:////", "sqlite:///:memory:", "sqlite:///a/"],
)
def test_an_address_that_names_no_file_is_refused(uri):
    with pytest.raises(PipelineError, match="it names no file"):
        store.check(uri)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody may write")
def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(PipelineError, match=r"tracking.uri=sqlite:////proc/runs.db: .*/proc: "):
        store.check("sqlite:////proc/runs.db")


def test_a_full_disk_is_refused(uri, tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PipelineError, match="No space left on device"):
        store.check(uri)
    assert not list(tmp_path.iterdir())


def test_the_reason_of_a_database_is_told_without_what_stands_before_it():
    said = "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name"
    before = "(raised as a result of Query-invoked autoflush; consider using a block)"
    assert store.reason(RuntimeError(f"{before}\n{said}\n[SQL: INSERT ...]")) == said
    assert store.reason(RuntimeError(f"{before} {said}")) == said
