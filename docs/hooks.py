"""Build the site out of the repository's own files: MkDocs calls these functions (``mkdocs.yml``).

The pages keep the places that they have in the repository, so one link serves both on the site and
where the repository is looked at. The notebooks become pages with the outputs that they are kept
with; nothing is executed. Every folder of ``pipeline`` gets a page made from its docstrings.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

PROJECT = Path(__file__).resolve().parent.parent
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff")
API = "api"  # where the pages made from docstrings are put
ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*"""
)
FENCE = re.compile(r"^```(\w+) ([\w./-]+)(?: \+(\w+))?$", re.MULTILINE)  # with a file's name
UNREAD = re.compile(r"^.*(?:<p>|<li>)[^<]*```.*$", re.MULTILINE)
MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)


class Notebook(File):
    """A notebook that is shown as a page, and found by links to its own name."""

    def is_documentation_page(self) -> bool:
        """Say yes: MkDocs asks for the name's ending otherwise."""
        return True


def folders() -> list[str]:
    """Name the folders of the package, in alphabetical order."""
    return sorted(path.parent.name for path in (PROJECT / "pipeline").glob("*/__init__.py"))


def api_pages() -> dict[str, str]:
    """Give the Markdown of each page made from docstrings, by its name without the ending."""
    top = "".join(
        f"::: pipeline.{path.stem}\n\n"
        for path in sorted((PROJECT / "pipeline").glob("*.py"))
        if path.stem != "__init__"
    )
    pages = {"pipeline": f"# pipeline\n\n{top}"}
    for name in folders():
        pages[f"pipeline.{name}"] = f"# pipeline.{name}\n\n::: pipeline.{name}\n"
    return pages


def with_mathml(text: str) -> str:
    """Turn TeX between dollar signs into MathML, which browsers draw without a library."""

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[1] else "inline"
        return convert(match[1] or match[2], display=display)

    return MATH.sub(formula, text)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Turn a notebook into Markdown.

    Parameters
    ----------
    path : Path
        The notebook, with its outputs.

    Returns
    -------
    str
        The page.
    dict of str to bytes
        Its pictures, by their names.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
    resources = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    return text, resources["outputs"]


def on_config(config: MkDocsConfig) -> None:
    """Add the pages made from docstrings to the navigation."""
    assert config.nav is not None
    config.nav.append({"Reference": [{name: f"{API}/{name}.md"} for name in api_pages()]})


@event_priority(100)  # before the plugins, which are to see the same files
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Collect the site's files under the names that they have in the repository."""
    place = (config.site_dir, config.use_directory_urls)
    found = []
    for file in files:
        inside = file.src_dir is not None and Path(file.src_dir) == PROJECT / "docs"
        found.append(File(f"docs/{file.src_uri}", PROJECT, *place) if inside else file)
    found += [File(name, PROJECT, *place) for name in BESIDE]
    for name, text in api_pages().items():
        found.append(File.generated(config, f"{API}/{name}.md", content=text))
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(path)
        page = Notebook(f"notebooks/{path.name}", None, *place)
        page.content_string = text
        found.append(page)
        for name, picture in pictures.items():
            found.append(File.generated(config, f"notebooks/{name}", content=picture))
    return Files(found)


def with_titles(markdown: str) -> str:
    """Turn the file's name behind a code block's language into the block's title.

    MkDocs would take such a block for text; code hosts show it as it is.
    """

    def fence(match: re.Match[str]) -> str:
        language, name, within = match.groups()
        return f'```{language} title="{name}{f", in {within}" if within else ""}"'

    return FENCE.sub(fence, markdown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give the code blocks of a page their titles."""
    return with_titles(markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would load something from another server, or has a block left unread."""
    if found := ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri}: loads from another server: {found[0]}")
    if found := UNREAD.search(output):
        raise PluginError(f"{page.file.src_uri}: a code block is shown as text: {found[0][:80]}")
    return output
