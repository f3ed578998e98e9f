"""Some seconds of ``make fuzz``; and the fuzzer itself finds what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.bench import fuzz
from pipeline.data import csv_table
from pipeline.errors import DataError


def test_five_hundred_cases_end_in_the_right_recording_or_one_line():
    outcome = fuzz.fuzz(range(500), seed=2)
    assert outcome.faults == []
    assert outcome.read > 50
    assert outcome.refused > 50


def test_a_case_depends_on_its_seed_and_number_alone(tmp_path):
    blobs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fuzz.make_case(np.random.default_rng([0, 7]), tmp_path / name)
        blobs.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert blobs[0] == blobs[1]


def lax(*args):
    raise RuntimeError("a fault of the program")


def other_numbers(text, first, name, columns):
    rows = text.count(b"\n", first)
    return np.zeros((rows, columns), np.int16)


def many_lines(*args):
    raise DataError("two\nlines")


@pytest.mark.parametrize("broken", [lax, other_numbers, many_lines])
def test_the_fuzzer_notices_a_broken_reader(monkeypatch, broken):
    monkeypatch.setattr(csv_table, "read_whole_numbers", broken)
    assert fuzz.fuzz(range(60), seed=0).faults


def test_the_command_repeats_a_case_and_says_how_many_were_wrong(monkeypatch, capsys):
    assert fuzz.main(["case=3"]) == 0
    assert "1 cases (seed 0)" in capsys.readouterr().out
    monkeypatch.setattr(csv_table, "read_whole_numbers", lax)
    assert fuzz.main(["cases=30", "seed=1"]) == 1
    said = capsys.readouterr().out
    assert "WRONG: case" in said
    assert "repeat: make fuzz" in said
    assert fuzz.main(["cases=many"]) == 2
    assert "give cases=N" in capsys.readouterr().err
