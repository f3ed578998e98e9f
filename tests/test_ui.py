"""What a person sees who opens the runs in a browser, after two commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.bench.browser import NEEDS, is_there, open_browser
from pipeline.bench.chaos_runs import free_port
from pipeline.config.paths import PROJECT
from pipeline.stages.flow import run
from tests.conftest import (
    LIMIT,
    SMALL,
    answers,
    make_config,
    real_pictures,
    store_in,
    unless_given,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_there(), reason=NEEDS)]
RECIPES = ("lstm", "fbl_lda")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, empty_store) -> tuple[str, dict[str, float]]:
    """Two recorded commands: the store, and each recipe's AUC."""
    folder = tmp_path_factory.mktemp("ui")
    uri = store_in(folder, empty_store)
    aucs = {}
    for recipe in RECIPES:
        more = (f"experiment={recipe}", "tracking.enabled=true", f"tracking.uri={uri}")
        small = unless_given(SMALL, more)
        config = make_config(folder, "dataset=simulated", *small, *more)
        with real_pictures():
            result = run(config, say=lambda line: None)
        aucs[recipe] = float(result.auc.loc["pooled", "mean"])
    return uri, aucs


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory) -> Iterator[str]:
    """The address that `make ui` prints for the data set's runs."""
    port, log = free_port(), tmp_path_factory.mktemp("log") / "ui.log"
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen(
            ["make", "-o", f"{sys.prefix}/.installed", "ui", f"PORT={port}", f"VENV={sys.prefix}"],
            cwd=PROJECT, env={**os.environ, "MLFLOW_TRACKING_URI": runs[0]},
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    where = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{where}/health"), server, lambda: log.read_text("utf-8"))
        told = next(
            line for line in log.read_text(encoding="utf-8").splitlines() if "simulated: " in line
        )
        yield told.removeprefix("simulated: ")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(LIMIT)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """A real browser without a window."""
    with open_browser(1900, 1200) as driver:
        yield driver


def wait(browser: webdriver.Chrome, what: Callable[[], object]) -> object:
    # The page may redraw, or still cover what is to be clicked: then it is tried again.
    ignored = [StaleElementReferenceException, ElementClickInterceptedException]
    try:
        return WebDriverWait(browser, LIMIT, ignored_exceptions=ignored).until(lambda _: what())
    except TimeoutException:
        seen = browser.find_element(By.TAG_NAME, "body").text
        pytest.fail(f"not there; {browser.current_url} shows:\n{seen}")


def find(browser: webdriver.Chrome, path: str) -> WebElement:
    return wait(browser, lambda: next(iter(browser.find_elements(By.XPATH, path)), None))


def click(browser: webdriver.Chrome, path: str) -> None:
    def clicked() -> bool:
        elements = browser.find_elements(By.XPATH, path)
        if elements:
            elements[0].click()
        return bool(elements)

    wait(browser, clicked)


def picture(browser: webdriver.Chrome, folder: Path, name: str) -> None:
    """Keep what is to be seen, for whoever wants to look (SCREENSHOTS=folder)."""
    folder = Path(os.environ.get("SCREENSHOTS", folder))
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / f"{name}.png"))


def test_runs_are_found_sorted_and_opened(runs, address, browser, tmp_path):
    _, aucs = runs
    browser.get(address)
    find(browser, "//*[@role='columnheader'][contains(., 'auc_mean')]")
    best_first = sorted(aucs, key=aucs.__getitem__, reverse=True)

    def rows() -> list[str]:
        # A row that moved keeps its place in the page's source; its number is what is seen.
        found = browser.find_elements(By.XPATH, "//*[@role='row'][@row-index]")
        found.sort(key=lambda row: int(str(row.get_attribute("row-index"))))
        texts = [row.text for row in found]
        return [t for t in texts if any(recipe in t for recipe in RECIPES)]

    def is_sorted() -> bool:
        return [next(r for r in RECIPES if r in text) for text in rows()[:2]] == best_first

    wait(browser, is_sorted)
    listed = "\n".join(rows())
    for recipe in RECIPES:
        for child in ("subj1_validate", "subj2_validate"):
            assert f"{recipe}-simulated" in listed
            assert child in listed
    text = browser.find_element(By.TAG_NAME, "body").text
    for auc in aucs.values():
        assert f"{auc:.6f}"[:-1] in text
    assert "Model training" in text
    assert "Agent versions" not in text  # as for language models
    picture(browser, tmp_path, "runs")

    click(browser, "//a[contains(@href, '/models')][contains(., 'Models')]")
    find(browser, f"//a[contains(., '{best_first[0]}-simulated')]")  # the model's source run
    picture(browser, tmp_path, "models")
    browser.get(address)
    name = (
        f"//*[@role='row']//a[contains(., '{best_first[0]}-simulated') and not(contains(., ' '))]"
    )
    click(browser, name)
    find(browser, "//*[text()='Child runs']")
    find(browser, "//table//th[contains(., 'HandStart')]")  # the description's table
    picture(browser, tmp_path, "run")

    click(browser, "//a[contains(., 'Artifacts')] | //*[@role='tab'][.='Artifacts']")
    click(browser, "//*[text()='roc_simulated.png']")
    wide = "return Math.max(0, ...[...document.images].filter(i => i.src.startsWith('blob:'))"
    wait(browser, lambda: browser.execute_script(f"{wide}.map(i => i.naturalWidth))") >= 600)
    picture(browser, tmp_path, "roc")

    click(browser, "//*[text()='report_simulated.html']")
    browser.switch_to.frame(find(browser, "//iframe"))
    find(browser, "//*[contains(text(), 'Evoked responses of the data set')]")
    pictures = "return [...document.images].filter(i => i.naturalWidth >= 400).length"
    wait(browser, lambda: browser.execute_script(pictures) >= 6)
    assert "pooled" in browser.find_element(By.TAG_NAME, "body").text
    browser.switch_to.default_content()
    picture(browser, tmp_path, "report")
