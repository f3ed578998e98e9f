"""MLflow's settings in the environment. They are made before MLflow is imported.

Nothing here imports MLflow. A user who sets one of these variables overrules it.
"""

from __future__ import annotations

import os

DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # the stages have their own
    # A server that is away is told after some seconds. MLflow itself would try for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


def set_defaults() -> None:
    """Switch MLflow's usage statistics off, and let it give up soon on a server that is away."""
    if "MLFLOW_DISABLE_TELEMETRY" not in os.environ:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("DO_NOT_TRACK", "true")
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
