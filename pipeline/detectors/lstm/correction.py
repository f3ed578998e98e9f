"""A stack's second level that starts from its first member's logits and learns to correct them.

So it begins as good as that member, and learns from the others what the first does not know.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.detectors.base import FitData, Line
from pipeline.detectors.lstm.detector import LstmDetector
from pipeline.features.feature_series import FeatureSeries, Moments

if TYPE_CHECKING:
    from pipeline.config.lstm import LstmOptions


class CorrectionDetector(LstmDetector):
    """An LSTM whose first E features are another detector's logits: what it gives is added to them.

    It reads these logits, too. They are neither standardised nor dropped.
    """

    @classmethod
    def fit(cls, data: FitData, options: LstmOptions) -> tuple[CorrectionDetector, list[Line]]:
        """Train; see `pipeline.detectors.lstm.training.train`."""
        # Here, because a process that only predicts needs neither the loop nor the configuration.
        from pipeline.detectors.lstm.training import train

        first = len(data.events)
        beside = {
            (series.subject, series.series): np.asarray(series.features)[:, :first]
            for series in (*data.fitted, *data.held_out)
        }
        others = replace(
            data,
            fitted=[_without(series, first) for series in data.fitted],
            held_out=[_without(series, first) for series in data.held_out],
            shared=[_others(moments, first) for moments in data.shared],
        )
        network, arguments, scalers, history = train(others, options, beside)
        # The network reads the logits last; here they come first.
        turned = {
            subject: (mean.roll(first), matrix.roll(first, 0))
            for subject, (mean, matrix) in scalers.items()
        }
        return cls(network, arguments, turned, options.window.stride), history


def _without(series: FeatureSeries, first: int) -> FeatureSeries:
    """Take so many of the first features away."""
    features = np.ascontiguousarray(np.asarray(series.features)[:, first:])
    return replace(series, features=features, moments=_others(series.moments, first))


def _others(of: Moments, first: int) -> Moments:
    """Give the moments of the features after so many."""
    return Moments(of.count, of.mean[first:], of.scatter[first:, first:], of.offset[first:])
