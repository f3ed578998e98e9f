"""Small recordings in Kaggle's format, made once, and the command line as a function."""

from __future__ import annotations

import base64
import gc
import io
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from hydra import compose as hydra_compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import settings
from omegaconf import DictConfig

from pipeline.__main__ import main
from pipeline.config import compose as compose_module
from pipeline.config.compose import compose
from pipeline.config.options import Config, is_read
from pipeline.config.paths import CONF
from pipeline.data.recording import Description
from pipeline.data.simulator.format import write_series
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.detectors.base import FitData
from pipeline.features.feature_series import FeatureSeries, Moments
from pipeline.results import decision_figures, explained_figures, figures
from pipeline.tracking import store

gc.disable()  # until all is imported: it would look at all modules again and again


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look no more at what has been imported, which stays, whenever memory is freed."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that both processes end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


# Hydra reads and merges some thirty files for every configuration, which takes most of the time of
# a test that looks at one option. So each choice of files is composed once, and the options are set
# in a copy of it, by Hydra, in its own order. What fails is composed anew, for Hydra's own words.
GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}


@cache
def chosen_files(*groups: str) -> DictConfig:
    """Compose what some choices of files give, once."""
    return hydra_compose("config", list(groups))


def quick_compose(name: str, overrides: list[str]) -> DictConfig:
    """Compose as Hydra does; tests/test_config.py compares the two."""
    if compose_module.CONF != CONF:  # a test has files of its own
        return hydra_compose(name, overrides)
    try:
        groups, options = [], []
        for each in OverridesParser.create().parse_overrides(overrides):
            of_files = each.key_or_group.partition("/")[0] in GROUPS
            if each.package or (of_files and not isinstance(each.value(), str)):
                return hydra_compose(name, overrides)
            (groups if of_files else options).append(each)
        composed = deepcopy(chosen_files(*(each.input_line for each in groups)))
        # Hydra has no public way to set options in what is composed.
        ConfigLoaderImpl._apply_overrides_to_config(options, composed)
        return composed
    except Exception:
        return hydra_compose(name, overrides)


compose_module.hydra_compose = quick_compose


def composed_by_hydra(overrides: list[str]) -> Config:
    """Compose without what is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose_module, "hydra_compose", hydra_compose)
        return compose(overrides)


# The competition's channels, events and rate.
COMPETITION = Description.of(compose(["dataset=kaggle"]).dataset)
EVENTS = COMPETITION.events

# How long an example takes depends on the computer's load: no test fails for that.
settings.register_profile("any_load", deadline=None)
settings.load_profile("any_load")

# Everything small: two subjects, three series, a network of a few units.
SMALL = (
    "dataset.simulation.subjects=2",
    "dataset.simulation.series=3",
    "dataset.simulation.trials=3",
    "dataset.train_series=[1]",
    "dataset.valid_series=[2]",
    "dataset.test_series=[3]",
    "filter.lowpass_hz=[1,5]",
    "filter.power_bands_hz=[]",
    "filter.decimate=25",
    "model.hidden=6",
    "model.projection=0",
    "train.epochs=2",
    "tracking.enabled=false",
    "workers=1",
    "device=cpu",  # where the same numbers come out to the bit; tests/test_gpu.py is for a GPU
)


# An LSTM, small: what a test adds to `experiment=...`.
SMALL_RECIPE = (
    "dataset=simulated", *SMALL, "window.length=20",
    "window.batch=2", "window.burn_in=0",
    "model.projection=3", "dataset.simulation.series=4", "dataset.train_series=[1,2]",
    "dataset.valid_series=[3]", "dataset.test_series=[4]",
)  # fmt: skip
SMALL_STACK = (
    *SMALL_RECIPE, "stack.folds=2",
    "stack.overrides=['filter.lowpass_hz=[1]','model.hidden=6','train.epochs=1','method.updates=5']",
)  # fmt: skip
# With what other methods read; a recipe is given what it reads of it.
SMALL_COMMON = (*SMALL_STACK, "method.updates=5", "method.units=8")
RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@cache
def composed(*overrides: str) -> Config:
    """Compose once, to look at."""
    return compose(["dataset=simulated", *overrides])


def small_recipe(recipe: str) -> list[str]:
    """Make a recipe small; a second level has two members, for each recipe is tested by itself."""
    members = ["stack.members=['fbl_lr filter=drift_free',lstm_conv]"]
    chosen = composed(f"experiment={recipe}")
    small = [each for each in SMALL_COMMON if is_read(chosen, each.partition("=")[0])]
    return [f"experiment={recipe}", *small, *(members if recipe == "stack" else [])]


def unless_given(common: Sequence[str], more: Sequence[str]) -> list[str]:
    """Give the common overrides that a recipe reads and that are not among those given."""
    chosen = composed(*(each for each in more if each.startswith(("exp", "method="))))
    given = {each.partition("=")[0] for each in more}
    keys = {each: each.partition("=")[0] for each in common}
    return [each for each in common if keys[each] not in given and is_read(chosen, keys[each])]


def make_config(folder: Path, *overrides: str) -> Config:
    """Compose as the command line does, with everything that is written below ``folder``."""
    places = [f"data_dir={folder / 'data'}", f"output_dir={folder / 'outputs'}"]
    return compose([*places, *overrides])


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Do what ``python -m pipeline`` does in a folder, without the seconds that a process takes."""
    said, errors, status = io.StringIO(), io.StringIO(), 0
    root, environment, argv = logging.getLogger(), dict(os.environ), sys.argv
    handlers, stop = root.handlers[:], signal.getsignal(signal.SIGTERM)
    sys.argv = ["pipeline", *arguments]
    try:
        with chdir(folder), redirect_stdout(said), redirect_stderr(errors):
            main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        sys.argv, root.handlers[:] = argv, handlers
        signal.signal(signal.SIGTERM, stop)
        logging.captureWarnings(False)
        os.environ.clear()
        os.environ |= environment
    return subprocess.CompletedProcess(arguments, status, said.getvalue(), errors.getvalue())


def tapped_series(subject: int, number: int, rows: int = 600, offset: float = 0.0) -> FeatureSeries:
    """Features of which the first tells of one event, and the second of another 20 rows ago."""
    random = np.random.default_rng([subject, number])
    labels = (random.random((rows, 2)) < 0.2).astype(np.uint8)
    features = random.normal(offset, 1 + subject, (rows, 3)).astype(np.float32)
    features[:, 0] += 3 * (1 + subject) * labels[:, 0]
    features[:-20, 1] += 3 * (1 + subject) * labels[20:, 1]
    return FeatureSeries(subject, number, features, labels, Moments.of(features))


def submitted(path: Path, name: str) -> np.ndarray:
    """The rows of one series of a submission, as single precision: what was written."""
    table = pd.read_csv(path, index_col="id")
    return table[table.index.str.startswith(f"{name}_")].to_numpy(np.float32)


def told(news: list) -> Callable[[float, dict], None]:
    """Give a report that keeps what it is told."""
    return lambda progress, more: news.append((progress, more))


def fit_data(fitted: list[FeatureSeries], **changes) -> FitData:
    """What a detector is fitted on; ``changes`` are other attributes of `FitData`."""
    usual = {
        "name": "subj1_validate", "fitted": fitted, "held_out": [], "shared": [],
        "events": ("one", "two"), "seed": 0, "device": "cpu", "epochs": None,
        "scratch": Path("not-used"), "report": told([]), "channels": 1,
    }  # fmt: skip
    return FitData(**(usual | changes))


LIMIT = 600
"""Seconds after which a test gives up waiting. It only stops a hang: no machine is that slow."""


def wait_until(
    there: Callable[[], object], process: subprocess.Popen, said: Callable[[], str] = lambda: ""
) -> None:
    """Wait for what a process brings about; the process must not end before that."""
    limit = time.monotonic() + LIMIT
    while not there():
        assert process.poll() is None, f"it ended too early\n{said()}"
        assert time.monotonic() < limit, f"it hangs\n{said()}"
        time.sleep(0.002)


def session_of(leader: int) -> dict[int, str]:
    """Give the command lines of the processes that a session's leader has started, and theirs."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if os.getsid(int(folder.name)) == leader:
                said = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                if said:  # else it has ended, and nobody has asked how
                    found[int(folder.name)] = said.decode(errors="replace")
    return found


def kill_alone(process: subprocess.Popen) -> None:
    """Kill a session's leader alone, as an out-of-memory killer does; all others must end, too."""
    process.kill()
    process.wait()
    limit = time.monotonic() + LIMIT
    while left := session_of(process.pid):
        assert time.monotonic() < limit, left
        time.sleep(0.05)


@contextmanager
def whole_session(process: subprocess.Popen) -> Iterator[None]:
    """Leave nothing of a process's session behind, whatever happens."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # they are all gone, as they should
            os.killpg(process.pid, signal.SIGKILL)


def answers(address: str) -> bool:
    """Tell whether a server answers at an address."""
    try:
        urllib.request.urlopen(address, timeout=LIMIT).close()
    except OSError:
        return False
    return True


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def quick_stores(connection: object, _: object) -> None:
    """MLflow's files in this process do not wait for the disk: no test takes its power away."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


# A picture of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PICTURES = {
    (module, name): draw
    for module in (figures, decision_figures, explained_figures)
    for name, draw in vars(module).items()
    if name.endswith("_picture")
}


@pytest.fixture(scope="session", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Runs in this process draw no pictures, which would take most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in PICTURES:
            patch.setattr(module, name, lambda path, *_, **__: path.write_bytes(PIXEL))
        yield


@contextmanager
def real_pictures() -> Iterator[None]:
    """Draw the pictures after all."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), draw in PICTURES.items():
            patch.setattr(module, name, draw)
        yield


@pytest.fixture
def small_config(tmp_path):
    """Compose a small simulated run; more overrides may be given."""
    return lambda *more: make_config(
        tmp_path, "dataset=simulated", *more, *unless_given(SMALL, more)
    )


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder that the tests of all processes share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def recipes_folder(shared_folder) -> Path:
    """Where the small recipes are run: what one test has made is fresh for the others.

    Those in other processes share it: two tests that need the same training wait for each other.
    """
    folder = shared_folder / "recipes"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def empty_store(shared_folder) -> Path:
    """A store of MLflow without a run, made once, because MLflow takes seconds for it."""
    file = shared_folder / "empty_runs.db"
    with store.lock(f"sqlite:///{file}"):
        store.make(f"sqlite:///{file}")
    return file


def store_in(folder: Path, empty_store: Path) -> str:
    """Put a copy of the store without a run into a folder; give its address."""
    shutil.copy(empty_store, folder / "runs.db")
    return f"sqlite:///{folder / 'runs.db'}"


@pytest.fixture
def uri(empty_store, tmp_path) -> str:
    """The address of a store of a test's own, which has no runs."""
    return store_in(tmp_path, empty_store)


@pytest.fixture(scope="session")
def kaggle_files(tmp_path_factory) -> Path:
    """Raw files as Kaggle ships them, two subjects, series 1-3, of which 3 has no events."""
    folder = tmp_path_factory.mktemp("kaggle")
    config = SimulationConfig(seed=3, subjects=2, trials=2)
    for subject in (1, 2):
        for series in (1, 2, 3):
            half = folder / ("test" if series == 3 else "train")
            made = simulate_series(config, COMPETITION, subject, series)
            write_series(made, half, series != 3)
    return folder


@pytest.fixture
def raw(kaggle_files, tmp_path) -> Path:
    """A copy of the raw files that a test may damage."""
    folder = tmp_path / "data" / "raw"
    shutil.copytree(kaggle_files, folder)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)
