"""``python -m pipeline [overrides]``: compose the configuration, check it, run the stages."""

from __future__ import annotations

import logging
import signal
import sys

import hydra
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline import config as configuration
from pipeline.errors import PipelineError


@hydra.main(config_path=str(configuration.CONF), config_name="config", version_base="1.3")
def _main(composed: DictConfig) -> float | None:
    try:
        config = configuration.checked(composed)
        from pipeline.stages import run  # here, so that a mistake is told before torch is loaded

        result = run(config)
    except (PipelineError, OmegaConfBaseException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    return None if result.auc is None else float(result.auc.loc["pooled", "mean"])


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    configuration.register()
    signal.signal(signal.SIGTERM, _stop)  # as ctrl-C: the runs are marked, and it can go on later
    logging.captureWarnings(True)
    _main()


if __name__ == "__main__":
    main()
