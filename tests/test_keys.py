"""A result's key follows from the code that makes it: nobody keeps a list."""

from __future__ import annotations

import ast
import importlib
import shutil

import pytest

from pipeline.data.sources import SOURCES
from pipeline.detectors.registry import METHODS
from pipeline.features.registry import FEATURES
from pipeline.stages import decide
from pipeline.work import keys, tasks
from pipeline.work.keys import code_key, reached, source_file
from pipeline.work.tasks import Folder, Task

STAGES = ("simulate", "members", "train", "evaluate", "decide", "report", "submit", "predictions")
ROOTS: dict[str, tuple[str, ...]] = {s: (f"pipeline.stages.{s}",) for s in STAGES}
ROOTS |= {"ingest": ("pipeline.stages.ingest", SOURCES["kaggle"])}
ROOTS |= {"features": ("pipeline.stages.features", FEATURES["bank"][0])}
ROOTS |= {
    f"train {kind}": ("pipeline.stages.train", entry.module) for kind, entry in METHODS.items()
}


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package's source that a test may change, and no memory of the old one."""

    def forget(*modules: str) -> None:
        for module in modules or list(keys._code):
            keys._code.pop(module, None)
        keys.code_key.cache_clear()

    shutil.copytree(keys.ROOT, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "ROOT", tmp_path / "pipeline")
    forget()
    yield forget
    forget()


@pytest.mark.parametrize("work", ROOTS)
def test_a_line_in_any_module_that_a_stage_reaches_gives_a_new_key(work, copied):
    roots = ROOTS[work]
    before, modules = code_key(*roots), reached(roots)[0]
    assert set(roots) < set(modules)
    for module in modules:
        file = source_file(module)
        text = file.read_text(encoding="utf-8")
        file.write_text(f"{text}\nADDED = 1\n", encoding="utf-8")
        copied(module)
        assert code_key(*roots) != before, module
        file.write_text(text, encoding="utf-8")
        copied(module)
    assert code_key(*roots) == before


@pytest.mark.parametrize(
    ("stage", "module", "old", "new"),
    [
        ("submit", "pipeline.stages.submit", "sigmoid(hold(", "sigmoid(2 * hold("),
        ("evaluate", "pipeline.results.uncertainty", "share: float = 0.95", "share: float = 0.9"),
        ("train gru", "pipeline.detectors.dropout", "1 / (1 - self.p)", "1.0"),
        ("features", "pipeline.features.filter_bank", "POWER_FLOOR = 1.0", "POWER_FLOOR = 2.0"),
    ],
)
def test_changes_that_once_changed_no_key_do_now(stage, module, old, new, copied):
    before, file = code_key(*ROOTS[stage]), source_file(module)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    copied()
    assert code_key(*ROOTS[stage]) != before


def test_a_task_s_key_holds_its_own_work_whatever_its_folder_names(copied, tmp_path):
    """The onsets lie in the folder of the results: a change in how they are chosen counts."""
    task = Task(Folder(tmp_path, "any", None, ()), "decide", (), (), decide.work)
    before, file = task.key, source_file("pipeline.results.decision_scores")
    file.write_text(f"{file.read_text(encoding='utf-8')}\nADDED = 1\n", encoding="utf-8")
    copied("pipeline.results.decision_scores")
    assert task.key != before


def test_files_that_were_digested_in_another_way_are_made_anew(tmp_path, monkeypatch):
    """Their digests would differ, as if the files were damaged."""
    task = Task(Folder(tmp_path, "any", None, ()), "simulate", (), (), decide.work)
    before = task.key
    monkeypatch.setattr(tasks, "DIGEST", "xxh64")
    assert task.key != before


def test_comments_docstrings_and_layout_change_no_key(copied):
    before, file = code_key(*ROOTS["ingest"]), source_file("pipeline.data.recording")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bare = ast.unparse(tree).replace(ast.get_docstring(tree), "Other words.")
    file.write_text(f"# A comment.\n{bare}\n\n\n# Another.\n", encoding="utf-8")
    copied()
    assert code_key(*ROOTS["ingest"]) == before


@pytest.mark.parametrize(
    ("work", "package"),
    [
        ("features", "pyriemann"), ("features", "mne"), ("train lda", "sklearn"),
        ("train semi_markov", "sklearn"), ("train lstm", "torch"), ("submit", "pyarrow"),
        ("evaluate", "sklearn"), ("simulate", "scipy"),
    ],
)  # fmt: skip
def test_a_new_version_of_an_outside_package_gives_a_new_key(work, package, monkeypatch):
    before = code_key(*ROOTS[work])
    real = keys.version
    monkeypatch.setattr(keys, "version", lambda name: "0" if name == package else real(name))
    keys.code_key.cache_clear()
    assert code_key(*ROOTS[work]) != before
    keys.code_key.cache_clear()


# Methods that apply others.
MADE_OF = {
    "train hybrid": {
        "pipeline.detectors.lstm.detector", "pipeline.detectors.lstm.correction",
        "pipeline.detectors.semi_markov.detector",
    },
    "train lstm_correction": {"pipeline.detectors.lstm.detector"},
}  # fmt: skip


def test_what_a_stage_reaches_leaves_out_what_it_does_not_need():
    """Else a change in a picture would fit all models anew."""
    for work, roots in ROOTS.items():
        found = set(reached(roots)[0])
        assert "pipeline.stages.flow" not in found, work
        assert "pipeline.stages.context" not in found, work
        assert not any(module.startswith("pipeline.tracking") for module in found), work
        if work.startswith("train"):
            assert "pipeline.results.figures" not in found, work
            others = {entry.module for entry in METHODS.values()} - set(roots)
            assert others & found == MADE_OF.get(work, set()), work


@pytest.mark.parametrize("work", ROOTS)
def test_every_module_that_is_imported_while_a_stage_loads_is_reached(work):
    """The imports that are read from the source are those that Python makes."""
    for root in ROOTS[work]:
        module = importlib.import_module(root)
        for value in vars(module).values():
            origin = getattr(value, "__module__", None) or ""
            if origin.startswith("pipeline.") and callable(value):
                assert origin in reached(ROOTS[work])[0]
