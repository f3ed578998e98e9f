"""One subject's states, and how well what each predicts fits the rows of a series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.detectors.scaling import standardise

# Rows far from all others weigh less, as if the noise had Student's t with so many degrees of
# freedom: a burst of artefacts is no evidence for anything.
FREEDOM = 60.0
# No state's evidence in one row is beyond e to this power, which single precision can hold.
MOST_EVIDENCE = 30.0


@dataclass(frozen=True)
class Chain:
    """One subject's states, and what each predicts.

    Parameters
    ----------
    mean, deviation : ndarray of float64 and of float32, shape (F,)
        Of the features.
    past : ndarray, shape (P, O)
        Weights with which earlier rows predict the last O features, see `predict_from_past`.
    whiten : ndarray, shape (O, O)
        Makes what they cannot predict white.
    axes : ndarray, shape (O, K)
        The directions, in white features, in which the events show.
    after, before : ndarray, shape (E, A, K) and (E, B, K)
        Responses by rows since an event, from 0, and by rows until one, from 1.
    durations : ndarray, shape (G, N, D)
        By pace and pair, the chance that so many rows lie between its events, from 1.
    shares : ndarray, shape (G,)
        Of the fitted series, by pace; they add up to 1.
    starts : ndarray of int, shape (G,)
        How far a series of each pace is into a pause when it begins, in rows.
    pairs : ndarray of int, shape (N, 2)
        An event and one that may follow it, see `pipeline.detectors.semi_markov.order`.
    follows : ndarray, shape (N,)
        The chance that it does. Those of one first event add up to 1.
    begins : ndarray, shape (E,)
        The chance that each event is the last one before a series; they add up to 1.
    """

    mean: np.ndarray
    deviation: np.ndarray
    past: np.ndarray
    whiten: np.ndarray
    axes: np.ndarray
    after: np.ndarray
    before: np.ndarray
    durations: np.ndarray
    shares: np.ndarray
    starts: np.ndarray
    pairs: np.ndarray
    follows: np.ndarray
    begins: np.ndarray

    def evidence(self, features: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
        """Measure how well each response fits each row.

        Parameters
        ----------
        features : ndarray, shape (T', F)
            Of one series.
        lags : int
            How many rows predict a row, see `predict_from_past`.

        Returns
        -------
        after, before : ndarray of float32, shape (T', E, A) and (T', E, B)
            The products of responses and row: log likelihoods, but for what depends on the state
            alone.
        """
        ready = self.standardise(features)
        return self.fits(ready, predict_from_past(ready, lags, self.past))

    def standardise(self, features: np.ndarray) -> np.ndarray:
        """Standardise features, shape (T', F)."""
        return standardise(features, (self.mean, self.deviation))

    def fits(self, ready: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Measure how well each response fits what was not predicted of each row.

        Parameters
        ----------
        ready, predicted : ndarray, shape (T', F) and (T', O)
            Standardised features, and what earlier rows predict of the last O of them.

        Returns
        -------
        after, before : ndarray of float32, shape (T', E, A) and (T', E, B)
            See `evidence`.
        """
        surprise = ready[:, -self.past.shape[1] :] - predicted
        row = weigh(surprise @ self.whiten) @ self.axes
        both = (np.tensordot(row, each, axes=(1, 2)) for each in (self.after, self.before))
        after, before = (np.clip(each, -MOST_EVIDENCE, MOST_EVIDENCE) for each in both)
        return after, before


def earlier(rows: np.ndarray, by: int) -> np.ndarray:
    """Give for each row, shape (T', n), the one `by` rows before it, or the series' first."""
    return np.concatenate([np.repeat(rows[:1], min(by, len(rows)), axis=0), rows[:-by]])


def pasts(ready: np.ndarray, observed: int, lags: int) -> Iterable[np.ndarray]:
    """Give what predicts a row: of the row before all features, of those before that the last ones.

    Parameters
    ----------
    ready : ndarray, shape (T', F)
        Standardised features of one series. The filter bank's slower filters remember what lies
        longer ago than the lags.
    observed : int
        The last so many features are predicted.
    lags : int
        So many rows ago at most.
    """
    yield earlier(ready, 1)
    for lag in range(2, lags + 1):
        yield earlier(ready[:, -observed:], lag)


def predict_from_past(ready: np.ndarray, lags: int, weights: np.ndarray) -> np.ndarray:
    """Predict each row's observed features from earlier rows, see `pasts`; shape (T', O)."""
    return predict_from_parts(pasts(ready, weights.shape[1], lags), len(ready), weights)


def predict_from_parts(parts: Iterable[np.ndarray], rows: int, weights: np.ndarray) -> np.ndarray:
    """Predict so many rows' observed features from what `pasts` gives; shape (T', O)."""
    predicted, begin = np.zeros((rows, weights.shape[1]), dtype=np.float32), 0
    for part in parts:
        predicted += part @ weights[begin : begin + part.shape[1]]
        begin += part.shape[1]
    return predicted


def weigh(white: np.ndarray) -> np.ndarray:
    """Weigh each row, shape (T', O), as Student's t does: less the further it lies from all."""
    degrees = FREEDOM + white.shape[1]
    return white * (degrees / (FREEDOM + np.square(white).sum(axis=1, keepdims=True)))
