"""How the application listens: a socket that is taken first, uvicorn with bounded patience, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import HANDLED_SIGNALS

from terrascope.errors import ServeError
from terrascope.serve.desk import Desk
from terrascope.serve.settings import ServeSettings

_HEADER_BYTES = 32_768
_LAST_REPLIES_S = 10
_OTHER_CONNECTIONS = 128
"""Connections that may be open beside those that ask; above that requests are refused at once."""


def listen(settings: ServeSettings) -> socket.socket:
    """A socket on the address of the settings, before a model is loaded for it.

    Raises:
        ServeError: the address is none of this machine, or is taken.
    """
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        taken = socket.socket(family, kind, protocol)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.listen(128)
        except OSError:
            taken.close()
            raise
    except OSError as error:
        raise ServeError(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); give another --host or --port"
        ) from None
    return taken


def address_of(taken: socket.socket) -> str:
    """`http://127.0.0.1:8000`."""
    host, port, *_ = taken.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _PatientProtocol(H11Protocol):
    """Closes a connection on which no request is under way, once its patience (`timeout_keep_alive`) is over.

    Uvicorn's own timer runs only where nothing arrives at all after a reply: a client could hold a connection by
    sending no header, or a header byte by byte, or the rest of a body that was refused.
    """

    _last_chance: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def _watch(self) -> None:
        # uvicorn leaves `cycle` None until the first request.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop_watching()
        elif self._last_chance is None:
            self._last_chance = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._last_chance is not None:
            self._last_chance.cancel()
            self._last_chance = None


class _Server(uvicorn.Server):
    """Uvicorn that goes on listening, and says that it is stopping, while the last questions are answered.

    A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, desk: Desk, drain_s: float) -> None:
        super().__init__(config)
        self._desk, self._drain_s = desk, drain_s
        self._draining: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Uvicorn's own raises the signal once more at the end; to have ended in good order is no failure.
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, partial(self._on_signal, loop)) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, loop: asyncio.AbstractEventLoop, *_: object) -> None:
        loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Take no more questions, and end when those that are here have ended."""
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await self._desk.drain(self._drain_s)
        self.should_exit = True


# What clients send is no news for the terminal of whoever runs the server.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def server_of(app: FastAPI, settings: ServeSettings) -> _Server:
    """The server of an application: `run(sockets=[...])` serves until a signal comes, or `stop` is called."""
    config = uvicorn.Config(
        app,
        http=_PatientProtocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_keep_alive=max(1, round(settings.upload_timeout_s)),
        timeout_graceful_shutdown=_LAST_REPLIES_S,
        limit_concurrency=settings.max_running + settings.max_queue + _OTHER_CONNECTIONS,
    )
    return _Server(config, app.state.service.desk, settings.drain_s)
