"""Each subject's features standardised: less their mean, over their standard deviation."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.data.names import Id, identity
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.offset import in_single

Scaler = tuple[np.ndarray, np.ndarray]
"""The mean, float64, and the standard deviation, float32, of each feature; each of shape (F,)."""

Scalers = dict[Id, Scaler]
"""By subject."""


def fit_scalers(fitted: list[FeatureSeries]) -> Scalers:
    """Fit one scaler per subject, on that subject's fitted series.

    Parameters
    ----------
    fitted : list of FeatureSeries
        Of any subjects.
    """
    scalers = {}
    for subject in sorted({series.subject for series in fitted}):
        moments = Moments.pooled([s.moments for s in fitted if s.subject == subject])
        mean, matrix = moments.scaler(whiten=False)
        scalers[subject] = (mean, 1 / np.diag(matrix))
    return scalers


def standardise(features: np.ndarray, scaler: Scaler) -> np.ndarray:
    """Standardise features, shape (T', F); the result is float32."""
    mean, deviation = scaler
    return in_single(features, mean) / deviation


def pack(scalers: Scalers) -> dict[str, list[torch.Tensor]]:
    """Turn scalers into what a model's file may hold."""
    return {str(k): [torch.from_numpy(part) for part in v] for k, v in scalers.items()}


def unpack(stored: dict[str, list[torch.Tensor]]) -> Scalers:
    """Turn what `pack` made back into scalers."""
    return {identity(k): (v[0].numpy(), v[1].numpy()) for k, v in stored.items()}
