"""A chain's evidence beside a linear discriminant's, for events whose order tells nothing.

A chain's responses stand for one event and the one before or after it. Where events follow one
another in any order, what is left of earlier responses is another one each time. The chain does not
model it; a discriminant of single rows does not need to. So a logistic regression for each event
weighs both, on predictions of series that neither was fitted on (stacked generalisation; Wolpert
1992, Neural Networks 5:241-259).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.detectors.discriminant import add_up, fit_discriminant, fit_each
from pipeline.detectors.scaling import fit_scalers, standardise
from pipeline.detectors.semi_markov.chain import Chain
from pipeline.features.feature_series import FeatureSeries, Moments

FOLDS = 3  # at most, of the fitted series
SHRINKAGE = 1e-4  # of the discriminant, as in conf/method/lda.yaml
CHOICES = [0, 1], [0], [1]  # of chain and discriminant: both, or one alone

FitChain = Callable[[list[FeatureSeries]], Chain | None]
"""Fits a chain on some series of a subject; None where they have no event."""

ChainLogits = Callable[[Chain, np.ndarray], np.ndarray]
"""Gives a chain's logits, (T', E), for features, (T', F)."""


@dataclass(frozen=True)
class Blend:
    """A linear discriminant, and how much it and the chain count.

    Parameters
    ----------
    weights : ndarray of float32, shape (F, E)
        Of the discriminant, for features that are standardised as the chain's.
    bias : ndarray of float32, shape (E,)
        Its own.
    share : ndarray of float32, shape (2, E)
        What the chain's and the discriminant's logits are multiplied with; 0 or more.
    shift : ndarray of float32, shape (E,)
        Added.
    """

    weights: np.ndarray
    bias: np.ndarray
    share: np.ndarray
    shift: np.ndarray

    def rows(self, chain: np.ndarray, ready: np.ndarray) -> np.ndarray:
        """Blend the logits of rows.

        Parameters
        ----------
        chain : ndarray of float32, shape (n, E)
            The chain's logits.
        ready : ndarray of float32, shape (n, F)
            Standardised features.

        Returns
        -------
        ndarray of float32, shape (n, E)
            Logits.
        """
        linear = add_up(ready, self.weights.astype(np.float64), self.bias)
        return (self.share[0] * chain + self.share[1] * linear + self.shift).astype(np.float32)


def fit_blend(
    series: list[FeatureSeries], fit_chain: FitChain, logits: ChainLogits
) -> Blend | None:
    """Fit a subject's discriminant, and weigh it against chains on series that neither has seen.

    Parameters
    ----------
    series : list of FeatureSeries
        One subject's.
    fit_chain : callable
        Fits a chain.
    logits : callable
        Applies it.

    Returns
    -------
    Blend or None
        None where a part of the series has no events to learn from.
    """
    parts = series if len(series) > 1 else _halves(series[0])
    predicted: list[tuple[np.ndarray, np.ndarray]] = []
    truth: list[np.ndarray] = []
    for fold in np.array_split(np.arange(len(parts)), min(FOLDS, len(parts))):
        rest = [part for number, part in enumerate(parts) if number not in fold]
        chain = fit_chain(rest)
        if chain is None:
            return None
        weights, bias = _discriminant(rest)
        for part in (parts[number] for number in fold):
            ready = chain.standardise(np.asarray(part.features))
            predicted.append((logits(chain, np.asarray(part.features)), ready @ weights + bias))
            truth.append(np.asarray(part.labels))
    chains, linears = (np.concatenate(each) for each in zip(*predicted, strict=True))
    share, shift = _weigh(chains, linears, np.concatenate(truth))
    return Blend(*_discriminant(series), share, shift)


def _halves(series: FeatureSeries) -> list[FeatureSeries]:
    """Cut a series into two: its first rows, and its last."""
    middle = len(series.features) // 2
    return [
        replace(
            series, features=np.asarray(series.features)[part],
            labels=np.asarray(series.labels)[part],
            moments=Moments.of(np.asarray(series.features)[part]),
        )
        for part in (slice(middle), slice(middle, None))
    ]  # fmt: skip


def _discriminant(series: list[FeatureSeries]) -> tuple[np.ndarray, np.ndarray]:
    """Fit the discriminants of the recipe ``fbl_lda``: weights, (F, E), and biases, (E,)."""
    (scaler,) = fit_scalers(series).values()
    features = np.concatenate([standardise(np.asarray(s.features), scaler) for s in series])
    labels = np.concatenate([np.asarray(s.labels) for s in series])
    return fit_each(features, labels, partial(fit_discriminant, shrinkage=SHRINKAGE))


def _weigh(
    chains: np.ndarray, linears: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit how much each counts for each event; one that speaks against it does not count."""
    from sklearn.linear_model import LogisticRegression

    share, shift = np.zeros((2, labels.shape[1])), np.zeros(labels.shape[1])
    share[0] = 1.0  # the chain alone, for an event that never takes place
    for event, column in enumerate(labels.T):
        if not column.any() or column.all():
            continue
        both = np.stack([chains[:, event], linears[:, event]], axis=1).astype(np.float64)
        scale = np.maximum(both.std(axis=0), 1e-9)
        for used in CHOICES:
            model = LogisticRegression().fit(both[:, used] / scale[used], column)
            if (model.coef_[0] > 0).all():
                share[:, event] = 0.0
                share[used, event] = model.coef_[0] / scale[used]
                shift[event] = model.intercept_[0]
                break
    return share.astype(np.float32), shift.astype(np.float32)
