from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serve.told import events_of, fields
from terrascope.errors import ServeError
from terrascope.serve.listening import address_of, listen
from terrascope.serve.settings import ServeSettings

FORM = fields(question="How much of the image is water?", sample="demo", stream="true")


@contextmanager
def program(sign: Path, drain_s: float) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """The server as a program of its own, its address and its folder."""
    command = [sys.executable, str(Path(__file__).with_name("serving.py")), str(sign), str(drain_s)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        port, folder = running.stdout.readline().split()
        yield running, f"http://127.0.0.1:{port}", Path(folder)
    finally:
        running.kill()
        running.wait(10)


class Asking:
    """A question that is asked in a thread; `began` is set when its reasoning has begun."""

    def __init__(self, url: str) -> None:
        self.url, self.began, self.content = url, threading.Event(), ""
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self) -> None:
        with httpx.stream("POST", f"{self.url}/v1/ask", files=FORM, timeout=60) as reply:
            for part in reply.iter_text():
                self.content += part
                if "event: text" in self.content:
                    self.began.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_questions_end_takes_no_more_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    with program(tmp_path / "go", 30) as (running, url, folder):
        asking = Asking(url)
        assert asking.began.wait(30)
        os.kill(running.pid, number)
        with httpx.Client(timeout=30) as client:
            while (health := client.get(f"{url}/healthz")).status_code == 200:
                pass
            assert (health.status_code, health.json()["status"]) == (503, "stopping")
            refused = client.post(f"{url}/v1/ask", files=FORM)
            assert refused.status_code == 503 and refused.json()["error"]["code"] == "stopping"
            assert int(refused.headers["retry-after"]) > 0
        (tmp_path / "go").touch()
        asking.thread.join(30)
        assert events_of(asking.content)[-1][0] == "answer"
        assert running.wait(30) == 0
        assert not folder.exists()
        assert running.stderr is not None and running.stderr.read() == ""


def test_what_takes_too_long_is_cancelled_at_the_end(tmp_path: Path) -> None:
    with program(tmp_path / "go", 0.1) as (running, url, folder):
        asking = Asking(url)
        assert asking.began.wait(30)
        running.terminate()
        assert running.wait(30) == 0
        asking.thread.join(30)
        name, data = events_of(asking.content)[-1]
        assert name == "error" and data["error"]["code"] == "stopping"
        assert not folder.exists()


def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with program(tmp_path / "go", 1) as (running, _, folder):
        running.kill()
        running.wait(10)
        assert folder.exists()
    with program(tmp_path / "go", 1):
        assert not folder.exists()


def test_a_port_that_is_taken_is_said() -> None:
    taken = listen(ServeSettings(port=0))
    port = taken.getsockname()[1]
    assert address_of(taken) == f"http://127.0.0.1:{port}"
    with pytest.raises(ServeError, match=rf"127.0.0.1:{port} cannot be listened on .*in use.*--port"):
        listen(ServeSettings(port=port))
    taken.close()


def test_a_host_that_is_not_here_is_said() -> None:
    with pytest.raises(ServeError, match=r"203\.0\.113\.7"):
        listen(ServeSettings(host="203.0.113.7", port=0))


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("host.example", False)],
)  # fmt: skip
def test_which_addresses_are_of_this_machine_alone(host: str, is_local: bool) -> None:
    assert ServeSettings(host=host).is_local is is_local


def test_the_family_of_the_address_is_that_of_the_host() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        taken = listen(ServeSettings(host="::1", port=0))
    except ServeError:
        pytest.skip("this machine has no IPv6")
    assert address_of(taken).startswith("http://[::1]:")
    taken.close()
