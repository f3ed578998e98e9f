"""The chaos bench itself, with a small program in the pipeline's place: it sees what is lost."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pipeline.bench import chaos
from pipeline.bench.audit import verdict
from pipeline.bench.chaos_faults import Bench, Row, UnableError, flip, halve
from pipeline.bench.chaos_runs import Command, Place, Whole, durations, wait_for

STAGES = ("simulate", "train", "submit")


def program(leaves: str = "", runs: int = 1) -> None:
    """Write a submission in three stages, and record a run, as the pipeline does."""
    given = dict(each.split("=", 1) for each in sys.argv[1:])
    data, outputs = Path(given["data_dir"]), Path(given["output_dir"])
    data.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        hidden = data / f".{stage}"
        hidden.write_text("", encoding="utf-8")
        time.sleep(0.02)
        hidden.rename(data / stage)
        print(f"{stage:<9}1 done in 0.0 s")
    (outputs / "a" / "b").mkdir(parents=True, exist_ok=True)
    (outputs / "a" / "b" / "submission_x.csv").write_bytes(b"rows")
    if leaves:
        (data / leaves).touch()
    store = given["tracking.uri"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(store)) as connection, connection:
        for table in (
            "runs (run_uuid, status)",
            "tags (key, value, run_uuid)",
            "logged_models (a)",
        ):
            connection.execute(f"DROP TABLE IF EXISTS {table.split()[0]}")
            connection.execute(f"CREATE TABLE {table}")
        for number in range(runs):
            connection.execute("INSERT INTO runs VALUES (?, 'FINISHED')", (str(number),))
        connection.execute("INSERT INTO logged_models VALUES (1)")


@pytest.fixture
def bench(tmp_path):
    place = Place(tmp_path / "whole", main=program)
    place.base.mkdir()
    seconds = durations(place.start())
    assert list(seconds) == [*STAGES, "recording"]
    whole = Whole(place.submissions()[0].read_bytes(), place.files(), seconds)
    assert place.faults(whole) == []
    return Bench(tmp_path, 0, whole, lambda count: None, program)


def test_kills_land_in_all_stages_and_nothing_is_lost(bench):
    (row,) = chaos.kills(bench, 12)
    assert row.faults == []
    assert row.done.startswith("12 SIGKILLs")
    counts = [int(each.split()[-1]) for each in row.happened.split(": ")[1].split(", ")]
    assert (len(counts), sum(counts)) == (4, 12)
    assert max(counts) < 12


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda: program(leaves=".left.lock"), "left behind: data/.left.lock"),
        (lambda: program(runs=2), "runs: ['FINISHED', 'FINISHED']"),
        (lambda: (program(), sys.exit(2)), "the last command failed"),
    ],
)
def test_what_is_lost_is_told(bench, fault, told):
    bench.main = fault
    (row,) = chaos.kills(bench, 1)
    assert any(told in each for each in row.faults)
    assert "LOST" in row.line()


def test_other_bytes_and_missing_files_are_told(bench):
    place = bench.place("other")
    place.finish()
    place.submissions()[0].write_bytes(b"others")
    (place.files_folder / "data" / "train").unlink()
    (place.base / ".runs.db.lock").touch()
    found = place.faults(bench.whole)
    assert "another submission" in found
    assert "other bytes: outputs/a/b/submission_x.csv" in found
    assert "missing: data/train" in found
    assert "left beside the store: .runs.db.lock" in found


def test_a_kill_ends_the_whole_group(tmp_path):
    def parent() -> None:
        if os.fork() == 0:
            time.sleep(60)
        print(f"{'simulate':<9}1 done in 0.0 s")
        time.sleep(60)

    command = Command([], tmp_path / "log", main=parent)
    assert chaos.kill_within(command, 1, 0.01) == "simulate"
    assert command.status == -9

    def gone() -> bool:
        try:
            os.killpg(command.pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(gone)
    assert chaos.kill_within(Command([], tmp_path / "ended", main=lambda: None), 0, 60) is None


@pytest.mark.parametrize(
    ("said", "status", "wrong"),
    [("error: disk full: x", 2, 0), ("error: disk full: x", 0, 1), ("Traceback", 1, 1),
     ("error: a\nerror: b", 2, 1), ("error: other", 2, 1)],
)  # fmt: skip
def test_a_failure_must_be_one_line(tmp_path, said, status, wrong):
    def fail() -> None:
        print(said, file=sys.stderr)
        sys.exit(status)

    command = Command([], tmp_path / "log", main=fail)
    command.wait()
    assert len(command.not_one_line("disk full")) == wrong


def test_damage(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(100)))
    before = file.stat()
    flip(file, np.random.default_rng(0))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert sum(a != b for a, b in zip(file.read_bytes(), range(100), strict=True)) == 1
    halve(file, np.random.default_rng(0))
    assert file.stat().st_size == 50


def test_a_row_is_one_line_of_the_table():
    assert Row("a | b", "c", "d\ne", []).line() == "| a / b | c | green: d e |"
    assert Row("a", "b", "why", [], True).line() == "| a | b | skipped: why |"
    assert Row("a", "b", "c", ["x", "x"]).line() == "| a | b | LOST: c; x |"


def test_what_is_impossible_here_is_a_row_with_the_reason(tmp_path, monkeypatch):
    def unable(bench: Bench) -> list[Row]:
        raise UnableError("only root can do that")

    whole = Whole(b"", {}, {})
    monkeypatch.setattr(chaos, "undisturbed", lambda place: whole)
    monkeypatch.setitem(chaos.FAULTS, "full_disk", (unable, 1))
    monkeypatch.setitem(chaos.FAULTS, "clock", (lambda bench: [][0], 1))
    ((_, (row,)), (_, (other,))) = chaos.inject(tmp_path, ["full_disk", "clock"], 0, 0)
    assert row.skipped
    assert "only root can do that" in row.line()
    assert "LOST: ; cannot be looked at: IndexError" in other.line()


def test_a_table_says_what_is_not_in_it(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- kills:begin -->\n<!-- kills:end -->\n<!-- faults:begin -->\n<!-- faults:end -->\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(chaos, "DOC", page)
    rows = {"worker": [Row("a", "b", "c", [])]}
    chaos.write_tables(rows, ["worker"], "today")  # some were not chosen
    assert "green" not in page.read_text(encoding="utf-8")
    chaos.write_tables(rows, [*chaos.FAULTS], "today")
    text = page.read_text(encoding="utf-8")
    assert "| a | b | green: c |\n\ntoday; not injected: full disk, large file, " in text


@pytest.mark.parametrize("argument", ["kills=many", "only=fire", "x"])
def test_a_wrong_argument_is_one_line(argument, capsys):
    assert chaos.main([argument]) == 2
    assert f"error: {argument}: give kills=N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("report", "status", "line"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "1 packages looked"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": '
         '[{"id": "CVE-1", "fix_versions": ["2"]}]}]}', 1, "a 1: CVE-1, mended in 2"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 2,
         "not audited: PyPI says nothing of 1 packages (a)"),
        ("", 2, "not audited: PyPI cannot be asked (no route)"),
    ],
)  # fmt: skip
def test_an_audit_that_could_not_ask_is_not_a_good_one(report, status, line):
    got, lines = verdict(report, "Traceback\nno route\n")
    assert got == status
    assert line in "\n".join(lines)
