"""The README's map and commands match what is there."""

from __future__ import annotations

import re

from pipeline.config.paths import CONF, PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def test_the_map_names_every_module_and_nothing_else():
    mapped = set(re.findall(r"^\| `pipeline/(\w+\.py)`", README, re.MULTILINE))
    there = {path.name for path in (PROJECT / "pipeline").glob("*.py")} - {"__init__.py"}
    assert mapped == there


def test_every_module_has_a_test_file():
    tests = {path.stem.removeprefix("test_") for path in (PROJECT / "tests").glob("test_*.py")}
    covered_elsewhere = {
        "__init__", "__main__", "errors", "stages", "recording", "detector", "streaming",
        "served_model",
    }  # by test_end_to_end, test_ingest and test_causality  # fmt: skip
    modules = {path.stem for path in (PROJECT / "pipeline").glob("*.py")}
    assert modules - tests == covered_elsewhere


def test_every_make_target_that_is_named_exists_and_every_target_is_explained():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert targets == explained
    named = set(re.findall(r"`make ([a-z-]+)", README)) | set(
        re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE)
    )
    assert named <= targets


def test_keys_that_the_readme_sets_exist():
    text = "\n".join(path.read_text() for path in CONF.rglob("*.yaml"))
    # Hydra's, MLflow's, the study's
    elsewhere = {"key", "FILE", "launcher", "n_jobs", "params", "trials", "study"}
    for key in re.findall(r"([a-z_]+)=[\w\[{]", README):
        assert re.search(rf"^\s*(- )?{key}:", text, re.MULTILINE) or key in elsewhere, key
