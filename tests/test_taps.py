"""Taps: the row itself comes last, and no tap is of a later row or of another series."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detectors.taps import back


@given(rows=st.integers(1, 30), count=st.integers(1, 5), every=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_row_is_read_last_and_all_others_lie_before_it(rows, count, every):
    taken = back(np.arange(rows), count, every)
    assert taken.shape == (rows, count)
    np.testing.assert_array_equal(taken[:, -1], np.arange(rows))
    assert (np.diff(taken, axis=1) >= 0).all()
    for k in range(count):
        expected = np.maximum(np.arange(rows) - k * every, 0)
        np.testing.assert_array_equal(taken[:, count - 1 - k], expected)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), count=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_no_row_is_read_of_the_series_before(lengths, count):
    first = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    taken = back(np.arange(sum(lengths)), count, 2, first)
    np.testing.assert_array_equal(first[taken], np.broadcast_to(first[:, None], taken.shape))
