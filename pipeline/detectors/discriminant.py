"""The linear discriminant of one event: scikit-learn's, as the competition's winners used it."""

from __future__ import annotations

import numpy as np

NEVER = -20.0  # logit of an event that no fitted series has


def fit_discriminant(
    features: np.ndarray, column: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, float]:
    """Fit the discriminant of one event.

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
    # Here, because loading and applying a fitted detector does not need scikit-learn.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    # lsqr solves with the covariance of the classes, so it needs no SVD of all rows.
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, column)
    return model.coef_[0], model.intercept_[0]


def add_up(rows: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Give a linear model's logits, added up in double precision.

    A discriminant takes the difference of large sums. In single precision the last bits of such a
    sum, which depend on how many rows a product has, would be seen in the difference.

    Parameters
    ----------
    rows : ndarray, shape (n, F)
    weights : ndarray of float64, shape (F, E)
    bias : ndarray, shape (E,)

    Returns
    -------
    ndarray of float32, shape (n, E)
    """
    return (rows.astype(np.float64) @ weights + bias).astype(np.float32)
