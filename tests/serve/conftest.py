"""A server with the streaming oracle, in this process and behind a socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from oracle import write_picture
from serve.told import StreamingOracle
from terrascope.serve.app import create_app
from terrascope.serve.listening import listen, server_of
from terrascope.serve.settings import ServeSettings


@pytest.fixture
def oracle() -> StreamingOracle:
    return StreamingOracle()


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    """The oracle's scene as a PNG."""
    return write_picture(tmp_path / "picture.png").read_bytes()


@pytest.fixture
def start(oracle: StreamingOracle) -> Iterator[Callable[..., TestClient]]:
    """Starts an application with settings, and gives a client of it."""
    opened = []

    def begin(**settings: Any) -> TestClient:
        app = create_app(oracle, ServeSettings(**settings))
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield begin
    oracle.gate.set()
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    return start()


@dataclass
class Listening:
    """A server behind a socket of this machine."""

    app: FastAPI
    port: int
    stop: Callable[[], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def listening(oracle: StreamingOracle) -> Callable[..., Any]:
    """Serves an application behind a socket while a block runs."""

    @contextmanager
    def serve(**given: Any) -> Iterator[Listening]:
        settings = ServeSettings(port=0, **given)
        app = create_app(oracle, settings)
        socket = listen(settings)
        server = server_of(app, settings)
        loop_of: list[asyncio.AbstractEventLoop] = []

        async def run() -> None:
            loop_of.append(asyncio.get_running_loop())
            await server.serve(sockets=[socket])

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        port = socket.getsockname()[1]
        thread.start()

        def stop() -> None:
            loop_of[0].call_soon_threadsafe(server.stop)

        try:
            yield Listening(app, port, stop)
        finally:
            oracle.gate.set()
            if thread.is_alive():
                stop()
            thread.join(30)
            assert not thread.is_alive()

    return serve
