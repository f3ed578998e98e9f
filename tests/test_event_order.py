"""The chain against LDA on the same features, where events come in any order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.config.options import plain
from pipeline.data.simulator import simulate
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import SimulatedTrials, simulate_trials
from pipeline.detectors.linear import LinearDetector
from pipeline.detectors.semi_markov.detector import SemiMarkovDetector
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.interface import build
from pipeline.features.registry import FEATURES
from pipeline.results.scoring import held_out_line
from tests.conftest import COMPETITION, EVENTS, fit_data

pytestmark = pytest.mark.slow

GAP = (0.8, 2.5)  # s between events, whichever they are


def any_order(config: SimulationConfig, subject: int, series: int) -> SimulatedTrials:
    """A plan without trials: the six events come in a new order each time, at even pace."""
    plan = simulate_trials(config, subject, series)
    random = np.random.default_rng([subject, series])
    centres = 2.5 + np.cumsum(random.uniform(*GAP, plan.centres.size))
    centres = random.permuted(centres.reshape(plan.centres.shape), axis=1)
    return replace(plan, centres=centres, seconds=float(centres.max()) + 2.5)


def in_any_order(subject: int, series: int, trials: int, bank: Any) -> FeatureSeries:
    config = SimulationConfig(seed=0, trials=trials)
    with patch.object(simulate, "simulate_trials", any_order):
        made = simulate.simulate_series(config, COMPETITION, subject, series)
    assert made.events is not None
    features, _ = bank.transform(made.signal)
    labels = np.ascontiguousarray(made.events[:: bank.every])
    return FeatureSeries(subject, series, features, labels, Moments.of(features))


def pooled(detector: Any, held_out: list[FeatureSeries]) -> float:
    logits = [detector.predict(series.features, series.subject) for series in held_out]
    truth = np.concatenate([series.labels for series in held_out])
    return held_out_line(np.concatenate(logits), truth, EVENTS)["valid_auc_mean"]


def compare(subjects: list[int], fitted: list[int], held_out: list[int], trials: int) -> dict:
    """Pooled AUC of the chain and of `fbl_lda`'s discriminant, on the features of the chain."""
    config = compose(["experiment=semi_markov"])
    bank = build(FEATURES[config.filter.kind], COMPETITION.rate, plain(config.filter))
    made = {
        (s, r): in_any_order(s, r, trials, bank) for s in subjects for r in (*fitted, *held_out)
    }
    new = [made[s, r] for s in subjects for r in held_out]
    scores: dict[str, float] = {}
    chain, _ = SemiMarkovDetector.fit(
        fit_data([made[s, r] for s in subjects for r in fitted], events=EVENTS), config.method
    )
    scores["semi_markov"] = pooled(chain, new)
    lda = compose(["experiment=fbl_lda"]).method
    logits, truth = [], []
    for s in subjects:  # as the recipe does: one per subject
        one, _ = LinearDetector.fit(fit_data([made[s, r] for r in fitted], events=EVENTS), lda)
        logits += [one.predict(made[s, r].features, s) for r in held_out]
        truth += [made[s, r].labels for r in held_out]
    line = held_out_line(np.concatenate(logits), np.concatenate(truth), EVENTS)
    scores["fbl_lda"] = line["valid_auc_mean"]
    scores["pairs"] = min(len(each.pairs) for each in chain.chains.values())
    return scores


def test_where_the_order_is_random_the_chain_is_no_worse_than_lda_on_its_features():
    scores = compare([1], [1, 2, 3], [7], 14)
    assert scores["pairs"] > 20  # a circle has six
    assert scores["semi_markov"] > scores["fbl_lda"]


if __name__ == "__main__":
    print(compare([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [7, 8], 34))
