"""The table of AUCs: all rows together, each subject's, their mean, and the interval."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.results.scoring import score
from pipeline.results.uncertainty import auc_interval
from pipeline.stages.evaluate import auc_table
from tests.test_uncertainty import series


@pytest.fixture
def scored() -> tuple[dict, dict]:
    """Two subjects' labels and scores, two series of the second; the first sees no event b."""
    parts = {key: series(6, number) for number, key in enumerate([(1, 7), (2, 7), (2, 8)])}
    truth = {key: labels for key, (labels, _) in parts.items()}
    truth[1, 7][:, 1] = 0
    return truth, {key: scores for key, (_, scores) in parts.items()}


def test_rows_are_the_metric_s_and_the_interval_s_values(scored):
    truth, scores = scored
    table = auc_table(truth, scores, ("a", "b"))
    assert list(table.index) == [
        "pooled", "subj1", "subj2", "subject_mean", "pooled_low", "pooled_high",
    ]  # fmt: skip
    both = [np.concatenate([side[2, 7], side[2, 8]]) for side in scored]
    own = score(*both, ("a", "b"))
    assert table.loc["subj2"].tolist() == [*own.events.values(), own.mean]
    low, high = auc_interval(list(truth.values()), list(scores.values()))
    np.testing.assert_array_equal(table.loc["pooled_low"], low)
    np.testing.assert_array_equal(table.loc["pooled_high"], high)
    assert (low < table.loc["pooled"]).all()
    assert (table.loc["pooled"] < high).all()


def test_a_subject_without_an_auc_leaves_the_subjects_mean_undefined(scored):
    table = auc_table(*scored, ("a", "b"))
    assert np.isnan(table.loc["subj1", "b"])
    assert np.isnan(table.loc["subject_mean", "b"])
    assert np.isnan(table.loc["subject_mean", "mean"])
    assert table.loc["subject_mean", "a"] == table.loc[["subj1", "subj2"], "a"].mean()
