"""The commands that compare methods: their arguments, table, picture and runs."""

from __future__ import annotations

import re
import sys

import mlflow
import pytest

from pipeline.bench import methods
from pipeline.bench.arguments import chosen_recipes, is_documents_own, run_command
from pipeline.bench.methods import COMPARED
from pipeline.config.paths import CONF
from tests.conftest import EVENTS, SMALL_COMMON, command_line, composed

pytestmark = pytest.mark.slow


def test_recipes_are_chosen_by_name_and_all_else_goes_to_hydra():
    given = ["recipes=lstm,fbl_lr", "seed=3", "model.hidden=8", "method.updates=2"]
    chosen = chosen_recipes(given, COMPARED, COMPARED)
    assert chosen == (["lstm", "fbl_lr"], given[1:])
    assert chosen_recipes([], ("lstm",), COMPARED) == (["lstm"], [])


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("recipes=lstn", "recipes=lstn: choose from fbl_lda, "),
        ("experiment=lstm", "experiment=lstm: the benchmark sets it; recipes=a,b names recipes"),
        ("stage=filter", "stage=filter: the benchmark sets it"),
        ("nonsense", "nonsense: cannot be read; give KEY=VALUE"),
        ("model.hiden=8", "Key 'hiden' not in 'Model'; did you mean hidden?"),
        ("method.update=8", "method.update=8: no method has such an option"),
        ("train.epochs=0", "train.epochs=0"),
        ("seed=x", "seed"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_work(argument, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", argument])
    with pytest.raises(SystemExit) as ended:
        run_command(lambda arguments: chosen_recipes(arguments, ("lstm", "fbl_lda"), COMPARED))
    line = str(ended.value)
    assert line.startswith("error: ")
    assert said in line
    assert "\n" not in line


def test_documents_show_what_is_measured_with_the_recipes_own_options_alone():
    assert is_documents_own(["data_dir=/x", "workers=1", "tracking.enabled=false"])
    assert not is_documents_own(["workers=1", "dataset.simulation.subjects=2"])
    assert not is_documents_own(["seed=1"])


def test_every_compared_recipe_exists():
    assert all((CONF / "experiment" / f"{recipe}.yaml").exists() for recipe in COMPARED)


def test_the_memory_is_that_of_a_process_of_its_own_and_its_error_ends_the_command(capfd):
    assert 0.02 < methods.measure(["--cfg", "job"]) < 2
    with pytest.raises(SystemExit) as ended:
        methods.measure(["modle.hidden=3"])
    assert ended.value.code == 2
    assert "modle" in capfd.readouterr().err


def line(recipe: str, auc: str) -> str:
    """A line of the table as it is written."""
    cells = [recipe, *[auc] * 7, "0.2 to 0.4", auc, "9.0", "1,000", "1.0", "2026-01-02"]
    return f"| {' | '.join(cells)} |\n"


@pytest.mark.parametrize(
    ("data", "subjects", "shown"),
    [("simulated", 12, True), ("simulated", 4, False), ("kaggle", 12, False)],
)
def test_documents_show_simulated_recordings_at_full_size(data, subjects, shown):
    assert methods.is_shown(composed(f"dataset={data}"), subjects) == shown


def test_the_table_has_a_line_and_mlflow_a_run_per_recipe(
    recipes_folder, tmp_path, uri, monkeypatch
):
    document = tmp_path / "benchmark.md"
    document.write_text(
        "before\n<!-- benchmark-full:begin -->\n"
        f"| | {' | '.join(EVENTS)} | mean | and so on |\n|---|\n"
        f"{line('fbl_lda', '0.1')}{line('stack', '0.3')}"
        "\n2026-01-01\n<!-- benchmark-full:end -->\nafter\n",
        encoding="utf-8",
    )
    filled = []
    monkeypatch.setattr(methods, "MOST_SUBJECTS", 2)  # as if these two were all
    monkeypatch.setattr(methods.front_page, "write_methods", lambda: filled.append(True))
    monkeypatch.setattr(methods, "DOC", document)
    monkeypatch.setattr(methods, "PICTURE", tmp_path / "benchmark.png")
    monkeypatch.chdir(tmp_path)

    def here(overrides: list[str]) -> float:
        assert command_line(tmp_path, *overrides).returncode == 0
        return 0.5

    monkeypatch.setattr(methods, "measure", here)
    methods.main(
        [
            "recipes=fbl_lda,fbl_lr", *SMALL_COMMON, "tracking.enabled=true",
            f"tracking.uri={uri}", f"data_dir={recipes_folder / 'data'}",
            f"output_dir={recipes_folder / 'outputs'}",
        ]
    )  # fmt: skip
    text = document.read_text(encoding="utf-8")
    assert all(f"\n| {recipe} " in text for recipe in ("fbl_lda", "fbl_lr"))
    order = re.findall(r"^\| (\w+) ", text, re.M)
    assert order == ["fbl_lda", "fbl_lr", "stack"]  # which was not run, and keeps its line
    assert line("fbl_lda", "0.1") not in text
    assert line("stack", "0.3") in text
    assert "2026-01-01" not in text
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    assert filled
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("simulated").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    parent = runs["bench-simulated"].info.run_id
    for recipe in ("fbl_lda", "fbl_lr"):
        child = runs[f"{recipe} bench-simulated"]
        assert child.data.tags["mlflow.parentRunId"] == parent
        assert 0 <= child.data.metrics["auc_mean"] <= 1
        assert child.info.status == "FINISHED"
