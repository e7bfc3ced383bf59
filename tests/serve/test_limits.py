from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient

from serve.told import StreamingOracle, events_of, fields
from terrascope.serve.app import create_app
from terrascope.serve.settings import ServeSettings
from terrascope.serve.uploads import safe_name

QUESTION = "How much of the image is water?"
MB = 2**20


def form(*, stream: bool = True) -> tuple[bytes, dict[str, str]]:
    """A whole form about the sample, and its headers."""
    request = httpx.Request(
        "POST", "http://localhost/v1/ask",
        files=fields(question=QUESTION, sample="demo", stream="true" if stream else "false"),
    )  # fmt: skip
    return request.read(), {name: request.headers[name] for name in ("content-type", "content-length")}


def send(port: int, headers: dict[str, str], body: bytes = b"", receive_bytes: int | None = None) -> socket.socket:
    """A connection on which a question was sent, with any headers and as much of a body as wanted."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    lines = ["POST /v1/ask HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    read = b""
    while wanted not in read:
        part = connection.recv(65536)
        assert part, f"the connection ended before {wanted!r}: {read!r}"
        read += part
    return read


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_cancels_its_question(
    listening: Callable[..., Any], oracle: StreamingOracle, stream: bool
) -> None:
    oracle.gate.clear()
    with listening() as server:
        body, headers = form(stream=stream)
        connection = send(server.port, headers, body)
        assert oracle.began.wait(10)
        if stream:
            read_until(connection, b"event: text")
        connection.close()
        assert oracle.closed.wait(10)
        assert oracle.num_running == 0 and oracle.num_closed == 1


def test_a_full_desk_refuses_before_the_body_arrives(listening: Callable[..., Any], oracle: StreamingOracle) -> None:
    oracle.gate.clear()
    with listening(max_running=1, max_queue=1) as server:
        body, headers = form()
        first, second = send(server.port, headers, body), None
        assert oracle.began.wait(10)
        second = send(server.port, headers, body)
        assert b'"position": 1' in read_until(second, b"event: queued\ndata: ") + second.recv(100)
        # Nothing of this one's body is ever sent.
        third = send(server.port, {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "1000"})
        reply = read_until(third, b"}}")
        assert reply.startswith(b"HTTP/1.1 503") and b"retry-after: 5" in reply.lower() and b"queue_full" in reply
        oracle.gate.set()
        assert b"event: answer" in read_until(first, b"event: answer")
        assert b"event: answer" in read_until(second, b"event: answer")
        assert oracle.most_running == 1
        for connection in (first, second, third):
            connection.close()


def test_a_client_that_sends_no_more_of_its_body_is_told_so(listening: Callable[..., Any]) -> None:
    with listening(upload_timeout_s=0.3) as server:
        body, headers = form()
        connection = send(server.port, headers, body[:100])
        reply = read_until(connection, b"}}")
        assert reply.startswith(b"HTTP/1.1 408") and b"slow_client" in reply
        connection.close()
        assert not list(server.app.state.service.uploads.iterdir())


def test_a_body_that_trickles_does_not_hold_its_place(listening: Callable[..., Any]) -> None:
    with listening(upload_timeout_s=0.3) as server:
        body, headers = form()
        connection = send(server.port, headers | {"content-length": "100000"}, body[:100])
        connection.settimeout(0.05)
        reply, num_sent = b"", 0
        while b"}}" not in reply:
            try:
                reply += connection.recv(65536)
            except TimeoutError:
                # Well before anybody could say that nothing arrives.
                connection.sendall(b" ")
                num_sent += 1
                assert num_sent < 200
        assert num_sent >= 4
        assert reply.startswith(b"HTTP/1.1 408") and b"slower than 16 kB a second" in reply
        connection.close()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/ask HTTP/1.1\r\nHost: loc"])
def test_a_client_that_sends_no_headers_is_left(listening: Callable[..., Any], sent: bytes) -> None:
    with listening(upload_timeout_s=0.3) as server:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connection.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
        connection.close()


def test_a_client_that_takes_nothing_of_its_reply_is_left(oracle: StreamingOracle) -> None:
    app = create_app(oracle, ServeSettings(upload_timeout_s=0.2))
    body, headers = form()
    oracle.gate.clear()

    async def ask() -> None:
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def take_nothing(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body" and b"event: text" in message["body"]:
                await asyncio.Event().wait()

        raw = [(name.encode(), value.encode()) for name, value in ({"host": "localhost"} | headers).items()]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/ask", "raw_path": b"/v1/ask", "query_string": b"",
            "headers": raw, "scheme": "http", "http_version": "1.1", "root_path": "", "app": app,
            "server": ("localhost", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, take_nothing), 20)

    asyncio.run(ask())
    assert oracle.closed.wait(10)


def test_a_slow_listener_costs_no_memory(start: Callable[..., TestClient], oracle: StreamingOracle) -> None:
    """Texts that nobody has heard yet take the place of each other."""
    service = start().app.state.service

    async def ask() -> int:
        oracle.gate.clear()
        from terrascope.sources.synthetic import demo_scene

        job = service.desk.submit(lambda _: demo_scene(), QUESTION)
        await asyncio.to_thread(oracle.began.wait, 10)
        # Many times the same word.
        await asyncio.sleep(0.3)
        waiting = len(job._unheard)
        job.cancel()
        return waiting

    assert asyncio.run(ask()) <= 2


@pytest.mark.parametrize("told_length", [True, False])
def test_a_body_above_the_limit_is_refused(start: Callable[..., TestClient], told_length: bool) -> None:
    client = start(max_upload_mb=1)
    files = [*fields(question=QUESTION), ("optical", ("a.tif", os.urandom(2 * MB)))]
    big = httpx.Request("POST", "http://localhost/v1/ask", files=files)
    whole = big.read()

    def pieces() -> Iterator[bytes]:
        yield from (whole[start : start + 65536] for start in range(0, len(whole), 65536))

    reply = client.post(
        "/v1/ask", content=whole if told_length else pieces(), headers={"content-type": big.headers["content-type"]}
    )
    assert reply.status_code == 413 and reply.json()["error"]["code"] == "too_large"
    assert not list(client.app.state.service.uploads.iterdir())


def test_the_number_of_files_is_limited(start: Callable[..., TestClient], picture: bytes) -> None:
    client = start(max_files=2)
    reply = client.post("/v1/ask", files=[*fields(question=QUESTION), *[("optical", ("a.png", picture))] * 3])
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_files")
    assert not list(client.app.state.service.uploads.iterdir())


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"question=x", "application/x-www-form-urlencoded", 415),
        (b"x", "multipart/form-data", 400),
        (b"nonsense", "multipart/form-data; boundary=b", 400),
        (b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\nx', "multipart/form-data; boundary=b", 400),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
        (b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\n\xff\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="date"; filename="x"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
        ),
    ],
)
def test_what_is_no_form_is_refused(client: TestClient, content: bytes, kind: str, status: int) -> None:
    reply = client.post("/v1/ask", content=content, headers={"content-type": kind})
    assert reply.status_code == status and reply.json()["error"]["message"]
    assert not list(client.app.state.service.uploads.iterdir())


def tiny_png(side: int) -> bytes:
    """A PNG that claims so many pixels and holds a few bytes of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def tiny_tiff(side: int) -> bytes:
    """A deflated GeoTIFF of so many pixels, all of them zero: a thousandth of its pixels' size."""
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=side, height=side, count=3, dtype="uint8", compress="deflate", tiled=True,
            photometric="RGB", blockxsize=512, blockysize=512, sparse_ok=True,
        ) as dataset:  # fmt: skip
            dataset.write(np.ones((3, 512, 512), np.uint8), window=((0, 512), (0, 512)))
        return memory.read()


@pytest.mark.parametrize(("name", "make"), [("a.png", tiny_png), ("a.tif", tiny_tiff)])
def test_an_image_that_claims_too_many_pixels_is_refused_before_it_is_read(
    start: Callable[..., TestClient], name: str, make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("a pixel was read")

    monkeypatch.setattr("terrascope.rasters.store.FileStore.survey", read)
    reply = start(max_pixels=4_000_000).post(
        "/v1/ask", files=[*fields(question=QUESTION), ("optical", (name, make(20_000)))]
    )
    assert reply.status_code == 422
    assert "20000 x 20000 pixels are more than the limit of 4,000,000" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tif", b'<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>'),
        ("a.vrt", b'<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>'),
        ("a.xml", b"<GDAL_WMS></GDAL_WMS>"),
        ("a.zip", b"PK\x03\x04"),
        ("a.tif", b""),
    ],
)
def test_files_that_are_no_images_are_refused_by_their_own_names(client: TestClient, name: str, content: bytes) -> None:
    reply = client.post("/v1/ask", files=[*fields(question=QUESTION), ("sar", (name, content))])
    assert reply.status_code == 422
    assert reply.json()["error"]["message"].startswith(f"{name}: ") and reply.json()["error"]["field"] == "sar"
    assert not list(client.app.state.service.uploads.iterdir())


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("scene.tif", "scene.tif"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\S2A_MSIL2A_20240501.tif", "S2A_MSIL2A_20240501.tif"),
        (".bashrc", "bashrc"),
        ("..", "upload"),
        ("", "upload"),
        ("a;b|c&d`e.tif", "a_b_c_d_e.tif"),
        ("größe 1,5.tif", "größe_1_5.tif"),
        ("-rf.tif", "rf.tif"),
        ("a\x00b\n.tif", "a_b_.tif"),
    ],
)
def test_names_of_uploads_are_names_and_never_paths(given: str, name: str) -> None:
    assert safe_name(given) == name


def test_names_fit_into_any_file_system() -> None:
    assert len(os.fsencode(safe_name("ä" * 500 + ".tif"))) <= 160
    assert safe_name("ä" * 500 + ".tif").endswith("ä.tif")
    assert safe_name("S2A_" + "ä" * 500 + "_B02.tif").startswith("S2A_ä")
    assert safe_name("S2A_" + "ä" * 500 + "_B02.tif").endswith("ä_B02.tif")


def test_an_answer_that_takes_too_long_ends(start: Callable[..., TestClient], oracle: StreamingOracle) -> None:
    oracle.gate.clear()
    client = start(ask_timeout_s=0.2)
    reply = client.post("/v1/ask", files=fields(question=QUESTION, sample="demo", stream="1"))
    name, data = events_of(reply.text)[-1]
    assert name == "error" and data["error"]["code"] == "timeout"
    plain = client.post("/v1/ask", files=fields(question=QUESTION, sample="demo"))
    assert plain.status_code == 503 and plain.json()["error"]["code"] == "timeout"


def test_uploads_are_removed_when_their_question_has_ended(client: TestClient, picture: bytes, tmp_path: Path) -> None:
    for stream in ("0", "1"):
        reply = client.post(
            "/v1/ask", files=[*fields(question=QUESTION, stream=stream), ("optical", ("a.png", picture))]
        )
        assert reply.status_code == 200
        assert not list(client.app.state.service.uploads.iterdir())


def test_a_large_upload_arrives_byte_for_byte(start: Callable[..., TestClient], oracle: StreamingOracle) -> None:
    """A stack of tiles of random pixels, larger than what is gathered before it is written."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 1024, 1024), np.uint8)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=1024, height=1024, count=3, dtype="uint8", photometric="RGB") as dataset:
            dataset.write(pixels)
        content = memory.read()
    seen: dict[str, Any] = {}
    inner = oracle.stream

    def stream(scene: Any, question: str, *, options: Any = ()) -> Any:
        seen["pixels"] = scene.observations[0].window(slice(0, 1024), slice(0, 1024)).pixels
        return inner(scene, question, options=options)

    oracle.stream = stream  # type: ignore[method-assign]
    reply = start().post("/v1/ask", files=[*fields(question=QUESTION), ("optical", ("a.tif", io.BytesIO(content)))])
    assert reply.status_code == 200
    assert np.array_equal(seen["pixels"], pixels)


def test_questions_beyond_those_at_once_wait_in_order(listening: Callable[..., Any], oracle: StreamingOracle) -> None:
    ended: list[int] = []
    lock = threading.Lock()
    oracle.gate.clear()
    with listening(max_running=2, max_queue=8) as server:

        def ask(number: int) -> None:
            reply = httpx.post(f"{server.url}/v1/ask", files=fields(question=QUESTION, sample="demo"), timeout=60)
            with lock:
                ended.append(reply.status_code)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        assert oracle.began.wait(20)
        oracle.gate.set()
        for thread in threads:
            thread.join(60)
    assert ended == [200] * 8 and oracle.most_running <= 2
