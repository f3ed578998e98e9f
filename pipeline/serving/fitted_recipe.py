"""A fitted recipe on its own: raw samples of one series in, probabilities out.

It holds everything between the two, for all subjects: the filter bank, the detectors with their
scalers, and a stack's members. Its predictions equal the pipeline's own bit for bit, on any number
of cores. To load and apply it takes neither Hydra nor any code that trains.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.data.names import Id, identity
from pipeline.data.recording import Description
from pipeline.detectors.base import Detector
from pipeline.detectors.registry import METHODS
from pipeline.detectors.unseen import UnseenDetector
from pipeline.errors import DataError
from pipeline.features.member_logits import side_by_side
from pipeline.features.registry import make_features
from pipeline.results.rows import hold, sigmoid
from pipeline.work.machine import threads

# What JSON and PyTorch raise on files that are cut, damaged or something else.
UNREADABLE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
    UnpicklingError,
)  # fmt: skip

# No sample of EEG is as large, not even in nanovolts. A larger one may overflow some recipe's sums,
# at once or in the filters' states, from where it would spoil all samples after it.
LARGEST = 1e15


@dataclass(frozen=True)
class FittedRecipe:
    """What a recipe has learned, with all that is needed to apply it.

    Parameters
    ----------
    about : Description
        Of the recordings it was fitted on.
    every : int
        Recorded rows per feature row.
    bank : dict or None
        Arguments of `pipeline.features.filter_bank.FilterBank` after the rate; None for a stack.
    members : tuple of FittedRecipe
        A stack's first level, whose logits are its features.
    detectors : dict of int or Name to Detector
        By subject.
    """

    about: Description
    every: int
    bank: dict[str, Any] | None
    members: tuple[FittedRecipe, ...]
    detectors: dict[Id, Detector]

    def logits(self, signal: np.ndarray, subject: Id) -> np.ndarray:
        """Predict one series at the features' rate, with as many threads as the process has.

        Parameters
        ----------
        signal : ndarray, shape (T, C)
            The raw samples, from the series' start.
        subject : int or Name
            Whose.

        Returns
        -------
        ndarray of float32, shape (T', E)
        """
        if self.bank is None:
            parts = [(member.logits(signal, subject), member.every) for member in self.members]
            features = side_by_side(parts, len(signal), self.every)
        else:
            if self.about.relative:
                signal = less_the_first(signal, signal[0])
            features, _ = make_features(self.about.rate, self.bank).transform(signal)
        if not np.isfinite(features).all():
            raise self.too_large(signal)
        return self.detectors[subject].predict(features, subject)

    def too_large(self, signal: np.ndarray, place: str = "row {}") -> DataError:
        """Name the sample that is too large to compute with, at a place such as ``row 7``."""
        row, column = np.unravel_index(np.abs(signal).argmax(), signal.shape)
        return DataError(
            f"{place.format(row)}, channel {self.about.channels[column]}: "
            f"{signal[row, column]:g} is too large for a sample of EEG"
        )

    def checked(self, samples: Any, place: str = "row {}") -> np.ndarray:
        """Refuse samples that cannot be computed with.

        Parameters
        ----------
        samples : array-like, shape (n, C)
            Of any type.
        place : str
            How a message names a row.

        Raises
        ------
        DataError
            They are not real, finite numbers of this shape, or one is beyond `LARGEST`.
        """
        try:
            signal = np.asarray(samples)
        except (ValueError, TypeError, RuntimeError):  # lists of different lengths, and tensors
            raise DataError("samples are not numbers in rows of equal length") from None
        if signal.dtype.kind not in "iuf":
            raise DataError(f"samples of type {signal.dtype}: expected real numbers")
        channels = len(self.about.channels)
        if signal.ndim != 2 or signal.shape[1] != channels or not len(signal):
            raise DataError(f"samples of shape {signal.shape}: expected (rows, {channels})")
        if not np.isfinite(signal).all():
            row, column = np.argwhere(~np.isfinite(signal))[0]
            raise DataError(
                f"{place.format(row)}, channel {self.about.channels[column]}: "
                f"{signal[row, column]} is not a finite number"
            )
        if signal.dtype.kind == "f" and max(signal.max(), -signal.min()) > LARGEST:
            raise self.too_large(signal, place)
        return signal

    def demand_subject(self, subject: Id) -> None:
        """Refuse a subject that was not learned from.

        Raises
        ------
        DataError
            Naming those that are known.
        """
        if subject not in self.detectors:
            known = ", ".join(str(s) for s in self.detectors)
            raise DataError(f"subject={subject}: none that was learned from; choose from {known}")

    def predict(self, signal: np.ndarray, subject: Id) -> np.ndarray:
        """Give the probability of every event at every sample.

        One thread computes, because the last bits of a sum depend on how many threads share it.

        Parameters
        ----------
        signal : ndarray, shape (T, C)
            The raw samples of one series, in the files' units, from the series' start.
        subject : int or Name
            Whose; one that was learned from.

        Returns
        -------
        ndarray of float32, shape (T, E)
            Row t depends on samples up to t only.

        Raises
        ------
        DataError
            For a subject that is not known, or a signal that is not numbers of this shape.
        """
        self.demand_subject(subject)
        signal = self.checked(signal)
        # Too large a number overflows on the way; that is refused below.
        with threads(1), np.errstate(over="ignore", invalid="ignore"):
            held = hold(self.logits(signal, subject), self.every, len(signal))
        if not np.isfinite(held).all():
            raise self.too_large(signal)
        return sigmoid(held).astype(np.float32)

    @classmethod
    def load_logged(cls, address: str, uri: str | None = None) -> FittedRecipe:
        """Read a recipe that a run has logged.

        Parameters
        ----------
        address : str
            MLflow's, e.g. ``models:/grasp@champion`` or ``runs:/RUN_ID/model``.
        uri : str, optional
            The store; by default ``MLFLOW_TRACKING_URI``, or else the project's.

        Raises
        ------
        PipelineError
            There is no such recipe, or the store cannot be reached.
        """
        from pipeline.tracking.logged_recipe import recipe_folder  # to predict, nobody needs MLflow

        with TemporaryDirectory() as folder:
            return cls.load(recipe_folder(address, Path(folder), uri))

    @classmethod
    def load(cls, folder: Path) -> FittedRecipe:
        """Read what `export` wrote.

        Parameters
        ----------
        folder : Path
            With ``recipe.json``.

        Raises
        ------
        DataError
            For a file that is missing, damaged or something else, or a method that this version
            does not have.
        """
        file = folder / "recipe.json"
        with _naming(file):
            stored = json.loads(file.read_text(encoding="utf-8"))
            about = stored["about"]
            about |= {key: tuple(about[key]) for key in ("channels", "events")}
            described, subjects_of = Description(**about), dict(stored["models"])
            every, bank, count = stored["every"], stored["bank"], range(stored["members"])
        if stored.get("kind") not in METHODS:
            raise DataError(
                f"{file}: kind={stored.get('kind')}: this version has no such method; "
                f"it has {', '.join(METHODS)}"
            )
        # Older files do not say it: they are of subjects whose series were learned from.
        method: Any = UnseenDetector if stored.get("unseen") else METHODS[stored["kind"]].load()
        detectors: dict[Id, Detector] = {}
        for name, subjects in subjects_of.items():
            with _naming(folder / name):
                detectors |= dict.fromkeys(map(identity, subjects), method.load(folder / name))
        members = tuple(cls.load(folder / f"member{i}") for i in count)
        return cls(described, every, bank, members, detectors)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turn what reading a file of a fitted recipe raises into one line that names the file."""
    what = "copy the folder of the fitted recipe again"
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{file}: is missing; {what}") from error
    except PermissionError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}; make it readable") from error
    except UNREADABLE as error:
        raise DataError(
            f"{file}: is damaged, or another file ({type(error).__name__}); {what}"
        ) from error


def less_the_first(signal: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Subtract the series' first sample, shape (C,), from samples, shape (n, C).

    Floats keep their type; the difference of two whole numbers need not fit into theirs.
    """
    if signal.dtype.kind == "f":
        return signal - first.astype(signal.dtype)
    return signal.astype(np.float64) - first


def export(
    folder: Path,
    about: Description,
    every: int,
    bank: dict[str, Any] | None,
    kind: str,
    models: dict[Path, list[Id]],
    members: int,
    unseen: bool = False,
    origin: dict[str, Any] | None = None,
) -> None:
    """Copy fitted models into a folder with what `FittedRecipe.load` needs beside them.

    Parameters
    ----------
    folder : Path
        New; a stack's members are exported into its ``member0``, ``member1``, ...
    about, every, bank
        See `FittedRecipe`.
    kind : str
        The method, a key of `pipeline.detectors.registry.METHODS`.
    models : dict of Path to list of int or Name
        Each model's file, and the subjects it is for.
    members : int
        How many a stack has.
    unseen : bool
        Whether the models are for subjects of whom nothing was recorded
        (`pipeline.detectors.unseen`).
    origin : dict, optional
        How the models were fitted, plain: what ``stage=adapt`` needs to adapt them to a new
        subject.
    """
    folder.mkdir(parents=True)
    for path in models:
        shutil.copyfile(path, folder / path.name)
    stored = {
        "about": asdict(about), "every": every, "bank": bank, "kind": kind,
        "models": {path.name: subjects for path, subjects in models.items()}, "members": members,
        "unseen": unseen, "origin": origin,
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(stored, indent=1), encoding="utf-8")
