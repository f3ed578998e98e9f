"""The page's server: static files, and one stream of frames that any number of browsers follow.

The frames are Server-Sent Events: they go one way, the browser connects anew by itself, and they
are answers to a plain GET, so that there is no second protocol to guard. Starlette and uvicorn
serve them; both are what MLflow's own server is made of, so they are installed anyway.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import PipelineError
from pipeline.live.web.frames import Framer
from pipeline.live.web.inbox import Inbox

HOST = "127.0.0.1"
NAMES = [HOST, "localhost"]  # another name in a request is another site's that leads here
STATIC = files("pipeline.live.web") / "static"
FRAME_SECONDS = 0.05
HISTORY_SECONDS = 20.0  # of signal, for who comes late; the longest that the page can show
WAITING_FRAMES = 40  # for one browser; the oldest are left out
MOST_BROWSERS = 32
# The page loads nothing from elsewhere, and no other page may hold it or read from it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def listen(port: int, key: str) -> socket.socket:
    """Take a port of the loopback address.

    Parameters
    ----------
    port : int
        0 takes any free one.
    key : str
        What the port is called where the user gave it, for the error.

    Raises
    ------
    PipelineError
        It is no port, or another program listens there.
    """
    if not 0 <= port < 65536:
        raise PipelineError(f"{key}={port}: must be a whole number from 0 to 65535")
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a restart waits a minute
    try:
        taken.bind((HOST, port))
        taken.listen()
    except OSError as error:
        taken.close()
        raise PipelineError(
            f"{key}={port}: cannot be used ({error.strerror}); give another one, e.g. "
            f"{key}={min(port + 1, 65535)}"
        ) from error
    return taken


class Browser:
    """What waits for one browser that follows the stream."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque(maxlen=WAITING_FRAMES)
        self.news = asyncio.Event()

    def add(self, message: bytes) -> None:
        """Add a message; where too many wait, the oldest is left out."""
        self.waiting.append(message)
        self.news.set()


class Broadcast:
    """Makes the frames, each once, and gives them to all browsers.

    Parameters
    ----------
    inbox : Inbox
        Where the steps come in.
    framer : Framer
        Makes frames of them.
    """

    def __init__(self, inbox: Inbox, framer: Framer) -> None:
        self.inbox, self.framer = inbox, framer
        self.browsers: set[Browser] = set()
        self.history: deque[tuple[float, bytes]] = deque()  # the last time in it, and the frame
        self.batch = inbox.take()
        self.over = False

    async def run(self) -> None:
        """Make a frame some 20 times a second, until nothing more comes."""
        while not self.over:
            await asyncio.sleep(FRAME_SECONDS)
            before, self.batch = self.batch, self.inbox.take()
            if self.batch.steps or self.batch.notes != before.notes:
                frame = self.framer.frame(self.batch)
                message = event("frame", frame)
                if frame["t"]:
                    self.history.append((frame["t"][-1], message))
                    while self.history[-1][0] - self.history[0][0] > HISTORY_SECONDS:
                        self.history.popleft()
                self._send(message)
            if self.batch.summary is not None:
                self.over = True
                self._send(event("end", {"lines": self.batch.summary.lines()}))

    async def follow(self) -> AsyncIterator[bytes]:
        """Give one browser what it needs to begin, and then each frame."""
        browser = Browser()
        begin = event("hello", self.framer.hello(self.batch))
        past = [message for _, message in self.history]
        self.browsers.add(browser)
        try:
            yield b"retry: 1000\n\n" + begin
            for message in past:
                yield message
            while not self.over or browser.waiting:
                while browser.waiting:
                    yield browser.waiting.popleft()
                browser.news.clear()
                if not self.over:
                    await browser.news.wait()
        finally:
            self.browsers.discard(browser)

    def _send(self, message: bytes) -> None:
        for browser in self.browsers:
            browser.add(message)


def event(name: str, value: Any) -> bytes:
    """Give a server-sent event."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return f"event: {name}\ndata: {text}\n\n".encode()


class GetOnly:
    """Refuses every method but GET, and adds the headers that all answers have."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        if scope["method"] == "GET":
            await self.app(scope, receive, with_headers)
        else:
            refusal = PlainTextResponse("only GET is answered\n", 405, {"Allow": "GET"})
            await refusal(scope, receive, with_headers)


def application(broadcast: Broadcast) -> Starlette:
    """Give the application: ``/``, ``/static/...`` and ``/stream``."""

    async def page(request: Request) -> Response:
        return FileResponse(str(STATIC / "index.html"))

    async def stream(request: Request) -> Response:
        if len(broadcast.browsers) >= MOST_BROWSERS:
            return PlainTextResponse(f"{MOST_BROWSERS} browsers are watching already\n", 503)
        return StreamingResponse(broadcast.follow(), media_type="text/event-stream")

    @asynccontextmanager
    async def frames(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(broadcast.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return Starlette(
        routes=[
            Route("/", page),
            Route("/stream", stream),
            Mount("/static", StaticFiles(directory=str(STATIC))),
        ],
        middleware=[
            Middleware(GetOnly),
            Middleware(TrustedHostMiddleware, allowed_hosts=NAMES, www_redirect=False),
        ],
        lifespan=frames,
    )


def server(broadcast: Broadcast) -> uvicorn.Server:
    """Give the server, which is quiet, and waits for no browser when it is told to stop."""
    config = uvicorn.Config(
        application(broadcast), http="h11", ws="none", loop="asyncio", lifespan="on",
        log_config=None, log_level="critical", access_log=False, server_header=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    return uvicorn.Server(config)
