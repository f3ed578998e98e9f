"""What all stages of a command share: its configuration, data set, and folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.config.compose import compose_members
from pipeline.config.dataset import Dataset
from pipeline.config.options import Config, Stage, check_folds, left_by_a_fold, plain
from pipeline.config.paths import path
from pipeline.config.protocol import Evaluation
from pipeline.data.names import Id, identity
from pipeline.data.recording import Description
from pipeline.data.sources import SOURCES
from pipeline.detectors.adaptation import adapt
from pipeline.detectors.registry import METHODS
from pipeline.errors import ConfigError
from pipeline.features.registry import FEATURES
from pipeline.stages import (
    decide,
    evaluate,
    explain,
    explain_subject,
    features,
    ingest,
    members,
    predictions,
    report,
    simulate,
    submit,
    train,
)
from pipeline.tracking.runs import Tracker
from pipeline.work.engines import engine
from pipeline.work.machine import cores
from pipeline.work.runner import Listen, Summary
from pipeline.work.runner import run as run_tasks
from pipeline.work.tasks import Folder, Task

Say = Callable[[str], None]


def raw_folder(dataset: Dataset) -> Path:
    """Say where a data set's raw files lie."""
    if not dataset.raw:
        raise ConfigError("dataset.raw=null: name the folder that holds the raw files")
    return path(dataset.raw)


def described(config: Config) -> Config:
    """Fill in what a data set's files say of themselves: channels, events, rate and series.

    Parameters
    ----------
    config : Config
        Composed and checked.

    Returns
    -------
    Config
        The same one, where everything is in the configuration.

    Raises
    ------
    PipelineError
        When the files say nothing of the kind.
    """
    source = import_module(SOURCES[config.dataset.source])
    if not hasattr(source, "describe"):
        return config
    data = config.dataset
    if config.stage not in (Stage.ingest, Stage.adapt):
        data.check_complete()
    folder, more = raw_folder(data), data.source_options
    there = source.series_names(folder, **more)
    keys = ("train_series", "valid_series", "test_series")
    splits: dict[str, list[Id]] = {}
    for key in keys:
        taken = [series for names in splits.values() for series in names]
        splits[key] = source.resolve(getattr(data, key), there, taken)
    labelled = splits["train_series"] + splits["valid_series"]
    subjects = [identity(subject) for subject in data.subjects]
    found = source.find_series(folder, subjects, labelled, splits["test_series"], **more)
    about = source.describe(found)
    plain_splits: dict[str, Any] = {
        key: [each if isinstance(each, int) else str(each) for each in names]
        for key, names in splits.items()
    }
    data = replace(
        data, channels=list(about.channels), events=list(about.events), rate=about.rate,
        montage=about.montage, **plain_splits,
    )  # fmt: skip
    data.check()
    config.filter.check(data.rate)
    config = replace(config, dataset=data)
    check_folds(config)
    return config


class Context:
    """The circumstances of one configuration; a stack has one more for each member.

    Parameters
    ----------
    config : Config
        Composed and checked.
    say : callable
        Prints a line.
    is_member : bool
        Of a stack, which has described the data set for all its members.
    """

    def __init__(self, config: Config, say: Say = print, is_member: bool = False) -> None:
        if not is_member:
            config = described(config)
        self.config, self.say = config, say
        data = config.dataset
        self.about = Description.of(data)
        self.train_series = [identity(series) for series in data.train_series]
        self.valid_series = [identity(series) for series in data.valid_series]
        self.labelled = self.train_series + self.valid_series
        self.unlabelled = [identity(series) for series in data.test_series]
        wanted = config.workers or cores()
        place = config.parallel
        self.engine = engine(place.engine.name, place.address, wanted)
        self.workers = self.engine.size(wanted)
        self.entry = METHODS[config.method.kind]
        self.members = [Context(member, say, True) for member in compose_members(config)]
        self.every = config.stack.every if self.members else config.filter.every
        self.tracker = Tracker(config, self.name, self.results_folder.path / ".mlflow_runs.json")
        self.label = ""  # before the names of what is recorded
        for text, member in zip(config.stack.names, self.members, strict=True):
            member.tracker, member.label = self.tracker, re.sub(r"[^\w .]+", "-", text) + " "

    # ---- what the options mean ----------------------------------------------------------------

    @property
    def name(self) -> str:
        """The recipe with a short id of all that it depends on; says if it is simulated."""
        protocol = self.config.protocol
        how = f"{protocol.kind.name}-" if protocol.leaves_out else ""
        if protocol.kind is Evaluation.calibration:
            how = f"calibration{protocol.own_series}-"
        data_set, key = self.config.dataset.name, self.results_folder.key[:6]
        return f"{self.config.recipe}-{how}{data_set}-{key}"

    @cached_property
    def settings(self) -> str:
        """The whole configuration, as people read it."""
        return OmegaConf.to_yaml(OmegaConf.structured(self.config))

    @property
    def subjects(self) -> list[Id]:
        """The subjects that are named; none named are all that are there."""
        data = self.config.dataset
        if data.source == "simulated" and not data.subjects:
            return list(range(1, data.simulation.subjects + 1))
        return sorted(identity(subject) for subject in data.subjects)

    @property
    def decides(self) -> bool:
        """Whether onsets are decided: if wanted, or where they are written and nobody says no."""
        if self.config.protocol.leaves_out:  # there is no fold that another one teaches
            return False
        enabled = self.config.decisions.enabled
        left = left_by_a_fold(len(self.train_series), self.config.decisions.folds)
        enough = left >= self.config.method.FEWEST_SERIES
        written = not self.config.dataset.SUBMISSION and enough
        return written if enabled is None else enabled

    @property
    def bank(self) -> dict[str, Any]:
        """The group ``filter``, plain: what the features are computed with."""
        return plain(self.config.filter)

    @property
    def feature_kind(self) -> tuple[str, str]:
        """Module and class that compute the features."""
        return FEATURES[self.config.filter.kind]

    @property
    def plain_options(self) -> dict[str, Any]:
        """What the detector reads and its result depends on."""
        read = plain(self.config.detector_options)
        # How often a checkpoint is written changes nothing that is learned.
        read.get("train", {}).pop("checkpoint_seconds", None)
        return read

    @cached_property
    def device_type(self) -> str:
        """Where a detector that uses a GPU is fitted: cpu or cuda."""
        from pipeline.detectors.device import choose_device  # imports torch

        return str(choose_device(self.config.device).type)

    def file(self, kind: str, suffix: str) -> str:
        """Name a result, with the data set's name in it, so that no simulated one is mistaken."""
        return f"{kind}_{self.config.dataset.name}.{suffix}"

    # ---- folders: one per stage and configuration ---------------------------------------------

    @cached_property
    def derived(self) -> Path:
        """The data set's folder of what can be made again."""
        return path(self.config.data_dir) / "derived" / self.config.dataset.name

    @cached_property
    def raw(self) -> Path:
        """Where the raw files lie; never written to, except by the simulator."""
        if self.config.dataset.source == "simulated":
            return self.simulate_folder.path
        return raw_folder(self.config.dataset)

    @cached_property
    def simulate_folder(self) -> Folder:
        """Simulated raw files."""
        read = simulate.options(self)
        return Folder(self.derived, "simulate", read, (simulate.__name__,))

    @cached_property
    def ingest_folder(self) -> Folder:
        """Recordings."""
        simulated = self.config.dataset.source == "simulated"
        upstream = self.simulate_folder.key if simulated else ""
        read = ingest.options(self.config.dataset)
        code = (ingest.__name__, SOURCES[self.config.dataset.source])
        return Folder(self.derived, "ingest", read, code, upstream)

    @cached_property
    def feature_folder(self) -> Folder:
        """Features: filtered EEG, or other recipes' logits."""
        if self.members:
            keys = [member.train_folder.key for member in self.members]
            read = {"members": keys, "every": self.every, "folds": self.config.stack.folds}
            return Folder(self.derived, "stack", read, (members.__name__,))
        read = {"rate": self.about.rate, **self.bank}
        upstream = self.ingest_folder.key
        code = (features.__name__, self.feature_kind[0])
        return Folder(self.derived, "filter", read, code, upstream)

    @cached_property
    def train_folder(self) -> Folder:
        """Models, histories and logits."""
        code = (train.__name__, self.entry.module)
        return Folder(self.derived, "train", train.options(self), code, self.feature_folder.key)

    @cached_property
    def adapted_folder(self) -> Folder:
        """Models adapted to subjects who are left out, and their logits."""
        assert self.entry.adaptation is not None  # the configuration's check has seen that
        code = (train.__name__, adapt.__name__, self.entry.module, self.entry.adaptation)
        read = {"own_series": self.config.protocol.own_series}
        return Folder(self.derived, "adapt", read, code, self.train_folder.key)

    @property
    def scored_folder(self) -> Folder:
        """Where the models are that are scored and predict, with their logits."""
        leaves_out = self.config.protocol.leaves_out
        return self.adapted_folder if leaves_out else self.train_folder

    @cached_property
    def evoked_folder(self) -> Folder:
        """Average responses of each series to its events."""
        read = [self.about.rate, self.about.unit_volts, self.about.montage]
        code = (report.average_series.__module__,)
        return Folder(self.derived, "evoked", read, code, self.ingest_folder.key)

    @cached_property
    def explain_folder(self) -> Folder:
        """What each subject's validating model looks at."""
        code = (explain_subject.__name__, self.entry.module)
        read = [self.config.seed, list(self.entry.shown), self.about.unit_volts]
        return Folder(self.derived, "explain", read, code, self.train_folder.key)

    @cached_property
    def results_folder(self) -> Folder:
        """Tables, pictures and the submission: what people look at."""
        parent = path(self.config.output_dir) / self.config.dataset.name
        code: tuple[str, ...] = (
            evaluate.__name__, report.__name__, submit.__name__, predictions.__name__,
        )  # fmt: skip
        read: list[Any] = [self.config.recipe, self.subjects]
        if self.decides:
            code = (*code, decide.__name__)
            read.append(plain(self.config.decisions))
        if self.config.explain:
            code = (*code, explain.__name__)
            read.append("explain")
        return Folder(parent, self.config.recipe, read, code, self.scored_folder.key)

    # ---- doing it -----------------------------------------------------------------------------

    def run(
        self, title: str, tasks: list[Task], workers: int = 1, listen: Listen | None = None
    ) -> Summary:
        """Do a stage's tasks; what it took is recorded with the run."""
        summary = run_tasks(title, tasks, workers, listen, self.say, self.engine)
        if summary.done:
            self.tracker.took(f"{self.label}{title}", summary.seconds)
        return summary

    def is_recorded(self, fit: str) -> bool:
        """Tell whether a fit has a run of its own; of a stack's members only the scored ones."""
        return not self.label or fit.endswith("_validate")

    def listen(self, task: str, news: dict[str, Any]) -> None:
        """Pass on what a fit reports."""
        if self.is_recorded(task):
            self.tracker.listen(f"{self.label}{task}", news)
