"""The submission: written whole and checked, and every broken rule named."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.kaggle_files import row_ids
from pipeline.data.raw_files import RawFile
from pipeline.errors import DataError
from pipeline.results.submission import check_submission, expected_ids, write_submission
from tests.conftest import EVENTS

ROWS = {"subj1_series9": 30, "subj1_series10": 25, "subj2_series9": 11}


@pytest.fixture
def predictions(rng):
    return {name: rng.random((rows, 6)) for name, rows in ROWS.items()}


@pytest.fixture
def good(tmp_path, predictions):
    path = tmp_path / "submission.csv"
    assert write_submission(path, predictions, EVENTS) == 66
    return path


def sample(path: Path, order: list[str]) -> RawFile:
    ids = [f"{name}_{row}" for name in order for row in range(ROWS[name])]
    pd.DataFrame({"id": ids, **dict.fromkeys(EVENTS, 0)}).to_csv(path, index=False)
    return RawFile(path)


def test_a_good_one_passes_and_reads_back(good, predictions):
    assert check_submission(good, expected_ids(ROWS), EVENTS) == 66
    frame = pd.read_csv(good)
    assert list(frame.columns) == ["id", *EVENTS]
    assert frame["id"].tolist() == expected_ids(ROWS).to_pylist()
    np.testing.assert_allclose(
        frame[list(EVENTS)].to_numpy(), np.vstack(list(predictions.values())), rtol=1e-6
    )
    assert good.read_text(encoding="utf-8").startswith("id,HandStart,")
    packed = good.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(good.read_bytes()))
    assert check_submission(packed, expected_ids(ROWS), EVENTS) == 66


FAULTS = {
    "shuffled": (lambda f: f.sample(frac=1, random_state=0), "is out of order"),
    "missing": (lambda f: f.drop(index=40), r"'subj1_series10_10' is missing \(1 of 66\)"),
    "doubled": (lambda f: pd.concat([f, f.iloc[[7]]]), "line 68: id subj1_series9_7 .* twice"),
    "foreign": (
        lambda f: f.assign(id=f["id"].replace("subj1_series9_3", "subj9_series9_3")),
        "line 5: id 'subj9_series9_3' is not one of the test rows",
    ),
    "nan": (lambda f: f.assign(LiftOff=f["LiftOff"].where(f.index != 4)), "line 6, column LiftOff"),
    "1.2": (
        lambda f: f.assign(Replace=f["Replace"].where(f.index != 2, 1.2)),
        "line 4, column Replace: 1.2 is not a probability",
    ),
    "-0.1": (lambda f: f.assign(Replace=f["Replace"].where(f.index != 2, -0.1)), "-0.1 is not"),
    "header": (lambda f: f.rename(columns={"LiftOff": "Liftoff"}), "column LiftOff is missing"),
    "columns swapped": (lambda f: f[["id", *EVENTS[::-1]]], "line 1: column 2 is BothReleased"),
    "10 before 9": (
        lambda f: pd.concat([f.iloc[30:55], f.iloc[:30], f.iloc[55:]]),
        "line 2: id subj1_series10_0 is out of order; subj1_series9_0 is expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_broken_rule_is_named(good, fault):
    change, message = FAULTS[fault]
    change(pd.read_csv(good)).to_csv(good, index=False, na_rep="nan")
    with pytest.raises(DataError, match=message) as error:
        check_submission(good, expected_ids(ROWS), EVENTS)
    assert str(good) in str(error.value)


def test_the_sample_rules_the_order(tmp_path, predictions):
    order = ["subj2_series9", "subj1_series10", "subj1_series9"]
    path = tmp_path / "submission.csv"
    write_submission(path, predictions, EVENTS, sample(tmp_path / "sample_submission.csv", order))
    frame = pd.read_csv(path)
    assert frame["id"].tolist() == [f"{n}_{r}" for n in order for r in range(ROWS[n])]
    expected = np.vstack([predictions[n] for n in order])
    np.testing.assert_allclose(frame[list(EVENTS)].to_numpy(), expected, rtol=1e-6)


def test_a_sample_with_other_rows_is_refused_and_nothing_is_written(tmp_path, predictions):
    asked = sample(tmp_path / "sample_submission.csv", list(ROWS))
    path = tmp_path / "submission.csv"
    for fewer, message in (
        (
            {k: v for k, v in predictions.items() if k != "subj2_series9"},
            "'subj2_series9_0'",
        ),
        ({**predictions, "subj3_series9": np.zeros((2, 6))}, "lacks the row 'subj3_series9_0'"),
    ):
        with pytest.raises(DataError, match=message):
            write_submission(path, fewer, EVENTS, asked)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample_submission.csv"]


def test_values_that_are_no_probabilities_leave_no_file(tmp_path, predictions):
    predictions["subj1_series9"][3, 2] = 1.5
    with pytest.raises(DataError, match=r"1\.5 is not a probability"):
        write_submission(tmp_path / "submission.csv", predictions, EVENTS)
    assert not list(tmp_path.iterdir())


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(1, 12), st.integers(9, 10)), st.integers(1, 40),
                       min_size=1, max_size=5), st.integers(0, 99))  # fmt: skip
def test_what_is_written_is_what_was_predicted(tmp_path_factory, rows, seed):
    rng = np.random.default_rng(seed)
    given_ = {f"subj{s}_series{r}": rng.random((n, 6)) for (s, r), n in sorted(rows.items())}
    path = tmp_path_factory.mktemp("law") / "submission.csv"
    write_submission(path, given_, EVENTS)
    frame = pd.read_csv(path).set_index("id")
    for name, values in given_.items():
        ids = row_ids(name, len(values)).to_pylist()
        np.testing.assert_allclose(frame.loc[ids].to_numpy(), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1.0000001", "1.0000001 is not a probability between 0 and 1"),
        ("-1e-300", "-1e-300 is not a probability between 0 and 1"),
        ("2", "2.0 is not a probability"),
        ("1e39", "'1e39' is beyond single precision"),
        ("0x1", "'0x1' is not a number"),
        ("+0.5", r"'\+0.5' is not a number"),
        (" 0.5", "' 0.5' is not a number"),
        ("inf", "'inf' is not a number"),
        ("z" * 1000, r"\(1,000 bytes\) is not a number"),
    ],
)
def test_the_value_is_shown_as_it_stands_with_its_line_and_column(good, cell, message):
    lines = good.read_text(encoding="utf-8").splitlines(keepends=True)
    cells = lines[5].rstrip("\n").split(",")
    cells[3] = cell
    lines[5] = ",".join(cells) + "\n"
    good.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=rf"submission\.csv: line 6, column {EVENTS[2]}: ") as error:
        check_submission(good, expected_ids(ROWS), EVENTS)
    assert re.search(message, str(error.value))
    assert len(str(error.value).replace(str(good), "")) < 200


def test_a_long_foreign_id_is_quoted_in_part(good):
    good.write_text(
        good.read_text(encoding="utf-8").replace("subj1_series9_3,", "y" * 100_000 + ","),
        encoding="utf-8",
    )
    with pytest.raises(DataError, match=r"line 5: id 'y+'\.\.\. \(100,000 characters\) is not"):
        check_submission(good, expected_ids(ROWS), EVENTS)


def test_a_submission_that_is_a_folder_or_not_there_is_one_line(tmp_path):
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "none.csv", "No such file")):
        with pytest.raises(DataError, match=f"{path}: cannot be read: {reason}"):
            check_submission(path, expected_ids(ROWS), EVENTS)


def test_a_submission_that_unpacks_to_far_too_much_is_refused(good, monkeypatch):
    monkeypatch.setattr("pipeline.results.submission.MOST_SUBMISSION_BYTES", 1000)
    packed = good.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(good.read_bytes()))
    for path in (good, packed):
        with pytest.raises(DataError, match="far more than such a file can have"):
            check_submission(path, expected_ids(ROWS), EVENTS)
