"""The AUC: scikit-learn's, pooled, ties half, and never a nan in a mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipeline.results.scoring import score, show, table

NAMES = ("a", "b", "c")


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(1, 8), st.integers(0, 10_000))
def test_equals_scikit_learn_on_random_and_tied_scores(rows, levels, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (rows, 3)).astype(np.uint8)
    labels[:2] = [[0, 0, 0], [1, 1, 1]]
    scores = rng.integers(0, levels, (rows, 3)) / levels  # few levels: many ties
    result = score(labels, scores, NAMES)
    each = [roc_auc_score(labels[:, i], scores[:, i]) for i in range(3)]
    assert [result.events[n] for n in NAMES] == pytest.approx(each, abs=1e-12)
    assert result.mean == pytest.approx(np.mean(each), abs=1e-12)


def test_ties_count_half():
    assert score(np.array([[0], [1]]), np.array([[0.5], [0.5]]), ("a",)).mean == 0.5
    labels, scores = np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.5], [0.5], [0.9]])
    assert score(labels, scores, ("a",)).mean == pytest.approx(3.5 / 4)


def test_pooling_asks_for_scores_that_compare_across_subjects(rng):
    """Shifting one subject leaves both subjects' own AUCs, and lowers the pooled one."""
    labels = rng.integers(0, 2, (4000, 1))
    scores = labels + rng.normal(0, 1, (4000, 1))
    shifted = scores + np.where(np.arange(4000) < 2000, 0, 3)[:, None]
    halves = [slice(0, 2000), slice(2000, 4000)]
    own = [score(labels[h], scores[h], ("a",)).mean for h in halves]
    assert [score(labels[h], shifted[h], ("a",)).mean for h in halves] == pytest.approx(own)
    assert score(labels, shifted, ("a",)).mean < score(labels, scores, ("a",)).mean - 0.1


def test_a_column_with_one_class_is_stated_and_not_averaged_away(rng):
    labels = rng.integers(0, 2, (50, 3))
    labels[:, 1] = 0
    result = score(labels, rng.random((50, 3)), NAMES)
    assert result.events["b"] is None
    assert result.events["a"] is not None
    assert result.mean is None
    assert result.undefined == ["b"]
    assert show(table({"pooled": result})).count("one class") == 2


def test_nan_scores_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="nan"):
        score(np.array([[0], [1]]), np.array([[0.1], [np.nan]]), ("a",))
    with pytest.raises(ValueError, match=r"labels \(2, 1\), scores \(3, 1\)"):
        score(np.zeros((2, 1)), np.zeros((3, 1)), ("a",))
