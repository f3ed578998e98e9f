"""The page to watch in a real browser: traces move, onsets appear, and a replay is shown."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.bench.browser import NEEDS, is_there, open_browser
from pipeline.bench.live import fit_in_haste, in_haste, simulated
from pipeline.bench.watch import replayed
from pipeline.live.view import Step, Summary
from pipeline.live.web.view import WebView
from pipeline.results.colors import event_color
from pipeline.results.decisions import Decider, Settings
from tests.conftest import COMPETITION

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_there(), reason=NEEDS)]
CHUNK = 10
NOTE = "gap of 120 ms: 60 samples are missing"
# The middle column of a colour's pixels in a plot's upper rows, where an onset's triangle is; and
# how many such pixels there are.
MARKED = """
const canvas = document.querySelectorAll('canvas')[arguments[0]];
const wanted = [1, 3, 5].map(i => parseInt(arguments[1].slice(i, i + 2), 16));
const width = canvas.width, rows = Math.round(20 * devicePixelRatio);
const pixels = canvas.getContext('2d').getImageData(0, 0, width, rows).data;
let sum = 0, count = 0;
for (let i = 0; i < pixels.length; i += 4) {
  if (!wanted.every((value, k) => Math.abs(pixels[i + k] - value) < 3)) continue;
  sum += (i / 4) % width;
  count++;
}
return [count ? sum / count : -1, count];
"""
# Watches that middle until it moves to the left as it must in a window of 10 s; gives how far it
# moves in a second, as a share of the canvas. Where an onset comes or goes, the middle jumps.
MOVES = """
const done = arguments[2], seen = [];
const look = new Function(__MARKED__);
const timer = setInterval(() => {
  const time = parseFloat(document.getElementById('time').textContent);
  const [column] = look(arguments[0], arguments[1]);
  const width = document.querySelectorAll('canvas')[arguments[0]].width;
  if (!(time > 10.2) || column < 0) return;
  seen.push([time, column / width]);
  for (const [before, place] of seen) {
    const share = (place - column / width) / (time - before);
    if (time - before >= 1 && share > 0.08 && share < 0.11) { clearInterval(timer); done(share); }
  }
}, 100);
"""
MOVES = MOVES.replace("__MARKED__", json.dumps(MARKED))
DRAWN = "return document.querySelector('canvas').toDataURL()"
TEXT = "return document.getElementById(arguments[0]).textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with open_browser(1300, 1100) as driver:
        yield driver


def wait(browser: webdriver.Chrome, what: Callable[[], object]) -> None:
    WebDriverWait(browser, 120, poll_frequency=0.1).until(lambda _: what())


def seconds(browser: webdriver.Chrome) -> float:
    """The time of the series that the page shows."""
    text = browser.execute_script(TEXT, "time").removesuffix(" s")
    return float(text) if text[0].isdigit() else -1.0


def count(browser: webdriver.Chrome, lane: int) -> str:
    return browser.find_elements(By.CSS_SELECTOR, ".lane .count")[lane].text


def picture(browser: webdriver.Chrome, folder: Path, name: str) -> None:
    """Keep what is to be seen, for whoever wants to look (SCREENSHOTS=folder)."""
    folder = Path(os.environ.get("SCREENSHOTS", folder))
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / f"{name}.png"))


def no_faults(browser: webdriver.Chrome) -> None:
    """The page asked for nothing that was refused, and no script failed."""
    assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []


@pytest.fixture
def fed() -> Iterator[tuple[str, threading.Event]]:
    """A page's address, at which simulated EEG is shown at its true pace; and what ends it."""
    recording, view, stop = simulated(1, trials=20), WebView(0), threading.Event()
    assert recording.events is not None
    kernel = np.exp(-np.arange(150) / 40)
    smooth = [np.convolve(each, kernel / kernel.sum())[: len(each)] for each in recording.events.T]
    probabilities = (0.03 + 0.9 * np.stack(smooth, axis=1)).astype(np.float32)
    events = COMPETITION.events
    decider = Decider(Settings(events, 500.0, (0.5,) * 6, (0.02,) * 6, (1.0,) * 6))
    view.begin(COMPETITION, "Simulated subject 1")

    def feed() -> None:
        begun, row = time.monotonic(), 0
        while not stop.is_set() and row + CHUNK <= len(recording.signal):
            time.sleep(max(0.0, begun + (row + CHUNK) / 500 - time.monotonic()))
            rows = slice(row, row + CHUNK)
            view.show(Step(
                recording.signal[rows], 70 + np.arange(row, row + CHUNK) / 500,
                probabilities[rows], tuple(decider.push(probabilities[rows])),
                recording.events[rows].astype(bool), 0.0021, 0.12, (NOTE,) if row == 500 else (),
            ))  # fmt: skip
            row += CHUNK
        view.end(Summary(
            samples=row, seconds=row / 500, bridged=0, gaps=0, missing=0, surplus=0, lost=0,
            restarts=0, jumps_back=0, announced_rate=500.0, true_rate=500.0,
            onsets=dict.fromkeys(events, 1), delay_p50=0.002, delay_p99=0.003, load=0.1,
        ))  # fmt: skip

    thread = threading.Thread(target=feed)
    thread.start()
    yield view.address, stop
    stop.set()
    thread.join()


def test_traces_move_and_onsets_appear(fed, browser, tmp_path):
    address, stop = fed
    browser.get(address)
    wait(browser, lambda: seconds(browser) > 0)
    assert browser.find_element(By.ID, "title").text == "Simulated subject 1"
    lanes = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".lane b")]
    assert lanes == list(COMPETITION.events)
    own, others = event_color(0), event_color(1)  # as in the project's figures
    wait(browser, lambda: not count(browser, 0).startswith("0"))
    wait(browser, lambda: browser.execute_script(MARKED, 0, own)[1] > 20)
    wait(browser, lambda: browser.execute_script(MARKED, 1, own)[1] > 20)  # in its own plot, too
    assert browser.execute_script(MARKED, 1, others)[1] == 0  # and no other one's

    drawn = browser.execute_script(DRAWN)
    browser.set_script_timeout(120)
    assert 0.08 < browser.execute_async_script(MOVES, 1, own) < 0.11
    assert browser.execute_script(DRAWN) != drawn
    assert NOTE in browser.find_element(By.ID, "notes").text
    assert browser.execute_script(TEXT, "delay") == "2.1 ms"
    assert browser.execute_script(TEXT, "load") == "12 %"
    picture(browser, tmp_path, "watch")

    browser.find_element(By.CSS_SELECTOR, "summary").click()
    browser.find_element(By.ID, "all").click()
    height = "return document.querySelector('canvas').height"
    wait(browser, lambda: browser.execute_script(height) > 600)
    picture(browser, tmp_path, "watch-all-channels")
    browser.find_element(By.ID, "some").click()
    browser.find_element(By.CSS_SELECTOR, "summary").click()
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    now = seconds(browser)
    wait(browser, lambda: seconds(browser) > now + 0.5)
    picture(browser, tmp_path, "watch-dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    # One that comes late sees the seconds before; then the signal ends, and both stay as they are.
    first, now = browser.current_window_handle, seconds(browser)
    browser.switch_to.new_window("tab")
    browser.get(address)
    wait(browser, lambda: seconds(browser) >= now)
    wait(browser, lambda: browser.execute_script(MARKED, 2, event_color(1))[1] > 20)
    assert NOTE in browser.find_element(By.ID, "notes").text
    stop.set()
    wait(browser, lambda: browser.execute_script(TEXT, "status") == "ended")
    assert "at 500 Hz" in browser.find_element(By.ID, "notes").text
    no_faults(browser)
    browser.close()
    browser.switch_to.window(first)
    wait(browser, lambda: browser.execute_script(TEXT, "status") == "ended")
    no_faults(browser)


def test_a_replay_is_shown(browser, tmp_path):
    recipe = in_haste("fbl_lda")
    fit_in_haste(recipe, [simulated(1, 3), simulated(2, 3)], tmp_path / "recipe")
    few = ("live.threshold=0.1", "live.dwell_seconds=0", "dataset.simulation.trials=3")
    with replayed(str(tmp_path / "recipe"), *few) as address:
        browser.get(address)
        wait(browser, lambda: seconds(browser) > 1)
        assert "subj1_series9" in browser.find_element(By.ID, "title").text
        drawn, now = browser.execute_script(DRAWN), seconds(browser)
        wait(browser, lambda: any(not count(browser, lane).startswith("0") for lane in range(6)))
        wait(browser, lambda: seconds(browser) > now + 1)
        assert browser.execute_script(DRAWN) != drawn
        assert browser.execute_script(TEXT, "status") == "live"
        picture(browser, tmp_path, "replay")
        no_faults(browser)
    wait(browser, lambda: browser.execute_script(TEXT, "status") == "ended")  # by Ctrl-C
