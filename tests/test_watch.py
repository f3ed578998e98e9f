"""The page to watch: its server, its frames, and that it never holds up the detection."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description
from pipeline.errors import PipelineError
from pipeline.live.view import Step, Summary
from pipeline.live.web.frames import Framer
from pipeline.live.web.inbox import Inbox
from pipeline.live.web.server import HISTORY_SECONDS, STATIC, listen
from pipeline.live.web.view import WebView
from pipeline.results.colors import COLORS
from pipeline.results.decisions import Onset

ABOUT = Description(("C3", "Cz", "C4"), ("HandStart", "LiftOff"), 500.0, 1e-6, "")
SUMMARY = Summary(
    samples=500, seconds=1.0, bridged=0, gaps=0, missing=0, surplus=0, lost=0, restarts=0,
    jumps_back=0, announced_rate=500.0, true_rate=500.0, onsets={"HandStart": 1, "LiftOff": 0},
    delay_p50=0.002, delay_p99=0.003, load=0.1,
)  # fmt: skip


def step(first: int, count: int = 10, begin: float = 100.0, **changes) -> Step:
    """Give samples ``first`` to ``first + count``."""
    rows = np.arange(first, first + count)
    wave = 1000 + 20 * np.sin(2 * np.pi * 10 * rows[:, None] / ABOUT.rate + np.arange(3))
    made = Step(
        wave, begin + rows / ABOUT.rate, np.full((count, 2), 0.25, np.float32), (),
        np.zeros((count, 2), bool), 0.002, 0.1, (),
    )  # fmt: skip
    return replace(made, **changes)


@contextmanager
def watched(about: Description = ABOUT) -> Iterator[WebView]:
    view = WebView(0)
    try:
        view.begin(about, "a title")
        yield view
    finally:
        view.close()


def ask(view: WebView, path: str, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection(urlsplit(view.address).netloc, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Follower:
    """Reads the stream as a browser does."""

    def __init__(self, view: WebView, room: int = 0) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(view.address).netloc, timeout=20)
        self.connection.connect()
        if room:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.connection.request("GET", "/stream")
        self.answer = self.connection.getresponse()
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")

    def next(self, name: str) -> dict:
        """Give the next event of a name."""
        found = ""
        while line := self.answer.readline().decode():
            if line.startswith("event: "):
                found = line.removeprefix("event: ").strip()
            elif line.startswith("data: ") and found == name:
                return json.loads(line.removeprefix("data: "))
        raise AssertionError(f"the stream ended before {name}")

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_the_page_brings_all_that_it_needs():
    with watched() as view:
        status, headers, page = ask(view, "/")
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        files = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
        scripts = [each for each in files if each.endswith(".js")]
        for name in [each for each in files if not each.startswith("data:")]:
            assert ask(view, f"/{name}")[0] == 200, name
        for name in scripts:
            for imported in re.findall(r'from "\./([^"]+)"', ask(view, f"/{name}")[2].decode()):
                assert ask(view, f"/static/{imported}")[0] == 200, imported
        assert ask(view, "/static/../view.py")[0] == 404
        assert ask(view, "/static/%2e%2e/view.py")[0] == 404
        assert ask(view, "/docs")[0] == 404
    text = "".join(p.read_text(encoding="utf-8") for p in Path(str(STATIC)).glob("[!u]*"))
    assert not re.search(r"""["'(]\s*(https?:)?//""", text), "loads from another server"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example"])
def test_another_sites_name_in_the_request_is_refused(host):
    with watched() as view:
        port = urlsplit(view.address).port
        for path in ("/", "/stream", "/static/page.js"):
            status, _, said = ask(view, path, Host=host.format(port=port))
            assert status == 400
            assert b"C3" not in said
        assert ask(view, "/", Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_get_is_answered(method):
    with watched() as view:
        for path in ("/", "/stream", "/static/page.js"):
            status, headers, _ = ask(view, path, method)
            assert (status, headers["allow"]) == (405, "GET")


def test_it_listens_on_the_loopback_address_only():
    with watched() as view:
        assert view._socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_told_in_one_line_and_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PipelineError) as error:
            WebView(port, "live.port")
    other = min(port + 1, 65535)
    assert str(error.value) == (
        f"live.port={port}: cannot be used (Address already in use); "
        f"give another one, e.g. live.port={other}"
    )
    with pytest.raises(PipelineError, match=r"live\.port=65536: must be a whole number"):
        listen(65536, "live.port")


def test_the_port_is_free_after_the_end():
    view = WebView(0)
    view.begin(ABOUT, "a title")
    view.end(SUMMARY)
    listen(urlsplit(view.address).port or 0, "port").close()


def test_a_follower_gets_the_steps_the_onsets_the_notes_and_the_end():
    with watched() as view:
        follower = Follower(view)
        hello = follower.next("hello")
        assert hello["channels"] == list(ABOUT.channels)
        assert hello["title"] == "a title"
        assert hello["events"] == [
            {"name": "HandStart", "color": COLORS[0]},
            {"name": "LiftOff", "color": COLORS[1]},
        ]
        view.show(step(0))
        assert follower.next("frame")["samples"] == 10
        onset = step(10, onsets=(Onset(13, "LiftOff"),), notes=("gap of 4 s",))
        view.show(replace(onset, labels=np.ones((10, 2), bool), delay=0.007, load=0.3))
        frame = follower.next("frame")
        assert frame["onsets"] == [[0.026, 1]]
        assert frame["counts"] == [0, 1]
        assert frame["notes"] == [[1, 0.02, "gap of 4 s"]]
        assert frame["delay"] == 0.007
        assert frame["load"] == pytest.approx(0.3)
        assert set(np.ravel(frame["labels"])) == {1}
        view.end(SUMMARY)
        assert follower.next("end")["lines"] == SUMMARY.lines()
        assert follower.answer.read() == b"\n"  # and the connection ends


def test_who_comes_late_gets_the_last_seconds_and_the_notes_at_once():
    with watched() as view:
        first = Follower(view)
        first.next("hello")
        count, seconds = 100, 0.0
        for chunk in range(int(1.5 * HISTORY_SECONDS * ABOUT.rate / 1000)):
            view.show(step(1000 * chunk, 1000, notes=("early",) if chunk == 0 else ()))
            frame = first.next("frame")
            seconds = frame["t"][-1]
        late = Follower(view)
        assert [note[2] for note in late.next("hello")["notes"]] == ["early"]
        times: list[float] = []
        while not times or times[-1] < seconds:
            times += late.next("frame")["t"]
        assert HISTORY_SECONDS - 2 < times[-1] - times[0] <= HISTORY_SECONDS + 2
        assert sorted(times) == times
        assert len(times) > count


@pytest.mark.slow
def test_one_that_leaves_and_one_that_never_reads_do_no_harm():
    wide = replace(ABOUT, channels=tuple(f"E{i}" for i in range(64)))
    random = np.random.default_rng(0)
    with watched(wide) as view:
        leaver, sleeper, reader = Follower(view), Follower(view, room=4096), Follower(view)
        leaver.next("hello")
        leaver.close()
        reader.next("hello")
        longest, seen = 0.0, 0
        for chunk in range(50):  # of 2 s: far more than a connection holds
            signal = random.normal(0, 30, (1000, 64))
            begun = time.perf_counter()
            view.show(step(1000 * chunk, 1000, samples=signal))
            longest = max(longest, time.perf_counter() - begun)
            while seen < 1000 * (chunk + 1):
                seen = reader.next("frame")["samples"]
        assert seen == 50_000
        browsers = view.broadcast.browsers
        assert len(browsers) == 2
        assert max(len(each.waiting) for each in browsers) <= 40
        assert max(len(each.waiting) for each in browsers) > 10  # the sleeper is really behind
        begun = time.perf_counter()
        view.end(SUMMARY)
        assert time.perf_counter() - begun < 4  # the sleeper does not hold it
        reader.next("end")
        sleeper.close()
    assert longest < 1


def test_what_waits_is_bounded_and_what_is_not_drawn_is_counted():
    inbox = Inbox(ABOUT.events, 100)
    inbox.put(step(0, 10, onsets=(Onset(3, "LiftOff"),), notes=("told",)))
    for first in range(10, 260, 10):
        inbox.put(step(first))
    batch = inbox.take()
    assert [first for first, _ in batch.steps] == list(range(160, 260, 10))
    assert (batch.samples, batch.undrawn) == (260, 160)
    assert batch.onsets == {"HandStart": 0, "LiftOff": 1}
    assert [note.text for note in batch.notes] == ["told"]
    inbox.put(step(260, 1000))
    [(first, kept)] = inbox.take().steps
    assert first == 1160
    assert kept.times[0] == pytest.approx(100 + 1160 / 500)
    assert not inbox.take().steps


def test_a_step_is_copied_because_its_arrays_may_be_used_again():
    inbox, given = Inbox(ABOUT.events, 100), step(0)
    inbox.put(given)
    given.samples[:] = 0
    given.times[:] = 0
    [(_, kept)] = inbox.take().steps
    assert kept.samples.min() > 900
    assert kept.times[0] == 100


def frames(*steps: Step) -> list[dict]:
    inbox, framer, made = Inbox(ABOUT.events, 10_000), Framer(ABOUT, "a title"), []
    for each in steps:
        inbox.put(each)
        made.append(framer.frame(inbox.take()))
    return made


def test_a_frame_keeps_every_peak_and_no_offset():
    peak = step(0, 100)
    peak.samples[50, 1] += 500
    [frame] = frames(peak)
    assert len(frame["t"]) == 25
    assert np.shape(frame["eeg"]) == (3, 50)
    assert 480 < max(frame["eeg"][1]) < 530
    assert np.abs(frame["eeg"][0]).max() < 60
    [whole] = frames(step(0, 100))
    parts = frames(*(step(first, 20) for first in range(0, 100, 20)))
    for channel in range(3):
        together = [value for part in parts for value in part["eeg"][channel]]
        assert together == whole["eeg"][channel]
    assert [t for part in parts for t in part["t"]] == whole["t"]


def test_volts_become_microvolts():
    inbox, framer = Inbox(ABOUT.events, 100), Framer(replace(ABOUT, unit_volts=1e-3), "a title")
    inbox.put(step(0, 50))
    assert 15_000 < np.max(framer.frame(inbox.take())["eeg"]) < 45_000


def test_time_never_goes_back_and_no_bin_spans_a_gap():
    gap = step(10, 10)
    gap.times[5:] += 2.0
    late = step(20, 10, begin=102.0)
    back = step(30, 10, begin=50.0)
    shown = [frame["t"] for frame in frames(step(0), gap, late, back)]
    flat = np.concatenate(shown)
    assert flat[0] == 0
    assert (np.diff(flat) > 0).all()
    assert shown[1] == pytest.approx([0.02, 0.028, 2.03, 2.038])
    assert shown[3][0] == pytest.approx(shown[2][0] + 0.02)


def test_what_json_cannot_hold_is_left_out():
    odd = step(0, delay=float("nan"), load=float("inf"))
    odd.samples[3, 0] = np.nan
    [frame] = frames(odd)
    json.dumps(frame, allow_nan=False)
    assert frame["delay"] is None


def test_a_step_that_only_tells_something_is_told():
    with watched() as view:
        follower = Follower(view)
        follower.next("hello")
        view.show(step(0, 0, labels=None, notes=("no samples",)))
        frame = follower.next("frame")
        assert (frame["t"], frame["notes"]) == ([], [[1, 0.0, "no samples"]])


@pytest.mark.slow
def test_the_page_is_in_the_wheel_and_in_the_sources_that_are_given_away(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(PROJECT / "pipeline", copy / "pipeline")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy)
    subprocess.run(
        [sys.executable, "-c",
         "from setuptools import build_meta as b; b.build_wheel('..'); b.build_sdist('..')"],
        cwd=copy, check=True, capture_output=True,
    )  # fmt: skip
    [wheel], [sources] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as packed, tarfile.open(sources) as tar:
        for file in Path(str(STATIC)).iterdir():
            name = f"pipeline/live/web/static/{file.name}"
            assert name in packed.namelist()
            assert name in {each.partition("/")[2] for each in tar.getnames()}
