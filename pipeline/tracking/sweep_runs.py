"""Sweeps (``python -m pipeline -m ...``): one run in MLflow above the runs of all jobs.

Hydra calls `Callback`; nothing here imports anything heavy before a sweep begins. The store and the
sweep's run are made before any job starts, and the jobs find it in their environment, so that
parallel ones need not agree.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback as HydraCallback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.compose import compose
from pipeline.config.options import Config, Stage
from pipeline.config.paths import path
from pipeline.errors import PipelineError
from pipeline.tracking import store
from pipeline.tracking.experiments import below
from pipeline.tracking.runs import Tracker
from pipeline.tracking.session import GROUP, JOB, code_version, recording
from pipeline.work.keys import digest
from pipeline.work.machine import PARALLEL, cores
from pipeline.work.messages import end_with_parent

# Before training nothing is recorded, so there is nothing to group.
RECORDED = (Stage.train, Stage.evaluate, Stage.submit)

PARENT = "PIPELINE_PARENT"
"""In the environment of a sweep's parallel jobs: the process that started them."""

_current: Sweep | None = None


class JobFault(Exception):
    """A fault of the program in a job, told there with its traceback."""


class Group(Tracker):
    """The run above a sweep's jobs, or a study's trials.

    Parameters
    ----------
    config : Config
        A job's: where runs are recorded, and whether the recordings are simulated.
    name : str
        Of the run.
    kind : str
        What is grouped: sweep or study.
    params : dict of str
        The run's parameters.
    memory : Path
        Where to keep which run it is: given again, it goes on with it. A sweep that has ended well
        is forgotten; a study may still get more trials.
    """

    def __init__(
        self, config: Config, name: str, kind: str, params: dict[str, str], memory: Path
    ) -> None:
        alone = replace(config.tracking, system_metrics=False)  # the jobs measure
        super().__init__(replace(config, recipe=kind, tracking=alone), name, memory)
        self.kind, self.params = kind, params

    def _begin(self) -> None:
        tags = {"resumable": "true"}
        if version := code_version():
            tags |= {"mlflow.source.git.commit": version[0], "git_dirty": str(version[1]).lower()}
        self._params(self._start(self.name, tags), self.params)

    def open(self) -> None:
        """Make the run or go on with it, and say where it is to all that is started from here."""
        if not self.config.tracking.enabled:
            return
        self.check()
        self.begin()
        if self.lost is not None:  # no job has begun, so nothing is lost
            raise PipelineError(store.refusal(self.uri, self.lost))
        os.environ[GROUP] = json.dumps({"uri": self.uri, "run": self.parent})

    def members(self) -> dict[str, tuple[str, float | None]]:
        """Give the status and the AUC of each job's run, by the job's number; the newest counts."""
        found: dict[str, tuple[str, float | None]] = {}
        self._find(found)
        return found

    @recording
    def _find(self, found: dict[str, tuple[str, float | None]]) -> None:
        assert self._client is not None
        for run in below(self._client, self.parent or ""):
            auc = run.data.metrics.get("auc_mean")
            found[run.data.tags.get("number", "")] = (run.info.status, auc)

    @recording
    def end_left(self) -> None:
        """End what is below and was left open by a process that was killed."""
        assert self._client is not None
        jobs = below(self._client, self.parent or "")
        for run in [
            *jobs,
            *(each for job in jobs for each in below(self._client, job.info.run_id)),
        ]:
            if run.info.status == "RUNNING":
                self._client.set_tag(run.info.run_id, "failure", "its process ended before it")
                self._client.set_terminated(run.info.run_id, "KILLED")

    def close(self, error: BaseException | None = None) -> None:
        """End the run, and what was left open below it."""
        os.environ.pop(GROUP, None)
        if self._client is None:
            return  # it was never opened
        self.end_left()
        super().close(error)
        if self.kind == "study" and self.memory is not None:
            self._remember()  # it may be given more trials


def name_job(number: int, overrides: str) -> None:
    """Say which job this process does from now on; its run gets it as tags."""
    os.environ[JOB] = json.dumps({"number": str(number), "overrides": overrides})


class Sweep:
    """A sweep that is going on.

    Parameters
    ----------
    jobs : list of list of str
        Each job's overrides.
    varied : list of str
        The keys that differ between them.
    """

    def __init__(self, jobs: list[list[str]], varied: list[str]) -> None:
        self.jobs, self.varied = jobs, varied
        self.group: Group | None = None

    def open(self, overrides: list[str]) -> None:
        """Make the run above the jobs' runs, and tell the jobs where it is.

        Parameters
        ----------
        overrides : list of str
            The command's.
        """
        config = self._config()
        if config is None or config.stage not in RECORDED or not config.tracking.enabled:
            return
        data = config.dataset.name
        key = digest(sorted(overrides))
        memory = path(config.output_dir) / data / f".sweep-{key}.json"
        params = {"overrides": " ".join(overrides), "jobs": str(len(self.jobs))}
        self.group = Group(config, f"sweep-{data}-{key[:6]}", "sweep", params, memory)
        self.group.open()

    def _config(self) -> Config | None:
        """Compose the first job that composes; what is wrong with another, it tells itself."""
        for job in self.jobs:
            try:
                return compose(job)
            except (PipelineError, HydraException, OmegaConfBaseException):
                continue
        return None

    def close(self, error: BaseException | None) -> None:
        """Describe what came out, and end the run as the jobs ended."""
        if self.group is None:
            return
        self.group.end_left()
        found = self.group.members()
        rows = []
        for number, job in enumerate(self.jobs):
            values = dict(override.split("=", 1) for override in job)
            status, auc = found.get(str(number), ("no run", None))
            rows.append((str(number), [values[key] for key in self.varied], auc, status))
        table = ranking("job", self.varied, rows)
        self.group.describe(table)
        print(f"\n{table}\n\n{self.group.name}")
        broken = [row for row in rows if row[3] != "FINISHED"]
        if isinstance(error, Exception):
            error = PipelineError(f"{len(broken)} of {len(rows)} jobs failed: {error}")
        self.group.close(error)


Row = tuple[str, list[str], float | None, str]
"""What a table says of a job: its number, its values, its AUC, how it ended."""


def ranking(what: str, keys: list[str], rows: list[Row]) -> str:
    """Write a Markdown table, the best AUC first.

    Parameters
    ----------
    what : str
        What the rows are: job or trial.
    keys : list of str
        What the values are of.
    rows : list of Row
        In any order.
    """
    lines = [
        f"| {' | '.join([what, *keys, 'mean AUC', 'status'])} |",
        f"|{' ---: |' * (len(keys) + 2)} --- |",
    ]
    for number, values, auc, status in sorted(rows, key=lambda row: -(row[2] or 0.0)):
        score = "" if auc is None else f"{auc:.4f}"
        lines.append(f"| {' | '.join([number, *values, score, status])} |")
    return "\n".join(lines)


def is_job() -> bool:
    """Tell whether this is a sweep's job."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_parallel() -> bool:
    """Tell whether this is one of several jobs that run at once."""
    return PARALLEL in os.environ


def say(line: str) -> None:
    """Print a line; of one of several jobs with its number, so that one knows whose it is."""
    if is_job() and is_parallel():
        line = "\n".join(f"{HydraConfig.get().job.num}: {part}" for part in line.splitlines())
    print(line, flush=is_job())


def tell_failure(error: Exception) -> None:
    """Say why a job failed, and let Hydra go on with the others.

    Raises
    ------
    Exception
        The error where the user can mend it, else a `JobFault`.
    """
    job = HydraConfig.get()
    overrides = " ".join(str(override) for override in job.overrides.task)
    if isinstance(error, PipelineError):
        print(f"error: job {job.job.num} ({overrides}): {error}", file=sys.stderr)
        raise PipelineError(str(error)) from None
    traceback.print_exc()
    raise JobFault(f"{type(error).__name__}: {error}") from None


def end(error: BaseException | None = None) -> None:
    """End the sweep, if there is one."""
    global _current
    sweep, _current = _current, None
    if sweep is None:
        return
    try:
        sweep.close(error)
    except PipelineError as fault:
        print(f"error: {fault}", file=sys.stderr)
        if error is None:
            raise


class Callback(HydraCallback):
    """What Hydra calls; it goes to the workers, so it keeps nothing."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the sweep's run, before any job starts."""
        global _current
        overrides = [str(override) for override in config.hydra.overrides.task]
        _current = sweep = plan(overrides)
        # Their bars would overwrite one another, and each would take all cores.
        if (at_once := jobs_at_once(config.hydra.launcher, len(sweep.jobs))) > 1:
            os.environ[PARALLEL] = str(at_once)
            os.environ[PARENT] = str(os.getpid())
            os.environ["TQDM_DISABLE"] = "1"
        try:
            sweep.open(overrides)
        except PipelineError as error:  # Hydra would only warn
            print(f"error: {error}", file=sys.stderr)
            _current = None
            sys.exit(2)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say which job this is, in the process that does it."""
        if is_job():
            if is_parallel():
                end_with_parent(int(os.environ[PARENT]))
            overrides = " ".join(str(override) for override in config.hydra.overrides.task)
            name_job(int(config.hydra.job.num), overrides)


def jobs_at_once(launcher: DictConfig, jobs: int) -> int:
    """Count the jobs that Hydra's launcher will run at once."""
    wanted = int(launcher.get("n_jobs", 1))
    return max(1, min(jobs, wanted if wanted > 0 else cores() + 1 + wanted))


def plan(overrides: list[str]) -> Sweep:
    """Take a sweep's overrides apart into its jobs', in the order in which Hydra numbers them."""
    hydra = GlobalHydra.instance().hydra
    parser = OverridesParser.create(hydra.config_loader if hydra else None)
    choices, varied = [], []
    for each in parser.parse_overrides(overrides):
        key = each.get_key_element()
        if not each.is_sweep_override():
            choices.append([f"{key}={each.get_value_element_as_str()}"])
            continue
        if not each.is_discrete_sweep():
            raise HydraException(f"{each.input_line}: a sweep needs values to choose from")
        choices.append([f"{key}={value}" for value in each.sweep_string_iterator()])
        varied.append(key)
    return Sweep([list(job) for job in itertools.product(*choices)], varied)
