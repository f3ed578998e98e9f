"""Write the generated parts of the README and of ``docs/design.md``.

``python -m pipeline.bench.front_page`` copies the figures of ``docs/benchmark.md`` into the table
of methods in the README, best first; a recipe's file says in its first line what it is. It also
draws the map of the package's files in ``docs/design.md``: each line of the map is the first
sentence of a docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pipeline.bench.document import write_between
from pipeline.config.paths import CONF, PROJECT

README = PROJECT / "README.md"
BENCHMARK = PROJECT / "docs" / "benchmark.md"
DESIGN = PROJECT / "docs" / "design.md"
PACKAGE = PROJECT / "pipeline"
EXPERIMENTS = CONF / "experiment"
HEAD = (
    "| recipe | what it is | AUC | 95 % interval | minutes to fit |\n"
    "|---|---|--:|--:|--:|\n"
)  # fmt: skip
# The folders in the order in which they may import one another (docs/design.md).
ORDER = (
    "data", "config", "work", "features", "results", "tracking", "detectors", "serving", "stages",
    "live", "studies", "bench",
)  # fmt: skip


def between(text: str, marker: str) -> str:
    """Give the text between two markers of a document.

    Raises
    ------
    ValueError
        If the markers are missing.
    """
    found = re.search(rf"<!-- {marker}:begin -->\n(.*)<!-- {marker}:end -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no markers {marker}:begin and {marker}:end")
    return found[1]


def table_rows(text: str) -> list[list[str]]:
    """Give the cells of a Markdown table, row by row, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def figures(benchmark: str) -> dict[str, tuple[str, str, str]]:
    """Read the full-size benchmark: AUC, its interval and the minutes, by the recipe's name."""
    full = between(benchmark, "benchmark-full")
    heads = [cell.strip() for cell in full.splitlines()[0].strip("|").split("|")]
    columns = [heads.index(head) for head in ("mean", "95 % over trials", "fit, minutes")]
    rows = {}
    for row in table_rows(full):
        auc, interval, minutes = (row[column] for column in columns)
        rows[row[0]] = auc, interval, minutes
    return rows


def description(recipe: str) -> str:
    """Say what a recipe is: the first line of its file, below Hydra's own."""
    line = (EXPERIMENTS / f"{recipe}.yaml").read_text(encoding="utf-8").splitlines()[1]
    words = line.removeprefix("# ").removesuffix(".")
    return words[0].lower() + words[1:] if words[1].islower() or words[1] == " " else words


def methods_table(benchmark: str) -> str:
    """Make the README's table of methods.

    Parameters
    ----------
    benchmark : str
        The document with the figures.

    Returns
    -------
    str
        The best method first; methods with equal AUC ordered by their minutes.
    """
    measured = figures(benchmark)
    best_first = sorted(measured.items(), key=lambda item: (-float(item[1][0]), float(item[1][2])))
    lines = [
        f"| `{name}` | {description(name)} | {auc} | {interval} | {minutes} |\n"
        for name, (auc, interval, minutes) in best_first
    ]
    return HEAD + "".join(lines)


def write_methods() -> None:
    """Write the README's table of methods."""
    write_between(README, "methods", methods_table(BENCHMARK.read_text(encoding="utf-8")))


def first_line(path: Path) -> str:
    """Give the first sentence of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).removesuffix(".")


def file_map(package: Path = PACKAGE) -> str:
    """Draw the package's folders, in the order of their imports, and their files.

    Parameters
    ----------
    package : Path
        The package's folder.

    Returns
    -------
    str
        A Markdown table, a line for each folder and each file.
    """
    folders = sorted(path.parent for path in package.rglob("__init__.py") if path.parent != package)

    def place(folder: Path) -> tuple[int, str]:
        top = folder.relative_to(package).parts[0]
        return (ORDER.index(top) if top in ORDER else len(ORDER)), folder.as_posix()

    lines = ["| file | what it does |\n", "|---|---|\n"]
    for folder in (package, *sorted(folders, key=place)):
        name = folder.relative_to(package.parent).as_posix()
        lines.append(f"| **`{name}/`** | **{first_line(folder / '__init__.py')}** |\n")
        lines += [
            f"| `{name}/{path.name}` | {first_line(path)} |\n"
            for path in sorted(folder.glob("*.py"))
            if path.name != "__init__.py"
        ]
    return "".join(lines)


def main() -> None:
    """Write both."""
    write_methods()
    write_between(DESIGN, "map", file_map())


if __name__ == "__main__":
    main()
