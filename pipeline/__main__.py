"""``python -m pipeline [overrides]``: compose the configuration, check it, run the stages."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from pipeline.config import adapt
from pipeline.config.compose import checked, mistake, register, unclear
from pipeline.config.live import STAGES as LIVE_STAGES
from pipeline.config.live import full_keys
from pipeline.config.options import Stage
from pipeline.config.paths import CONF
from pipeline.errors import ConfigError, PipelineError
from pipeline.tracking import sweep_runs as multirun
from pipeline.work.loading import loading

if TYPE_CHECKING:
    from pipeline.stages.record import Given

STOPPED = "stopped; the same command continues from here"


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _main(composed: DictConfig) -> float | None:
    try:
        config = checked(composed, HydraConfig.get().overrides.task)
        if config.stage.name in LIVE_STAGES:
            if multirun.is_job():
                raise ConfigError(f"stage={config.stage.name}: runs by itself, without -m")
            with loading():
                from pipeline.live.run import run as run_live

            run_live(config)
            return None
        if config.stage is Stage.adapt:
            if multirun.is_job():
                raise ConfigError("stage=adapt: runs by itself, without -m")
            with loading():
                from pipeline.stages.adapt import run as run_adapt

            run_adapt(config)
            return None
        with loading():  # here: a mistake is told before torch is loaded
            from pipeline.stages.flow import run

        result = run(config, multirun.say, None if multirun.is_job() else _given())
    except Exception as error:
        if isinstance(error, OmegaConfBaseException):
            error = ConfigError(mistake(error))
        if multirun.is_job():
            multirun.tell_failure(error)
        if isinstance(error, PipelineError):
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        raise
    return None if result.auc is None else float(result.auc.loc["pooled", "mean"])


def _given() -> Given:
    from pipeline.stages.record import Given  # here, as above

    job = HydraConfig.get()
    keys = [each for each in job.overrides.task if not each.startswith("dataset=")]
    return Given(job.runtime.choices["dataset"], tuple(keys))


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    register()
    # As Ctrl-C: the runs are marked as stopped, and the same command can continue them.
    signal.signal(signal.SIGTERM, _stop)
    logging.captureWarnings(True)
    wanted = "HYDRA_FULL_ERROR" in os.environ
    sys.argv[1:] = adapt.full_keys(full_keys(sys.argv[1:]))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # what goes wrong while composing is told below
    try:
        _main()
        multirun.end()
    except BaseException as error:
        multirun.end(error)
        if wanted or not isinstance(error, KeyboardInterrupt | Exception):
            raise
        sys.exit(_tell(error))


def _tell(error: BaseException) -> int:
    """Say in one line what went wrong; give the exit status."""
    if mistaken := unclear(sys.argv[1:]):
        print(f"error: {mistaken}", file=sys.stderr)
        return 2
    if isinstance(error, KeyboardInterrupt):
        print(STOPPED, file=sys.stderr)
        return 130
    if isinstance(error, multirun.JobFault):
        return 1
    if not isinstance(error, PipelineError):  # a job has told that itself
        if not isinstance(error, HydraException | OmegaConfBaseException | MarkedYAMLError):
            raise error
        print(f"error: {mistake(error)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
