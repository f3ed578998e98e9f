"""Names of subjects and series: their order, and their place in file names."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compose import compose
from pipeline.data.names import Name, identity, in_file_name, series_name
from pipeline.detectors.scaling import pack, unpack
from pipeline.errors import ConfigError

TEXTS = st.text(min_size=1, max_size=8) | st.from_regex(r"\A[sR]?[0-9]{1,4}\Z")


def test_the_order_is_as_people_count():
    names = ["R10", "R2", "10", "sub-MK07", "2", "02", "R2b", "sub-MK7"]
    told = [str(name) for name in sorted(map(identity, names))]
    assert told == ["02", "2", "10", "R2", "R2b", "R10", "sub-MK07", "sub-MK7"]


def test_numbers_stay_numbers_and_their_files_keep_their_names():
    assert identity("7") == 7 == identity(7)
    assert isinstance(identity("7"), int)
    assert identity("007") == Name("007") != 7
    assert series_name(3, 7) == "subj3_series7"


@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_the_order_is_total_and_fits_equality(texts):
    names = sorted(map(identity, texts))
    names.reverse()
    assert sorted(names) == names[::-1]
    for one in names:
        for other in names:
            assert (one < other) + (one == other) + (one > other) == 1
            assert (one <= other) == (one < other or one == other)
            if one == other:
                assert hash(one) == hash(other)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_file_names_are_safe_and_differ_where_the_names_do(a, b, c, d):
    made = series_name(identity(a), identity(b))
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
    assert (made == series_name(identity(c), identity(d))) == ((a, b) == (c, d))


@given(TEXTS)
def test_a_name_survives_pickling_and_a_models_file(text):
    name = identity(text)
    back = pickle.loads(pickle.dumps(name))
    assert (back, type(back)) == (name, type(name))
    part = np.zeros(2)
    assert list(unpack(pack({name: (part, part)}))) == [name]


def test_a_path_cannot_leave_its_folder():
    assert in_file_name(Name("../x y")) == ".2e.2e.2fx.20y"


def test_the_competitions_subjects_and_series_must_be_numbers():
    for override in ("dataset.subjects=[MK07]", "dataset.train_series=[R1]"):
        with pytest.raises(ConfigError, match=override.partition("=")[0] + r"=.*whole numbers"):
            compose(["dataset=kaggle", override])
