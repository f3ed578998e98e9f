"""The linear discriminant of one event: scikit-learn's, as the competition's winners used it."""

from __future__ import annotations

import numpy as np

NEVER = -20.0  # logit of an event that no fitted series has


def fit_discriminant(
    features: np.ndarray, column: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, float]:
    """Fit it.

    Parameters
    ----------
    features : ndarray, shape (n, F)
        Standardised.
    column : ndarray, shape (n,)
        One event's labels, of both classes.
    shrinkage : float
        Share of the covariance that is shrunk to its diagonal.

    Returns
    -------
    weights : ndarray, shape (F,)
    bias : float
    """
    # Here, because to load and apply a fitted detector does not need scikit-learn.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    # lsqr solves with the classes' covariance, and so needs no SVD of all rows
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, column)
    return model.coef_[0], model.intercept_[0]
