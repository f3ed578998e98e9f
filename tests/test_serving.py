"""A recipe as MLflow loads and serves it equals the pipeline bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.bench.chaos_runs import free_port
from pipeline.data.recording import Recording
from pipeline.errors import PipelineError
from pipeline.serving.fitted_recipe import FittedRecipe
from pipeline.stages.context import Context
from pipeline.stages.flow import find, run
from pipeline.tracking.models import CARD, choose_champion
from tests.conftest import LIMIT, SMALL, answers, make_config, store_in, submitted, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, empty_store):
    """A small command that was recorded, its model registered: context, submission and store."""
    folder = tmp_path_factory.mktemp("recorded")
    uri = store_in(folder, empty_store)
    more = ("tracking.enabled=true", f"tracking.uri={uri}", "tracking.register=grasp")
    context = Context(make_config(folder, "dataset=simulated", *SMALL, *more))
    return context, run(context.config, say=lambda line: None).submission, uri


def elsewhere(uri: str) -> dict[str, str]:
    """The environment of a process that knows nothing of this project but where runs are."""
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"  # as make serve has it
    known = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return {**known, "PATH": path, "MLFLOW_TRACKING_URI": uri}


LOAD = """
import sys, mlflow, pandas as pd
import numpy as np
model = mlflow.pyfunc.load_model("models:/grasp@champion")
import pipeline
assert "artifacts" in pipeline.__file__ or "models" in pipeline.__file__, pipeline.__file__
frame = pd.read_csv(sys.argv[1]).drop(columns="id")
got = model.predict(frame[frame.columns[::-1]], params={"subject": 2})
assert list(got.columns)[0] == "HandStart"
np.save("frame.npy", got.to_numpy())
kind = [(name, "int64") for name in frame.columns]
names = np.ascontiguousarray(frame.to_numpy()).view(kind)[:, 0]
np.save("named.npy", model.predict(names, params={"subject": 2}).to_numpy())
for kind in ("int64", "int16", "float32", "float64", "object"):
    one = model.predict(frame.astype(kind), params={"subject": 2}).to_numpy()
    np.save(f"{kind}.npy", one)
half = model.predict(frame + 0.7, params={"subject": 2}).to_numpy()
assert (half != got.to_numpy()).any()
plain = model.unwrap_python_model().predict(None, frame.to_numpy(), {"subject": 2})
np.save("plain.npy", plain.to_numpy())
"""


def test_a_new_process_elsewhere_loads_it_by_alias(recorded, tmp_path):
    context, path, uri = recorded
    (raw,) = [r for r in find(context) if (r.subject, r.series) == (2, 3)]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(raw.data.path)],
        cwd=tmp_path, env=elsewhere(uri), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = submitted(path, raw.name)
    kinds = ("int64", "int16", "float32", "float64", "object")
    for kind in ("frame", "named", "plain", *kinds):
        np.testing.assert_array_equal(np.load(tmp_path / f"{kind}.npy"), expected)


def test_it_holds_no_pickle_and_says_what_goes_in_and_out(recorded):
    context, _, uri = recorded
    client = mlflow.MlflowClient(uri)
    (found,) = client.search_model_versions("name='grasp'")
    run_id = client.get_run(found.run_id).info.run_id
    assert "mlflow.parentRunId" not in client.get_run(run_id).data.tags
    mlflow.set_tracking_uri(uri)
    folder = Path(mlflow.artifacts.download_artifacts("models:/grasp@champion"))
    assert not list(folder.rglob("*.pkl"))
    signature = mlflow.models.get_model_info("models:/grasp@champion").signature
    assert signature.inputs.input_names() == list(context.about.channels)
    assert signature.outputs.input_names() == list(context.about.events)
    assert signature.params.params[0].name == "subject"
    needed = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert "torch==" in needed
    assert "pytest" not in needed


def test_it_lies_in_its_run_s_experiment_beside_the_store_with_a_card(recorded):
    _, _, uri = recorded
    client = mlflow.MlflowClient(uri)
    version = client.get_model_version_by_alias("grasp", "champion")
    run = client.get_run(version.run_id)
    model = client.get_logged_model(run.data.tags["model"].removeprefix("models:/"))
    beside = Path(uri.removeprefix("sqlite:///")).with_name("mlruns")
    assert model.experiment_id == run.info.experiment_id
    assert model.experiment_id == client.get_experiment_by_name("simulated").experiment_id
    assert model.source_run_id == run.info.run_id
    assert Path(model.artifact_location.removeprefix("file://")).is_relative_to(beside)
    assert "auc_mean" in {metric.key for metric in model.metrics}
    card = (Path(model.artifact_location.removeprefix("file://")) / CARD).read_text(
        encoding="utf-8"
    )
    assert version.description == card
    for part in (
        "`simulated`, **simulated** recordings", "Scored on series 2 after fitting on series 1.",
        f"| mean | {run.data.metrics['auc_mean']:.4f} | ", "it has learned from a simulator",
        f'load_model("{run.data.tags["model"]}")', "Fp1, Fp2, F7",
    ):  # fmt: skip
        assert part in card, part


def test_the_champion_is_the_better_one(recorded):
    _, _, uri = recorded
    client = mlflow.MlflowClient(uri)
    first = client.get_model_version_by_alias("grasp", "champion")
    before = first.version
    for better, expected in ((-0.2, "before"), (0.2, "new")):
        auc = client.get_run(first.run_id).data.metrics["auc_mean"] + better
        other = client.create_run(client.get_run(first.run_id).info.experiment_id)
        client.log_metric(other.info.run_id, "auc_mean", auc)
        version = client.create_model_version("grasp", first.source, other.info.run_id)
        choose_champion(client, "grasp", version.version, other.info.run_id)
        best = client.get_model_version_by_alias("grasp", "champion")
        assert best.version == {"before": before, "new": version.version}[expected]
    client.set_registered_model_alias("grasp", "champion", before)


@pytest.mark.parametrize("kind", ["alias", "version", "run", "model"])
def test_a_fitted_recipe_is_taken_from_a_run_or_the_registry(recorded, kind):
    context, path, uri = recorded
    version = mlflow.MlflowClient(uri).get_model_version_by_alias("grasp", "champion")
    address = {
        "alias": "models:/grasp@champion", "version": f"models:/grasp/{version.version}",
        "run": f"runs:/{version.run_id}/model",
        "model": mlflow.MlflowClient(uri).get_run(version.run_id).data.tags["model"],
    }[kind]  # fmt: skip
    recipe = FittedRecipe.load_logged(address, uri)
    recording = Recording.load(context.ingest_folder.path, 2, 3, context.about)
    got = recipe.predict(np.asarray(recording.signal), 2)
    np.testing.assert_array_equal(got, submitted(path, recording.name))


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("models:/nobody@champion", "nobody"), ("models:/grasp@nobody", "nobody"),
        ("models:/grasp/99", "99"), ("runs:/0123456789abcdef/model", "0123456789abcdef"),
        ("grasp", "name one as models:/NAME@champion"),
    ],
)  # fmt: skip
def test_an_unknown_model_is_told_in_one_line(recorded, address, what):
    with pytest.raises(PipelineError, match=what) as refused:
        FittedRecipe.load_logged(address, recorded[2])
    told = str(refused.value)
    assert told.startswith(f"model={address}: ")
    assert "\n" not in told
    assert "models:/NAME@champion" in told


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(PipelineError, match="there is no store of runs"):
        FittedRecipe.load_logged("models:/grasp@champion", f"sqlite:///{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())


def with_data(body: dict, lines: list) -> dict:
    return {**body, "dataframe_split": {**body["dataframe_split"], "data": lines}}


def exported(uri: str) -> Path:
    """The recipe's folder in the model that was logged."""
    mlflow.set_tracking_uri(uri)
    return Path(mlflow.artifacts.download_artifacts("models:/grasp@champion")) / "artifacts/recipe"


def ask(port: int, body: dict) -> tuple[int, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_served_over_http_it_answers_with_the_submission_s_rows(recorded, tmp_path):
    context, path, uri = recorded
    (raw,) = [r for r in find(context) if (r.subject, r.series) == (1, 3)]
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/grasp@champion",
        "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    log = open(tmp_path / "log", "w", encoding="utf-8")  # noqa: SIM115
    server = subprocess.Popen(
        command, cwd=tmp_path, env=elsewhere(uri), stdout=log, stderr=log, start_new_session=True
    )
    try:
        said = tmp_path / "log"
        there = f"http://127.0.0.1:{port}/ping"
        wait_until(lambda: answers(there), server, lambda: said.read_text("utf-8"))
        table = pd.read_csv(raw.data.path).drop(columns="id")
        body = {"dataframe_split": table.to_dict(orient="split"), "params": {"subject": 1}}
        status, text = ask(port, body)
        assert status == 200, text
        got = pd.DataFrame(json.loads(text)["predictions"]).to_numpy(np.float32)
        np.testing.assert_array_equal(got, submitted(path, raw.name))
        lines = body["dataframe_split"]["data"]
        real = [[cell + 0.7 for cell in line] for line in lines]
        status, text = ask(port, with_data(body, real))
        assert status == 200, text
        fractions = pd.DataFrame(json.loads(text)["predictions"]).to_numpy(np.float32)
        (own,) = (r for r in [FittedRecipe.load(exported(uri))])
        np.testing.assert_array_equal(fractions, own.predict(np.array(real), 1))
        assert (fractions != got).any()
        for cell, expected in (
            (None, "is not a finite number"), (float("nan"), "is not a finite number"),
            (float("inf"), "inf is not a finite number"), (10**400, "inf is not a finite number"),
            (1e300, "1e+300 is too large for a sample of EEG"),
            ("12,7", "'12,7' is not a finite number"),
        ):  # fmt: skip
            wrong = [list(line) for line in lines]
            wrong[5][3] = cell
            status, text = ask(port, with_data(body, wrong))
            assert status == 400, text
            assert "row 5, channel F3: " in text
            assert expected in text
        status, text = ask(port, {**body, "params": {"subject": 9}})
        assert status == 400
        assert "none that was learned from; choose from 1, 2" in text
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
        log.close()
