"""A real browser without a window, for pictures and tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from selenium import webdriver

# Chromium refuses a sandbox to root. The other flags keep it from connecting to other machines.
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NEEDS = "needs Debian's packages chromium and chromium-driver"


def is_there() -> bool:
    """Tell whether this computer has the browser and its driver."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def open_browser(width: int, height: int, *flags: str) -> Iterator[webdriver.Chrome]:
    """Open the browser; close it at the end of the block.

    Parameters
    ----------
    width, height : int
        Size of the invisible window, in pixels.
    *flags : str
        More flags for the browser.

    Raises
    ------
    PipelineError
        If it is not installed.
    """
    if not is_there():
        raise PipelineError(NEEDS)
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError as error:
        raise PipelineError("needs the package selenium, of the extra dev") from error
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--window-size={width},{height}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
