"""The house's rules: who may import whom, and how large a file, a class or a function may be."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.config.paths import PROJECT
from pipeline.work.keys import _imported

PACKAGE = PROJECT / "pipeline"
# A file imports from its own folder or from earlier in this line, never from later.
ORDER = (
    "errors", "data", "config", "work", "features", "results", "tracking", "detectors", "serving",
    "stages", "live", "studies", "bench", "__main__",
)  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))
FILE_LINES, CLASS_LINES, FUNCTION_LINES = 450, 250, 80
WHY_LONG = "This file is long because"  # in the docstring of one that is


def floor(parts: Sequence[str]) -> str:
    """The folder of a module, or the module itself at the top."""
    return parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The folders of this package that a file imports from, also for type checkers alone."""
    package = ".".join(("pipeline", *file.relative_to(PACKAGE).parts[:-1]))
    names = [
        name.split(".") for name in _imported(ast.parse(file.read_text(encoding="utf-8")), package)
    ]
    return {floor(name[1:]) for name in names if name[0] == "pipeline" and len(name) > 1}


def test_every_folder_has_its_place_in_the_order():
    there = {floor(file.relative_to(PACKAGE).parts) for file in FILES} - {"__init__"}
    assert there == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_from_earlier_folders_only(file):
    own = floor(file.relative_to(PACKAGE).parts)
    if own == "__init__":
        assert imports(file) == set()
        return
    later = set(ORDER[ORDER.index(own) + 1 :])
    assert not imports(file) & later


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_class_or_function_is_too_long(file):
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    if WHY_LONG not in (ast.get_docstring(tree) or ""):
        assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            most = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
            assert lines <= most, f"{node.name}: {lines} lines"


def test_options_know_neither_hydra_nor_torch():
    for file in (PACKAGE / "config").glob("*.py"):
        if file.name != "compose.py":
            tops = {
                name.split(".")[0]
                for name in _imported(ast.parse(file.read_text(encoding="utf-8")), "")
            }
            assert not tops & {"hydra", "torch", "mne"}, file.name


def test_serving_brings_in_neither_hydra_nor_the_training_code():
    for file in (PACKAGE / "serving").glob("*.py"):
        names = set(_imported(ast.parse(file.read_text(encoding="utf-8")), "pipeline.serving"))
        assert not any(name.startswith(("hydra", "omegaconf")) for name in names), file.name
        assert not any(name.startswith("pipeline.stages") for name in names), file.name
        assert "pipeline.detectors.lstm.training" not in names, file.name


def private(node: ast.AST) -> str:
    """The private part of a dotted name that comes from another package; empty if there is none."""
    if isinstance(node, ast.ImportFrom) and not node.level:
        parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        if parts[0] != "pipeline":
            return next((p for p in parts if p.startswith("_") and not p.endswith("__")), "")
    return ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_private_name_of_another_package_is_imported_without_a_reason(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if private(node):
            said = "\n".join(lines[max(0, node.lineno - 3) : node.end_lineno])
            assert "# private:" in said, f"{file.name}:{node.lineno}: say why, after '# private:'"


def without_encoding(node: ast.AST) -> bool:
    """Tell whether a call reads or writes text in the encoding that this machine happens to use."""
    if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
        return False
    if isinstance(node.func, ast.Attribute):
        place = {"read_text": 0, "write_text": 1}.get(node.func.attr)  # the encoding's
        return place is not None and len(node.args) <= place
    mode = node.args[1] if len(node.args) > 1 else ast.Constant("r")
    binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
    return isinstance(node.func, ast.Name) and node.func.id == "open" and not binary


TESTED = [*FILES, *sorted((PROJECT / "tests").rglob("*.py"))]


@pytest.mark.parametrize("file", TESTED, ids=lambda file: str(file.relative_to(PROJECT)))
def test_text_files_are_read_and_written_in_an_encoding_that_is_named(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if without_encoding(node)]
