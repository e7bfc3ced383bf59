"""A language model's server on this machine that replies by a script, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-0123456789"


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """One reply of the server.

    Attributes:
        status, headers, body: as sent; `text` wraps words into a chat completion instead of `body`.
        slow_s: waits before it replies. drip_s: sends spaces for so long before the body.
        drop: closes the connection: before a byte is sent, or in the middle of the body.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    text: str | None = None
    finish: str = "stop"
    refusal: str | None = None
    slow_s: float = 0.0
    drip_s: float = 0.0
    drop: str = ""

    def encode(self) -> bytes:
        if self.body is not None:
            return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return json.dumps({"choices": [{"message": message, "finish_reason": self.finish}], "usage": usage}).encode()


def says(value: Any) -> Scripted:
    """The model replies with a JSON object."""
    return Scripted(text=json.dumps(value))


def fails(status: int, message: str = "it went wrong", **headers: str) -> Scripted:
    """The server replies with an error."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Scripted(status=status, headers=names, body={"error": {"message": message}})


Script = Sequence[Scripted] | Callable[[dict[str, Any]], Scripted]


@dataclass
class FakeServer:
    """What was asked: the bodies and the headers of all requests, in order."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def num_asked(self) -> int:
        return len(self.asked)

    def last_words(self, number: int = -1) -> str:
        """The text of the last message of a request."""
        content = self.asked[number]["messages"][-1]["content"]
        return content if isinstance(content, str) else content[0]["text"]


@contextmanager
def served(script: Script) -> Iterator[FakeServer]:
    """A server that replies with the items of a script in order, or with what a function says of each request."""
    fake = FakeServer()
    waiting = None if callable(script) else list(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionResetError:
                # A client that is done may reset the connection, while the next request is waited for.
                self.close_connection = True

        def do_GET(self) -> None:
            self._reply({"path": self.path})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _reply(self, request: dict[str, Any]) -> None:
            fake.asked.append(request)
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
            if waiting is None:
                reply = script(request)
            else:
                reply = waiting.pop(0) if waiting else fails(418, "the script is at its end")
            try:
                self._send(reply)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send(self, reply: Scripted) -> None:
            time.sleep(reply.slow_s)
            if reply.drop == "before":
                self.close_connection = True
                return
            body = reply.encode()
            self.send_response(reply.status)
            self.send_header("content-type", "application/json")
            for name, value in reply.headers.items():
                self.send_header(name, value)
            num_spaces = round(reply.drip_s / 0.05)
            self.send_header("content-length", str(num_spaces + len(body)))
            self.end_headers()
            for _ in range(num_spaces):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
            if reply.drop == "within":
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
