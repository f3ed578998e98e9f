"""Linear models of events: a discriminant of each, and how their logits are added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Sums:
    """All that the discriminants of a set of rows are made from; sums of several sets add up.

    Parameters
    ----------
    series : ndarray, shape ()
        How many series the rows come from.
    rows : ndarray, shape ()
        How many there are.
    active : ndarray, shape (E,)
        How many there are of each event.
    total : ndarray, shape (F,)
        Sum of the standardised features.
    of_active : ndarray, shape (E, F)
        The same over the rows of each event.
    squares : ndarray, shape (F, F)
        Sum of the outer product of each row with itself.
    """

    series: np.ndarray
    rows: np.ndarray
    active: np.ndarray
    total: np.ndarray
    of_active: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray, series: int) -> Sums:
        """Add up rows, (n, F), with their labels, (n, E)."""
        squares = np.zeros((features.shape[1], features.shape[1]))
        of_active = np.zeros((labels.shape[1], features.shape[1]))
        # Block by block: a float64 copy of all rows would be the largest array of the fit.
        for begin in range(0, len(features), 8192):
            block = features[begin : begin + 8192].astype(np.float64)
            squares += block.T @ block
            of_active += labels[begin : begin + 8192].T.astype(np.float64) @ block
        total = features.sum(axis=0, dtype=np.float64)
        active = labels.sum(axis=0, dtype=np.float64)
        counts = np.array(float(series)), np.array(float(len(features)))
        return cls(*counts, active, total, of_active, squares)

    def __add__(self, other: Sums) -> Sums:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Sums(*(np.asarray(one + another) for one, another in pairs))

    def __mul__(self, factor: float) -> Sums:
        return Sums(*(np.asarray(part * factor) for part in vars(self).values()))

    def discriminants(self, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
        """Give the discriminant of each event, as `fit_discriminant` does of the rows themselves.

        Parameters
        ----------
        shrinkage : float
            See `fit_discriminant`.

        Returns
        -------
        weights : ndarray of float32, shape (F, E)
        bias : ndarray of float32, shape (E,)
            As `fit_each` gives them.
        """
        width, events = len(self.total), len(self.active)
        weights = np.zeros((width, events), dtype=np.float32)
        bias = np.full(events, NEVER, dtype=np.float32)
        for event in range(events):
            count = float(self.active[event])
            if not count:
                continue
            without = float(self.rows) - count
            mean = self.of_active[event] / count
            other = (self.total - self.of_active[event]) / without
            within = self.squares - count * np.outer(mean, mean) - without * np.outer(other, other)
            within /= float(self.rows)
            level = np.trace(within) / width
            shrunk = (1 - shrinkage) * within + shrinkage * level * np.eye(width)
            # lstsq, as scikit-learn: a feature that never changes has no variance.
            both = np.linalg.lstsq(shrunk, np.stack([mean, other], axis=1), rcond=None)[0]
            weights[:, event] = both[:, 0] - both[:, 1]
            middle = (mean @ both[:, 0] - other @ both[:, 1]) / 2
            bias[event] = np.log(count / without) - middle
        return weights, bias


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
