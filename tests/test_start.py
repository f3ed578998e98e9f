"""The command line starts without what it does not need yet: a mistake is told at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.config.paths import PROJECT

HEAVY = ("torch", "mne", "mlflow", "pandas", "numpy", "scipy", "sklearn", "pyarrow", "matplotlib")


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["model.hiden=3"]])
def test_showing_the_configuration_and_a_mistake_in_a_key_load_nothing_heavy(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['pipeline', *{arguments!r}]\n"
        "from pipeline.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
