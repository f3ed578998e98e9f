"""Nothing after ingestion knows the competition's channels, events, rate or name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.paths import PROJECT

pytestmark = pytest.mark.slow

FOLDERS = ("features", "results", "tracking", "detectors", "serving", "stages")
# The submission, and what makes the raw files.
ASIDE = ("results/submission.py", "stages/submit.py", "stages/simulate.py")
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((PROJECT / "pipeline" / folder).rglob("*.py"))
    if path.relative_to(PROJECT / "pipeline").as_posix() not in ASIDE
]


def numbers(node: ast.AST) -> Iterator[int | float]:
    """Every number of a tree, but for places in slices, digits of rounding and pictures' inches."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Slice):
            continue
        if isinstance(child, ast.Call) and ast.unparse(child.func) in ("round", "np.round"):
            yield from numbers(child.args[0])
            continue
        if isinstance(child, ast.keyword) and child.arg == "figsize":
            continue
        if isinstance(child, ast.Constant) and type(child.value) in (int, float):
            yield child.value
        yield from numbers(child)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_number_or_name_of_the_competition(file: Path):
    text = file.read_text(encoding="utf-8")
    assert "Kaggle" not in text
    assert not {32, 6, 500} & set(numbers(ast.parse(text)))


def test_it_would_be_found():
    assert set(numbers(ast.parse("a = zeros((rows, 32))\nrate = 500.0\nb[:6]\nround(x, 6)"))) == {
        32, 500.0,
    }  # fmt: skip
