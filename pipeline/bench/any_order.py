"""`semi_markov` against LDA on simulated recordings whose events come in random order.

Both read the same features. ``python -m pipeline.bench.any_order [subjects]`` simulates so many
subjects (by default one), fits both on series 1-6, and prints their pooled AUC on series 7-8.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.arguments import run_command
from pipeline.config.compose import compose
from pipeline.config.options import plain
from pipeline.data.recording import Description
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import SimulatedTrials, simulate_trials
from pipeline.data.simulator.simulate import simulate_series
from pipeline.detectors.base import FitData
from pipeline.detectors.registry import METHODS
from pipeline.errors import ConfigError
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.interface import build
from pipeline.features.registry import FEATURES
from pipeline.results.scoring import held_out_line

GAP = (0.8, 2.5)  # s between two events: the shortest and the longest
FITTED, HELD_OUT = (1, 2, 3, 4, 5, 6), (7, 8)


def any_order(config: SimulationConfig, subject: int, series: int) -> SimulatedTrials:
    """Plan a series in which the six events come in a new order each time, at an even pace."""
    plan = simulate_trials(config, subject, series)
    random = np.random.default_rng([config.seed, subject, series])
    centres = 2.5 + np.cumsum(random.uniform(*GAP, plan.centres.size))
    centres = random.permuted(centres.reshape(plan.centres.shape), axis=1)
    return replace(plan, centres=centres, seconds=float(centres.max()) + 2.5)


def compare(subjects: int) -> dict[str, float]:
    """Give each method's pooled AUC: one model per subject, on the features of `semi_markov`."""
    config = compose(["experiment=semi_markov"])
    about = Description.of(compose(["dataset=kaggle"]).dataset)
    bank = build(FEATURES[config.filter.kind], about.rate, plain(config.filter))

    def series(subject: int, number: int) -> FeatureSeries:
        plan = any_order(SimulationConfig(), subject, number)
        made = simulate_series(SimulationConfig(), about, subject, number, plan)
        features, _ = bank.transform(made.signal)
        assert made.events is not None
        labels = np.ascontiguousarray(made.events[:: bank.every])
        return FeatureSeries(subject, number, features, labels, Moments.of(features))

    logits: dict[str, list[np.ndarray]] = {"semi_markov": [], "fbl_lda": []}
    truth: list[np.ndarray] = []
    for subject in range(1, subjects + 1):
        data = FitData(
            f"subj{subject}", [series(subject, number) for number in FITTED], [], [], about.events,
            0, "cpu", None, Path(), _silent, len(about.channels),
        )  # fmt: skip
        held_out = [series(subject, number) for number in HELD_OUT]
        truth += [np.asarray(each.labels) for each in held_out]
        for name, found in logits.items():
            method = compose([f"experiment={name}"]).method
            detector, _ = METHODS[method.kind].load().fit(data, method)
            found += [detector.predict(each.features, subject) for each in held_out]
    scores = {}
    for name, found in logits.items():
        line = held_out_line(np.concatenate(found), np.concatenate(truth), about.events)
        auc = line["valid_auc_mean"]
        assert auc is not None  # every event takes place in these series
        scores[name] = auc
    return scores


def _silent(share: float, news: dict[str, Any]) -> None:
    """Report nothing."""


def main(arguments: list[str]) -> None:
    """Print the AUC of each method.

    Parameters
    ----------
    arguments : list of str
        The number of subjects; one if there is none.
    """
    if len(arguments) > 1 or not all(re.fullmatch(r"[1-9]\d*", each) for each in arguments):
        raise ConfigError(f"{' '.join(arguments)}: give a number of subjects")
    for name, auc in compare(int(arguments[0]) if arguments else 1).items():
        print(f"{name}: {auc:.4f}")


if __name__ == "__main__":
    run_command(main)
