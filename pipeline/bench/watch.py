"""Take a picture of the live page in a browser, for ``docs/live.png``.

``python -m pipeline.bench.watch [overrides]`` fits the recipe `lstm` on one simulated subject,
chooses the settings of its onsets, replays a test series with ``view=web``, and looks at the page
in Chromium.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.bench.arguments import run_command
from pipeline.bench.browser import open_browser
from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.work.files import write_whole

if TYPE_CHECKING:
    from selenium import webdriver

PICTURE = PROJECT / "docs" / "live.png"
DATA = ("dataset=simulated", "dataset.simulation.subjects=1")
DECIDED = ("decisions.enabled=true", "decisions.folds=2")
SUBJECT, SERIES = 1, 9
WIDTH, HEIGHT = 1240, 1090  # pixels, with the browser's own frame
COLORS = 128  # in the picture; with all colours the file would be three times as large
SHOWN_SECONDS = 31.5  # of the series: then a whole trial is on the page
START_SECONDS, STOP_SECONDS = 300, 60
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/")


@contextmanager
def replayed(model: str, *overrides: str) -> Iterator[str]:
    """Replay a simulated recording with ``view=web``, in a separate process.

    Parameters
    ----------
    model : str
        As ``live.model``.
    *overrides : str
        More options.

    Yields
    ------
    str
        The page's address.

    Raises
    ------
    PipelineError
        If it does not start. The message is what it printed.
    """
    command = [
        sys.executable, "-m", "pipeline", "stage=replay", *DATA, f"live.model={model}",
        f"live.subject={SUBJECT}", f"live.series={SERIES}", "live.view=web", "live.port=0",
        *overrides,
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with open(log, "w", encoding="utf-8") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, cwd=PROJECT)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not (found := ADDRESS.search(log.read_text(encoding="utf-8"))):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PipelineError(
                        f"the replay did not start: {log.read_text(encoding='utf-8').strip()}"
                    )
                time.sleep(0.1)
            yield found.group()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(browser: webdriver.Chrome, seconds: float, most: float) -> None:
    """Wait until the page shows this time of the series.

    Parameters
    ----------
    browser : Chrome
        It has opened the page.
    seconds : float
        Time in the series, in s.
    most : float
        How long to wait, in s.

    Raises
    ------
    PipelineError
        If the page shows an earlier time for that long.
    """
    deadline, script = time.monotonic() + most, "return document.getElementById('time').textContent"
    while not (now := re.match(r"[\d.]+", browser.execute_script(script))) or (
        float(now.group()) < seconds
    ):
        if time.monotonic() > deadline:
            raise PipelineError(f"the page shows no {seconds:g} s of signal after {most:g} s")
        time.sleep(0.05)


def save(browser: webdriver.Chrome, path: Path) -> None:
    """Write what the browser shows, as a small PNG."""
    from io import BytesIO

    from PIL import Image

    shown = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    shown.quantize(COLORS, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)


def draw(path: Path, model: str, *overrides: str) -> None:
    """Replay a series with a fitted recipe, and write what the browser shows.

    Parameters
    ----------
    path : Path
        The PNG.
    model : str
        As ``live.model``.
    *overrides : str
        More options of the replay.
    """
    with (
        open_browser(WIDTH, HEIGHT, "--hide-scrollbars") as browser,
        replayed(model, *overrides) as address,
    ):
        browser.get(address)
        wait_until(browser, SHOWN_SECONDS, START_SECONDS)
        write_whole(path, lambda hidden: save(browser, hidden))


def main(overrides: Sequence[str]) -> None:
    """Fit the recipe, replay a series, and write the picture.

    Parameters
    ----------
    overrides : sequence of str
        As on the pipeline's command line.
    """
    from pipeline.stages.flow import run  # here: a mistake is told before torch is loaded

    with TemporaryDirectory() as folder:
        store, name = f"tracking.uri=sqlite:///{folder}/runs.db", "lstm-simulated"
        before = os.getcwd()
        os.chdir(folder)  # where MLflow puts a store's files
        try:
            run(compose([*DATA, store, f"tracking.register={name}", *DECIDED, *overrides]))
        finally:
            os.chdir(before)
        draw(PICTURE, f"models:/{name}/1", store)
    print(PICTURE)


if __name__ == "__main__":
    run_command(main)
