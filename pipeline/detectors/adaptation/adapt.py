"""One way in for all methods: what others taught, and a new person's first series."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from pipeline.data.names import Id
from pipeline.detectors.base import Detector, FitData, Line
from pipeline.detectors.registry import METHODS
from pipeline.detectors.scaling import Scaler
from pipeline.detectors.unseen import unseen


class Adaptation(Protocol):
    """What the module has that `pipeline.detectors.registry.Entry.adaptation` names."""

    def scalers(self, known: Sequence[Any]) -> list[Scaler]:
        """Give the scaler of each person whom the detectors were fitted on."""

    def adapted(
        self, known: Sequence[Any], data: FitData, subject: Id, options: Any
    ) -> tuple[Any, list[Line]]:
        """Give the new person's detector; see `adapt`.

        Without any series of his own, it reads features that are standardised already.
        """


def adapt(
    kind: str, known: Sequence[Detector], data: FitData, subject: Id, options: Any
) -> tuple[Detector, list[Line]]:
    """Fit a detector to a new person, beginning with detectors that others taught.

    Parameters
    ----------
    kind : str
        The method, a key of `pipeline.detectors.registry.METHODS` with an ``adaptation``.
    known : sequence of Detector
        That method's, fitted on other people.
    data : FitData
        ``fitted`` are the person's own series. If there are none, the result is for somebody of
        whom nothing was recorded, and standardises the features as they come.
    subject : int or Name
        The new person.
    options : dataclass
        The method's, as the others were fitted with.

    Returns
    -------
    Detector
        It knows this person only.
    list of dict
        The history; one line is marked ``best``.

    Raises
    ------
    PipelineError
        Where the detectors cannot be adapted, or the series teach nothing.
    """
    module = METHODS[kind].adaptation
    assert module is not None  # the configuration's check has seen that
    how = cast(Adaptation, import_module(module))
    detector, history = how.adapted(known, data, subject, options)
    if data.fitted:
        return detector, history
    return cast(Detector, unseen(kind, detector, how.scalers(known))), history
