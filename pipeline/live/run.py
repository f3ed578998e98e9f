"""The commands ``stage=live`` and ``stage=replay``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.config.live import Live, Out, Shown, Speed
from pipeline.config.options import Config, Stage
from pipeline.data.recording import Description
from pipeline.live.feed import Feed, Send, play
from pipeline.live.lsl import LslFeed, Outlets, RecordingOutlet, load_lsl
from pipeline.live.model import LiveModel, load
from pipeline.live.policy import Policy
from pipeline.live.recorded import RecordedFeed, read_recording
from pipeline.live.session import Session
from pipeline.live.view import Step, Summary, TerminalView, View, Views
from pipeline.results.decisions import Decider
from pipeline.serving.stream import Stream
from pipeline.work.machine import threads

WARM_UP_SECONDS = 2.0  # of signal: the first chunks of a process take longer
REPLAY_BRIDGE = 0.0  # s; a recording has no gaps


class NoView:
    """Shows nothing."""

    def begin(self, about: Description, title: str) -> None:
        """Do nothing."""

    def show(self, step: Step) -> None:
        """Do nothing."""

    def end(self, summary: Summary) -> None:
        """Do nothing."""


def make_view(options: Live) -> View:
    """Give the view that is wanted."""
    if options.view is Shown.web:
        from pipeline.live.web.view import WebView

        page = WebView(options.port, "live.port")
        print(f"watch at {page.address}", flush=True)
        return Views(page, TerminalView())
    return TerminalView() if options.view is Shown.terminal else NoView()


def run(config: Config) -> Summary | None:
    """Run ``stage=live`` or ``stage=replay`` until the signal ends or Ctrl-C is pressed.

    Parameters
    ----------
    config : Config
        Composed and checked.

    Returns
    -------
    Summary or None
        None where a recording was sent to other programs.

    Raises
    ------
    PipelineError
        A mistake of the user's, or of the stream's.
    """
    if config.stage is Stage.live:
        return run_live(config)
    if config.live.out is Out.lsl:
        send_recording(config)
        return None
    return run_replay(config)


def run_live(config: Config) -> Summary:
    """Apply a fitted recipe to an amplifier's stream; send its results out as two streams."""
    options, lsl = config.live, load_lsl()
    assert options.stream is not None
    view = make_view(options)  # first: a port that is taken is told before any work
    model = load(options, config.tracking.uri)
    about = model.recipe.about
    predictor = warmed_up(model, options.chunk_seconds)
    outlets = Outlets(lsl, options.stream, about)  # before there are samples to wait for it
    print(f"waiting for the stream {options.stream!r}", flush=True)
    feed = LslFeed(
        lsl, options.stream, about, options.unit_volts, options.chunk_seconds,
        options.buffer_seconds, options.wait_seconds,
    )  # fmt: skip
    policy = Policy(about.rate, options.bridge_seconds)
    session = Session(predictor, Decider(model.settings), policy, feed.now)
    title = f"{options.model}, subject {model.subject}, stream {options.stream}; {model.decided_by}"
    return watched(feed, session, view, options, title, about, [outlets])


def run_replay(config: Config) -> Summary:
    """Apply a fitted recipe to a recording as if it arrived now."""
    options = config.live
    view = make_view(options)
    model = load(options, config.tracking.uri)
    about = model.recipe.about
    recording = read_recording(config)
    paced = options.speed is Speed.real
    feed = RecordedFeed(recording, about, options.chunk_seconds, paced)
    predictor = warmed_up(model, options.chunk_seconds)
    session = Session(
        predictor, Decider(model.settings), Policy(about.rate, REPLAY_BRIDGE), feed.now
    )
    title = f"{options.model}, {recording.name}; {model.decided_by}"
    return watched(feed, session, view, options, title, about, [], feed.start)


def watched(
    feed: Feed,
    session: Session,
    view: View,
    options: Live,
    title: str,
    about: Description,
    send: Sequence[Send],
    start: Callable[[], None] = lambda: None,
) -> Summary:
    """Play a signal to its end or to Ctrl-C, and show it."""
    view.begin(about, title)
    start()
    try:
        with threads(1):  # then no chunk has to change the number of threads
            play(feed, session, view, send, options.buffer_seconds)
    except KeyboardInterrupt:
        pass
    finally:
        summary = session.summary()
        view.end(summary)
    return summary


def warmed_up(model: LiveModel, chunk_seconds: float) -> Stream:
    """Give the stream of a recipe, after some chunks that count for nothing."""
    stream = Stream(model.recipe, model.subject)
    about = model.recipe.about
    rows = max(1, round(chunk_seconds * about.rate))
    for _ in range(max(1, round(WARM_UP_SECONDS * about.rate / rows))):
        stream.push(np.zeros((rows, len(about.channels))))
    stream.reset()
    return stream


def send_recording(config: Config) -> None:
    """Send a recording to other programs as an LSL stream, at its true pace."""
    options, lsl = config.live, load_lsl()
    recording = read_recording(config)
    about = recording.about
    name = options.stream or recording.name
    outlet = RecordingOutlet(lsl, name, about)
    print(
        f"sending {recording.name} as the stream {name!r}; it begins when it is taken", flush=True
    )
    try:
        while not outlet.heard:
            outlet.wait()
        feed = RecordedFeed(recording, about, options.chunk_seconds, paced=True)
        begun = lsl.local_clock()
        while (chunk := feed.read()) is not None:
            outlet.send(chunk.samples, chunk.times + begun)
        print(f"sent {len(recording.signal)} samples")
    except KeyboardInterrupt:
        print("stopped")
