"""The semi-Markov detector: one chain per subject."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.data.names import Id, identity
from pipeline.detectors.base import FitData, Line, State
from pipeline.detectors.semi_markov.belief import Belief, follow
from pipeline.detectors.semi_markov.blend import Blend, fit_blend
from pipeline.detectors.semi_markov.chain import Chain, predict_from_parts
from pipeline.detectors.semi_markov.notes import demand_events, sentences, tell
from pipeline.detectors.semi_markov.order import Order
from pipeline.detectors.stored import write_tensors

if TYPE_CHECKING:
    from pipeline.config.methods.semi_markov import SemiMarkovMethod
    from pipeline.features.feature_series import FeatureSeries

# Predicted probabilities keep this far from 0 and 1, which have no logits.
CERTAIN = 1e-6
# Where the last event tells less than this of the next one, a discriminant is asked, too.
TELLS = 0.5


@dataclass(frozen=True)
class SemiMarkovDetector:
    """A chain for every subject.

    Parameters
    ----------
    chains : dict of int to Chain
        By subject.
    lags : int
        How many rows predict a row, see `pipeline.detectors.semi_markov.chain.predict_from_past`.
    half : int
        An event's label reaches so many rows before and after it.
    blends: dict of int or Name to Blend
        By subject, of those whose events come in any order.
    """

    chains: dict[Id, Chain]
    lags: int
    half: int
    blends: dict[Id, Blend] = field(default_factory=dict)
    beliefs: dict[Id, Belief] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By subject, once a stream has needed it: costly to make."""

    @classmethod
    def fit(cls, data: FitData, options: SemiMarkovMethod) -> tuple[SemiMarkovDetector, list[Line]]:
        """Fit a chain for each subject.

        Parameters
        ----------
        data : FitData
            Whole trials of any subjects; it is told of each subject that is done.
        options : SemiMarkovMethod
            The method's options.

        Returns
        -------
        SemiMarkovDetector
        list of dict
            One line: there are no epochs, and no loss is measured. ``notes`` are what is odd about
            the events, if anything is; they are reported, too.

        Raises
        ------
        DataError
            For a subject without any event.
        """
        # Here, because to load and apply a fitted detector does not need scikit-learn.
        from pipeline.detectors.semi_markov.fit import fit_chain

        subjects = sorted({series.subject for series in data.fitted})
        chains, widths, told, blends = {}, [], {}, {}
        for subject in subjects:
            own = [series for series in data.fitted if series.subject == subject]
            chains[subject], seen, told[subject], order = fit_chain(
                own, data.events, options, data.channels
            )
            demand_events(subject, seen)
            widths += seen
            if order.tells < TELLS:
                blend = _fit_blend(own, data, options, int(np.median(seen)) // 2)
                if blend is not None:
                    blends[subject] = blend
            data.report(1 / len(subjects), {})
        line: Line = {"best": True}  # nothing is learned step by step
        tell(sentences(told), data.report, [line])
        return cls(chains, options.tap_count, int(np.median(widths)) // 2, blends), [line]

    def predict(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series from its features, shape (T', F): logits, shape (T', E)."""
        chain = self.chains[subject]
        logits = _logits(follow(chain, self.half, *chain.evidence(features, self.lags)))
        if subject in self.blends:
            return self.blends[subject].rows(logits, chain.standardise(features))
        return logits

    def event_scores(self, features: np.ndarray, subject: Id) -> np.ndarray:
        """Give how well each row suits an event that takes place in it, for the report only.

        Parameters
        ----------
        features : ndarray, shape (T', F)
            Of one series.
        subject : int or Name
            Whose.

        Returns
        -------
        ndarray of float32, shape (T', E)
            The evidence of the rows before and after it that the chain's responses to this event
            give, added up. So it looks ahead; no prediction does.
        """
        after, before = self.chains[subject].evidence(features, self.lags)
        scores = np.zeros((len(after), after.shape[1]), dtype=np.float32)
        for row in range(min(after.shape[2], len(after))):
            scores[: len(scores) - row] += after[row:, :, row]
        for row in range(1, min(before.shape[2], len(before) - 1) + 1):
            scores[row:] += before[: len(scores) - row, :, row - 1]
        return scores

    def start(self, subject: Id) -> State:
        """Give the state before a series' first row: no rows, and the chain's first weights."""
        chain = self.chains[subject]
        past = np.zeros((self.lags, len(chain.mean)), dtype=np.float32)
        belief = self._belief(subject)
        return {"subject": subject, "rows": 0, "past": past} | belief.weights()

    def push(self, features: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Predict the next rows from their features, shape (n', F)."""
        chain, past, lags = self.chains[state["subject"]], state["past"], self.lags
        ready = chain.standardise(features)
        if len(ready) and not state["rows"]:
            past = np.broadcast_to(ready[:1], past.shape)  # as `earlier` has it
        together, observed = np.concatenate([past, ready]), chain.past.shape[1]
        belief = self._belief(state["subject"])
        belief = belief.resumed(**{name: state[name] for name in belief.weights()})
        chance = np.empty((len(ready), len(chain.after)), dtype=np.float32)
        for number in range(len(ready)):  # never many at once, see `Detector.push`
            now = number + lags
            parts = [together[now - 1 : now]]
            parts += [together[now - lag :][:1, -observed:] for lag in range(2, lags + 1)]
            predicted = predict_from_parts(parts, 1, chain.past)
            after, before = chain.fits(together[now : now + 1], predicted)
            belief.step(after[0], before[0])
            chance[number] = belief.chances()
        kept = {"rows": state["rows"] + len(ready), "past": together[len(ready) :].copy()}
        logits = _logits(chance)
        if (blend := self.blends.get(state["subject"])) is not None:
            for number in range(len(ready)):
                one = slice(number, number + 1)
                logits[one] = blend.rows(logits[one], ready[one])
        return logits, state | kept | belief.weights()

    def _belief(self, subject: Id) -> Belief:
        """Give the belief of a series' start; it is never stepped itself, only resumed from."""
        if subject not in self.beliefs:
            self.beliefs[subject] = Belief(self.chains[subject], self.half)
        return self.beliefs[subject]

    def save(self, path: Path) -> None:
        """Write tensors and plain values only, so that loading runs no code."""
        write_tensors(path, self.packed())

    @classmethod
    def load(cls, path: Path) -> SemiMarkovDetector:
        """Read what `save` wrote."""
        return cls.unpacked(torch.load(path, map_location="cpu", weights_only=True))

    def packed(self) -> dict[str, Any]:
        """Give what `save` writes."""
        chains, blends = (
            {
                str(subject): {name: torch.from_numpy(part) for name, part in vars(each).items()}
                for subject, each in parts.items()
            }
            for parts in (self.chains, self.blends)
        )
        stored = {"chains": chains, "lags": self.lags, "half": self.half}
        return stored | ({"blends": blends} if blends else {})

    @classmethod
    def unpacked(cls, stored: dict[str, Any]) -> SemiMarkovDetector:
        """Turn what `packed` gave back into a detector."""
        chains = {}
        for subject, tensors in stored["chains"].items():
            parts = {name: part.numpy() for name, part in tensors.items()}
            if "pairs" not in parts:  # a file from before orders were learned
                order = Order.circle(len(parts["after"]))
                parts |= {
                    "pairs": order.pairs,
                    "follows": order.follows.astype(np.float32),
                    "begins": order.begins.astype(np.float32),
                }
            chains[identity(subject)] = Chain(**parts)
        blends = {
            identity(subject): Blend(**{name: part.numpy() for name, part in tensors.items()})
            for subject, tensors in stored.get("blends", {}).items()
        }
        return cls(chains, stored["lags"], stored["half"], blends)


def _fit_blend(
    series: list[FeatureSeries], data: FitData, options: SemiMarkovMethod, half: int
) -> Blend | None:
    """Fit one subject's blend, see `pipeline.detectors.semi_markov.blend`."""
    from pipeline.detectors.semi_markov.fit import fit_chain

    def fitted_on(some: list[FeatureSeries]) -> Chain | None:
        chain, seen, *_ = fit_chain(some, data.events, options, data.channels)
        return chain if seen else None

    def applied(chain: Chain, features: np.ndarray) -> np.ndarray:
        return _logits(follow(chain, half, *chain.evidence(features, options.tap_count)))

    return fit_blend(series, fitted_on, applied)


def _logits(chance: np.ndarray) -> np.ndarray:
    """Turn chances into logits, float32."""
    chance = np.clip(chance, CERTAIN, 1 - CERTAIN)
    return (np.log(chance) - np.log1p(-chance)).astype(np.float32)
