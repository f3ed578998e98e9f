"""Linear models of events: a discriminant of each, and how their logits are added up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NEVER = -20.0  # logit of an event that no fitted series has


def fit_each(
    features: np.ndarray,
    labels: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]],
    done: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a linear model of each event.

    Parameters
    ----------
    features : ndarray, shape (n, F)
        Standardised.
    labels : ndarray, shape (n, E)
        0 and 1.
    fit : callable
        Fits one event: takes the features and a column of the labels, and gives weights, (F,), and
        a bias.
    done : callable
        Called after each event.

    Returns
    -------
    weights : ndarray of float32, shape (F, E)
        Zero for an event that never takes place.
    bias : ndarray of float32, shape (E,)
        `NEVER` for such an event.
    """
    weights = np.zeros((features.shape[1], labels.shape[1]), dtype=np.float32)
    bias = np.full(labels.shape[1], NEVER, dtype=np.float32)
    for event, column in enumerate(labels.T):
        if column.any():
            weights[:, event], bias[event] = fit(features, column)
        done()
    return weights, bias


def fit_discriminant(
    features: np.ndarray, column: np.ndarray, shrinkage: float
) -> tuple[np.ndarray, float]:
    """Fit the linear discriminant of one event: scikit-learn's, as the competition's winners did.

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
