"""What a result depends on: the code that made it, followed through its imports, and its options.

Nobody keeps a list. The code of a task is the module of its work function and every module of this
package that it imports, directly or through others, also within functions; and the versions of the
outside packages that any of them imports. Comments, docstrings and formatting do not count, nor do
imports for type checkers alone (``if TYPE_CHECKING:``).
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = "pipeline"
ROOT = Path(__file__).resolve().parent.parent


def digest(*parts: Any) -> str:
    """Digest anything that JSON can write; equal content gives equal text of 12 characters."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def source_file(module: str) -> Path | None:
    """Find the file of a module of this package; None for anything else, e.g. a function."""
    path = ROOT.joinpath(*module.split(".")[1:])
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def _is_for_types(node: ast.AST) -> bool:
    """Tell whether it is ``if TYPE_CHECKING:``."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _stripped(tree: ast.Module) -> ast.Module:
    """Remove docstrings, and what stands there for type checkers alone."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        kept = [statement for statement in body if not _is_for_types(statement)]
        documented = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        first = kept[0] if kept and documented else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            kept = kept[1:]
        node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Name all modules that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, *([base] if base else [])])
            yield base
            if base.split(".")[0] == PACKAGE:  # what is imported may be a module itself
                yield from (f"{base}.{alias.name}" for alias in node.names)


# By module: its code without comments, and what it imports. Each is read once in a process, so that
# an edit during a run does not change the run's keys.
_code: dict[str, tuple[str, frozenset[str]]] = {}


def _read(module: str) -> tuple[str, frozenset[str]]:
    if module not in _code:
        file = source_file(module)
        assert file is not None
        tree = _stripped(ast.parse(file.read_text(encoding="utf-8")))
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        _code[module] = ast.unparse(tree), frozenset(_imported(tree, package))
    return _code[module]


def reached(modules: Iterable[str]) -> tuple[list[str], list[str]]:
    """Follow imports.

    Parameters
    ----------
    modules : iterable of str
        Where to start, e.g. ``pipeline.stages.ingest``.

    Returns
    -------
    modules : list of str
        All modules of this package that are reached, sorted.
    packages : list of str
        The outside packages that they import, by their import names, sorted.
    """
    waiting, found, outside = list(modules), set(), set()
    while waiting:
        module = waiting.pop()
        if module in found or source_file(module) is None:
            continue
        found.add(module)
        for name in _read(module)[1]:
            top = name.split(".")[0]
            if top != PACKAGE:
                outside.add(top)
                continue
            # Importing a.b.c runs a/__init__.py and a/b/__init__.py, too.
            parts = name.split(".")
            waiting += [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return sorted(found), sorted(outside - sys.stdlib_module_names)


@lru_cache(maxsize=1)
def _installed() -> list[tuple[metadata.Distribution, str]]:
    """Give the installed distributions, each with the list of its files."""
    return [(each, f"\n{each.read_text('RECORD') or ''}") for each in metadata.distributions()]


def _distributions(package: str) -> set[str]:
    """Name the installed distributions whose files an import name stands for.

    `importlib.metadata.packages_distributions` does it for all names at once, and takes longer than
    all the rest here.
    """
    return {
        each.name
        for each, files in _installed()
        if f"\n{package}/" in files or f"\n{package}.py," in files
    }


@lru_cache(maxsize=256)
def version(package: str) -> str:
    """Give the version of the distribution that an import name comes from."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # it is named otherwise, as scikit-learn is
        names = sorted(_distributions(package))
        return " ".join(f"{name} {metadata.version(name)}" for name in names) or "not installed"


@lru_cache(maxsize=256)
def code_key(*modules: str) -> str:
    """Digest the code of modules and of all that they import, with outside packages' versions.

    Parameters
    ----------
    modules : str
        E.g. the work function's ``__module__``.
    """
    found, outside = reached(modules)
    return digest({m: _read(m)[0] for m in found}, {p: version(p) for p in outside})
