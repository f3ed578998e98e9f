"""The documents agree with the code and with one another: links, tables, map, commands, keys."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from pipeline.bench import front_page
from pipeline.bench.methods import COMPARED
from pipeline.config.paths import CONF, PROJECT

pytestmark = pytest.mark.slow

MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PAGES = sorted(
    [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")],
    key=lambda path: path.relative_to(PROJECT).as_posix(),
)
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
READ = [page for page in PAGES if page.name not in ("CHANGELOG.md", "CONTRIBUTING.md")] + NOTEBOOKS
NAMES = [path.relative_to(PROJECT).as_posix() for path in PAGES]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
MARKERS = re.compile(r"<!-- ([\w-]+):(begin|end) -->")


def anchors(text: str) -> set[str]:
    """Give what a link may name behind its ``#``, as code hosts and the site make it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    bare = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s", "-", heading) for heading in bare}


def links(text: str) -> list[str]:
    """Give the links to other files and headings of the project, pictures included."""
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def broken(page: Path) -> list[str]:
    """Give a page's links that lead nowhere."""
    wrong = []
    for link in links(page.read_text(encoding="utf-8")):
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        inside = not anchor or anchor in anchors(target.read_text(encoding="utf-8"))
        if not target.is_file() or not inside:
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page):
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A head\n[a](page.md#a-head) [b](page.md#no) [c](none.md) [d](https://x.y)\n",
        encoding="utf-8",
    )
    (tmp_path / "none.md").write_text("", encoding="utf-8")
    assert broken(page) == ["page.md#no"]
    (tmp_path / "none.md").unlink()
    assert broken(page) == ["page.md#no", "none.md"]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_make_target_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^    )make\s+([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= TARGETS


def test_every_target_is_explained_and_none_is_taken_for_a_file():
    assert set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)) == TARGETS
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == TARGETS


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_key_that_a_page_sets_exists(page):
    text = page.read_text(encoding="utf-8")
    outside = r"<!-- [\w-]+:begin -->.*?<!-- [\w-]+:end -->|\]\([^)]*\)"
    text = re.sub(outside, "", text, flags=re.DOTALL)
    text = re.sub(r"^```python.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    options = "\n".join(path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    # Hydra's, MLflow's, the study's and the benchmarks'
    elsewhere = {
        "key",
        "launcher",
        "n_jobs",
        "params",
        "trials",
        "study",
        "recipes",
        "minutes",
        "parts",
        "folder",
        "weights_only",
    }
    for key in re.findall(r"(?<![\w-])(?:[a-z_]+[./])*([a-z_]+)=[\w\[{.]", text):
        assert re.search(rf"^\s*(- )?{key}:", options, re.MULTILINE) or key in elsewhere, key


def prose(page: Path) -> str:
    """Give the text of a page, or of a notebook without its outputs."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_every_file_of_the_package_that_a_page_names_exists(page):
    """The changelog also names those of earlier versions, and the guide those that it adds."""
    named = re.findall(r"\b(?:pipeline|conf|docs|tests|notebooks)/[\w./-]*\w", prose(page))
    made = {"conf/experiment/tuned.yaml"}  # by a study
    assert [name for name in {*named} - made if not (PROJECT / name).exists()] == []
    for module in re.findall(r"\bpipeline((?:\.[a-z_]+)+)", prose(page)):
        first, *rest = module.strip(".").split(".")
        place = PROJECT / "pipeline" / first
        assert place.exists() or place.with_suffix(".py").exists(), module
        for part in rest:
            if not place.is_dir():
                break
            place /= part
            assert place.exists() or place.with_suffix(".py").exists(), module


OWN = [*READ, PROJECT / "Makefile", *CONF.rglob("*.yaml"), *(PROJECT / "pipeline").rglob("*.py")]


def test_a_file_of_conf_experiment_is_called_a_recipe_everywhere():
    other = re.compile("preset", re.IGNORECASE)
    assert [page for page in OWN if other.search(page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_recipe_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    recipes = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    assert set(re.findall(r"RECIPE=(\w+)", text)) <= recipes | {"tuned"}  # a study writes that one


def test_the_readme_table_has_the_benchmark_s_figures():
    benchmark = front_page.BENCHMARK.read_text(encoding="utf-8")
    written = front_page.HEAD + "".join(
        line + "\n" for line in front_page.between(README, "methods").splitlines()[2:]
    )
    assert written == front_page.methods_table(benchmark)
    measured = front_page.figures(benchmark)
    assert len(measured) > 5
    for name, (auc, _, minutes) in measured.items():
        assert re.search(rf"^\| `{name}` .*\| {auc} .*\| {minutes} \|$", README, re.MULTILINE)


@pytest.mark.parametrize("recipe", COMPARED)
def test_a_recipe_s_file_says_first_what_it_is(recipe):
    lines = (CONF / "experiment" / f"{recipe}.yaml").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"# [A-Z`].{20,95}\.", lines[1]), lines[1]
    assert "|" not in front_page.description(recipe)


def test_the_benchmark_says_of_every_recipe_what_it_is():
    recipes = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    described = front_page.BENCHMARK.read_text(encoding="utf-8").split("<!--")[0]
    assert recipes <= set(re.findall(r"`(\w+)`", described))


def test_the_map_names_every_folder_and_file_with_its_docstring():
    design = front_page.DESIGN.read_text(encoding="utf-8")
    assert front_page.between(design, "map") == front_page.file_map(), "run `make front-page`"


def test_the_map_is_made_from_the_tree(tmp_path):
    package = tmp_path / "pipeline"
    for folder in ("work", "data", "unknown", "detectors/lstm"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text(f'"""Folder {folder}."""\n', encoding="utf-8")
    (package / "detectors" / "__init__.py").write_text('"""Detectors."""\n', encoding="utf-8")
    (package / "__init__.py").write_text('"""All."""\n', encoding="utf-8")
    (package / "data" / "new.py").write_text('"""A new\nfile.\n\nMore."""\n', encoding="utf-8")
    names = re.findall(r"`(pipeline/[\w/.]*)`", front_page.file_map(package))
    assert names == [
        "pipeline/", "pipeline/data/", "pipeline/data/new.py", "pipeline/work/",
        "pipeline/detectors/", "pipeline/detectors/lstm/", "pipeline/unknown/",
    ]  # fmt: skip
    assert "| A new file |" in front_page.file_map(package)


def test_the_site_s_navigation_names_every_page_and_nothing_else():
    plain = re.sub(r"!!python/\S+", "", (PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))
    nav = yaml.safe_load(plain)["nav"]
    named = re.findall(r"[\w./-]+\.(?:md|ipynb)", str(nav))
    notebooks = [f"notebooks/{path.name}" for path in (PROJECT / "notebooks").glob("*.ipynb")]
    assert sorted(named) == sorted([*NAMES, *notebooks])


def ragged(text: str) -> list[str]:
    """Give the rows of tables that have more or fewer cells than their table's rule."""
    wrong = []
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL) + "\n"
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = table.splitlines()
        cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
        wrong += [row for row, count in zip(rows, cells, strict=True) if count != cells[1]]
    return wrong


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page):
    assert ragged(prose(page)) == []


def test_a_bar_within_a_cell_is_found_unless_it_is_escaped():
    table = "| a | b |\n|---|--:|\n| {} | 1 |\n"
    assert ragged(table.format("|x|")) == ["| |x| | 1 |"]
    assert ragged(table.format(r"\|x\|")) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_markers_come_in_pairs(page):
    found = MARKERS.findall(page.read_text(encoding="utf-8"))
    begun = [name for name, side in found if side == "begin"]
    assert found == [(name, side) for name in begun for side in ("begin", "end")]


def test_the_pictures_of_the_front_page_are_small():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((PROJECT / picture).stat().st_size < 150_000 for picture in pictures)


def test_licence_citation_changelog_and_package_agree():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == project["license"] == "BSD-3-Clause"
    assert citation["version"] == project["version"]
    assert citation["title"] == project["name"]
    assert (PROJECT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")
    changes = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[([^\]]+)\]", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"]


def test_every_extra_package_is_pinned_alike_in_the_constraints():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    held = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in lines}
    for extra in project["optional-dependencies"].values():
        for wanted in extra:
            name, version = re.sub(r"\[.*\]", "", wanted).split("==")
            assert held.get(name.lower()) == version, wanted


def test_the_command_is_the_module():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["grasp-and-lift"].split(":")
    command = importlib.metadata.EntryPoint("c", f"{module}:{function}", "console_scripts").load()
    from pipeline.__main__ import main

    assert command is main


def test_docker_copies_what_its_first_steps_need():
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = next(line for line in lines if line.startswith("COPY pyproject")).split()[1:-1]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"pyproject.toml", "constraints.txt", "Makefile", project["readme"]}
    assert wanted | set(project["license-files"]) <= set(copied)
    made = next(line for line in lines if line.startswith("RUN make")).split()[2:]
    assert made == re.findall(r"^INSTALLED(?:_DEV)? := \$\(VENV\)(\S+)", MAKEFILE, re.M) or all(
        f"$(VENV){target.removeprefix('.venv')}" in MAKEFILE for target in made
    )
