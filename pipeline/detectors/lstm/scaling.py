"""What standardises the features of each subject before the network reads them."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.data.names import Id
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.features.offset import in_single
from pipeline.work.machine import threads

Scaler = tuple[torch.Tensor, torch.Tensor]
"""The features' mean, float64, (F,), and the matrix that standardises them, float32, (F, F), or
(F, P) where it holds the subject's own projection, too."""

Scalers = dict[Id, Scaler]
"""By subject."""


def fit_scalers(fitted: list[FeatureSeries], shared: list[Moments], whiten: bool) -> Scalers:
    """Fit one scaler per subject, or one for all subjects.

    Parameters
    ----------
    fitted : list of FeatureSeries
        The training series; each subject's own scaler is fitted on its own.
    shared : list of Moments
        Of the series that one scaler for all subjects is fitted on; empty for one per subject.
    whiten : bool
        Whether the features become principal components of unit variance.

    Returns
    -------
    dict of int to (Tensor, Tensor)
    """

    def fit(moments: list[Moments]) -> Scaler:
        mean, matrix = Moments.pooled(moments).scaler(whiten)
        return torch.from_numpy(mean), torch.from_numpy(matrix)

    subjects = sorted({series.subject for series in fitted})
    if shared:
        return dict.fromkeys(subjects, fit(shared))
    return {i: fit([each.moments for each in fitted if each.subject == i]) for i in subjects}


def deviations(fitted: list[FeatureSeries], shared: list[Moments]) -> dict[Id, torch.Tensor]:
    """Give the standard deviations, (F,), that the scalers of `fit_scalers` divide by."""
    plain = fit_scalers(fitted, shared, whiten=False)
    return {subject: 1 / matrix.diagonal() for subject, (_, matrix) in plain.items()}


def standardise(features: np.ndarray, scaler: Scaler) -> torch.Tensor:
    """Standardise features, shape (T', F), as the training series of their subject were."""
    mean, matrix = scaler
    with threads(1):  # the same bytes for any number of threads
        return torch.from_numpy(in_single(features, mean.numpy())) @ matrix


def passing(scaler: Scaler, more: int) -> Scaler:
    """Let a scaler hand on so many columns after the features as they are.

    Zeros are added to the mean, and ones to the matrix's diagonal.
    """
    mean, matrix = scaler
    if not more:
        return scaler
    return torch.cat([mean, mean.new_zeros(more)]), torch.block_diag(matrix, torch.eye(more))
