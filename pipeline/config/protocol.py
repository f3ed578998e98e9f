"""Whose series teach a subject's model: the options of the group ``protocol``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeline.config.demand import demand_of
from pipeline.config.lstm import Scaler, Scope, Train
from pipeline.config.methods.base import Method

Evaluation = Enum("Evaluation", ["within_subject", "cross_subject", "calibration"])


@dataclass
class Protocol:
    """How a subject is treated: as known, as unseen, or as new with a few series of his own.

    Parameters
    ----------
    kind : Evaluation
        ``within_subject``: his training series teach his model. ``cross_subject``: those of all
        others do, and none of his own (leave one subject out). ``calibration``: his first
        `own_series` training series do, too.
    own_series : int
        How many; read by ``calibration`` only.
    """

    kind: Evaluation = Evaluation.within_subject
    own_series: int = 0

    @property
    def leaves_out(self) -> bool:
        """Whether each subject's model comes from the other subjects."""
        return self.kind is not Evaluation.within_subject

    def check(self, method: Method, train: Train, stacked: bool) -> None:
        """Refuse values that cannot be, and methods that say nothing of a new subject.

        Parameters
        ----------
        method : Method
            What learns.
        train : Train
            Read by networks.
        stacked : bool
            Whether the recipe has two levels.

        Raises
        ------
        ConfigError
            Naming the key, its value and what it must be.
        """
        demand = demand_of("protocol", self)
        if self.kind is not Evaluation.calibration:
            demand(self.own_series == 0, "own_series",
                   f"protocol={self.kind.name} uses none of his series for a model of others; "
                   "choose protocol=calibration")  # fmt: skip
        demand(self.own_series >= 0, "own_series", "must be 0 or more")
        if not self.leaves_out:
            return
        demand(not stacked, "kind", "a stack cannot be fitted to a new subject; choose one of its "
               "members as experiment=")  # fmt: skip
        if reason := refusal(method, train):
            demand(False, "kind", reason)


HOW = "choose another recipe, such as fbl_lda, semi_markov, lstm_global or hybrid"


def refusal(method: Method, train: Train) -> str:
    """Say why a recipe cannot be adapted to a new subject; empty if it can."""
    if not method.ADAPTS:
        return f"method.kind={method.kind} cannot be fitted to a new subject; {HOW}"
    if "train" not in method.GROUPS:
        return ""
    if train.scope is Scope.subject:
        return (
            "one network per subject says nothing of a new one; fit one for all subjects "
            "(train.scope=global, as experiment=lstm_global does)"
        )
    if train.scaler is not Scaler.subject:
        return f"a new subject needs a scaler of his own: train.scaler={train.scaler.name}"
    if train.whiten and not train.own_projection:
        return (
            "each subject's whitened features have axes of their own; set train.whiten=false or "
            "train.own_projection=true"
        )
    return ""
