"""The view ``web``: a page on the loopback address."""

from __future__ import annotations

import threading

from pipeline.data.recording import Description
from pipeline.live.view import Step, Summary
from pipeline.live.web.frames import Framer
from pipeline.live.web.inbox import Inbox
from pipeline.live.web.server import HISTORY_SECONDS, HOST, Broadcast, listen, server

STOP_SECONDS = 5.0


class WebView:
    """Shows the steps to any number of browsers on this computer.

    The server runs in a thread of its own. `show` copies the step into a bounded list and returns;
    where the page cannot keep up, the oldest samples are not drawn.

    Parameters
    ----------
    port : int
        Of the loopback address; 0 takes any free one. It is taken at once, so that a port that is
        in use is told before anything is computed.
    key : str
        What the port is called where the user gave it, for the error.

    Attributes
    ----------
    address : str
        Of the page.
    broadcast : Broadcast
        Of the frames, once `begin` was called.

    Raises
    ------
    PipelineError
        In one line that names the key: it is no port, or another program listens there.
    """

    def __init__(self, port: int, key: str = "port") -> None:
        self._socket = listen(port, key)
        self.address = f"http://{HOST}:{self._socket.getsockname()[1]}/"
        self._inbox: Inbox | None = None
        self._thread: threading.Thread | None = None

    def begin(self, about: Description, title: str) -> None:
        """Serve the page, knowing what the steps hold."""
        self._inbox = Inbox(about.events, round(HISTORY_SECONDS * about.rate))
        self.broadcast = Broadcast(self._inbox, Framer(about, title))
        self._server = server(self.broadcast)
        # A daemon, because a program that fails without `end` must not be held by its page.
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="web-view", daemon=True
        )
        self._thread.start()

    def show(self, step: Step) -> None:
        """Let the page show what one chunk gave."""
        assert self._inbox is not None, "begin comes first"
        self._inbox.put(step)

    def end(self, summary: Summary) -> None:
        """Let the page say what it was in all, and stop serving it; open pages stay as they are."""
        assert self._inbox is not None, "begin comes first"
        self._inbox.close(summary)
        self.close()

    def close(self) -> None:
        """Stop serving, if that has begun, and give the port back."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_SECONDS)
            self._thread = None
        self._socket.close()
