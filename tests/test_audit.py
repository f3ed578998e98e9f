"""No file is unpickled, no text is run as code, and nothing listens beyond this machine."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from pipeline.config.paths import PROJECT
from tests.conftest import LIMIT, SMALL_RECIPE

FILES = sorted((PROJECT / "pipeline").rglob("*.py"))
# Modules and functions that run what a file or a text says.
RUNNING = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "eval", "exec", "read_pickle",
           "unsafe_load", "full_load"}  # fmt: skip
EVERYWHERE = {"0.0.0.0", "::", "[::]"}


def faults(code: str) -> list[str]:
    """Name what must not be in a module."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            if names == ["pickle", "UnpicklingError"]:  # what torch.load raises for other files
                continue
            found += [name for name in names if name.split(".")[0] in RUNNING]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            plain = isinstance(node.func, ast.Name) or called.split(".")[-1] not in ("eval", "exec")
            if called.split(".")[-1] in RUNNING and plain:
                found.append(called)
            if called == "torch.load" and given.get("weights_only") != "True":
                found.append(called)
            if given.get("allow_pickle", "False") != "False" or called == "joblib.load":
                found.append(called)
        if isinstance(node, ast.Constant) and node.value in EVERYWHERE:
            found.append(repr(node.value))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_a_module_unpickles_nothing_and_listens_to_this_machine_only(file):
    assert not faults(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from pickle import load", "import cloudpickle as c", "torch.load(path)",
     "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)",
     "pd.read_pickle(path)", "joblib.load(path)", "eval(text)", "serve(host='0.0.0.0')"],
)  # fmt: skip
def test_such_code_is_found(code):
    assert faults(code)


def test_a_network_is_not_run_as_code():
    assert not faults("network.eval()")


# Python tells of every class that is unpickled, and of every address that is listened at. Numba
# reads machine code of this program from beside it, as Python reads bytecode.
WATCHED = """
import sys
told = []
def for_numba():
    frame = sys._getframe()
    while frame and not frame.f_code.co_filename.endswith("numba/core/caching.py"):
        frame = frame.f_back
    return frame is not None
def watch(event, arguments):
    if event == "pickle.find_class" and not for_numba():
        told.append(f"unpickled {arguments}")
    if event == "socket.bind" and isinstance(arguments[1], tuple):
        if arguments[1][0] not in ("127.0.0.1", "::1", "localhost"):
            told.append(f"listens at {arguments[1]}")
sys.addaudithook(watch)
from pipeline.config.compose import compose
from pipeline.work.loading import loading
with loading():
    from pipeline.stages.flow import run
run(compose(sys.argv[1:]))
print("told", told)
"""


@pytest.mark.slow
def test_a_whole_run_unpickles_nothing(tmp_path):
    """With one worker: what workers send each other is no file."""
    places = [f"data_dir={tmp_path / 'data'}", f"output_dir={tmp_path / 'outputs'}"]
    small = [each for each in SMALL_RECIPE if "simulation.subjects" not in each]
    small.append("dataset.simulation.subjects=1")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "experiment=lstm", *small, *places],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "told []"
