"""Images at an address: read by windows, and every failure of a server is one sentence within bounded time."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import rasterio
from affine import Affine

from terrascope.errors import SceneError
from terrascope.rasters.read import open_scene

SIDE = 2048


class _Handler(http.server.BaseHTTPRequestHandler):
    """Sends parts of the served folder's files, and counts what it sends."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._send(body=False)

    def do_GET(self) -> None:
        self._send(body=True)

    def _send(self, *, body: bool) -> None:
        name = self.path.partition("?")[0].strip("/")
        if name == "silent.tif":
            self.server.stopped.wait(60)  # type: ignore[attr-defined]
            return
        if name == "error.tif":
            self._answer(500, b"out of order", {}, body=body)
            return
        if name == "page.tif":
            self._answer(200, b"<!DOCTYPE html><html><body>Please log in</body></html>", {}, body=body)
            return
        path = self.server.folder / name  # type: ignore[attr-defined]
        if not path.is_file():
            self._answer(404, b"not here", {}, body=body)
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._answer(200, content, {"Accept-Ranges": "bytes"}, body=body)
            return
        start, stop = int(wanted[1]), min(int(wanted[2] or len(content) - 1) + 1, len(content))
        said = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        self._answer(206, content[start:stop], said, body=body)

    def _answer(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.server.num_bytes += len(content)  # type: ignore[attr-defined]
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[http.server.ThreadingHTTPServer]:
    folder = tmp_path_factory.mktemp("served")
    stored = np.random.default_rng(0).integers(1, 4000, (3, SIDE, SIDE)).astype(np.uint16)
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", count=3, height=SIDE, width=SIDE, dtype="uint16", tiled=True,
        blockxsize=256, blockysize=256, crs="EPSG:4326", transform=Affine(1e-4, 0, 10, 0, -1e-4, 50),
    ) as dataset:  # fmt: skip
        dataset.write(stored)
        for index, name in enumerate(("B02", "B03", "B04"), start=1):
            dataset.set_band_description(index, name)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served.folder, served.num_bytes, served.stopped = folder, 0, threading.Event()  # type: ignore[attr-defined]
    served.daemon_threads = True
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.stopped.set()  # type: ignore[attr-defined]
    served.shutdown()
    served.server_close()
    thread.join()


def address(server: http.server.ThreadingHTTPServer, name: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def test_a_part_of_an_image_fetches_a_part_of_it(server) -> None:
    before = server.num_bytes
    box = (10.1024, 49.9, 10.1124, 49.91)
    scene = open_scene(optical=address(server, "a.tif?token=secret"), bbox=box)
    fetched = server.num_bytes - before
    size = (server.folder / "a.tif").stat().st_size
    assert size > 24e6
    # The part lies in one tile of 256 x 256; the sample that tells the sensor, in 9 more of the 64.
    assert fetched < size / 4
    assert scene.shape == (100, 100)
    with rasterio.open(server.folder / "a.tif") as dataset:
        stored = dataset.read(window=rasterio.windows.Window(1024, 900, 100, 100))
    np.testing.assert_allclose(scene.pairs[0].optical.pixels, stored * 1e-4, rtol=1e-5)
    assert scene.notes == ("The answer is about the part in the bbox: 100 x 100 of the 2048 x 2048 pixels of a.tif.",)


def test_a_named_sensor_fetches_only_the_part(server) -> None:
    before = server.num_bytes
    open_scene(optical=address(server, "a.tif?2"), bbox=(10.1024, 49.9, 10.1124, 49.91), sensor="sentinel-2")
    # One tile of 256 x 256 x 3 numbers has 393216 bytes; with headers and whole chunks it is some more.
    assert server.num_bytes - before < 1.2e6


def test_the_whole_image_is_read_too(server) -> None:
    scene = open_scene(optical=address(server, "a.tif?3"), in_memory_pixels=1000)
    assert scene.shape == (SIDE, SIDE)
    assert scene.pairs[0].optical.window(slice(7, 9), slice(5, 9)).pixels.shape == (3, 2, 4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.tif", "none.tif: cannot be fetched.*404"),
        ("page.tif", "page.tif: what the server sends is no GeoTIFF"),
        ("error.tif", "error.tif: cannot be fetched.*500"),
    ],
)
def test_what_a_server_says_instead_of_an_image(server, name: str, said: str) -> None:
    with pytest.raises(SceneError, match=said) as refused:
        open_scene(optical=address(server, name))
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_silent_server_is_given_up(server) -> None:
    began = time.monotonic()
    with pytest.raises(SceneError, match=r"silent\.tif: cannot be fetched"):
        open_scene(optical=address(server, "silent.tif"))
    assert time.monotonic() - began < 40


def test_nobody_answers() -> None:
    began = time.monotonic()
    with pytest.raises(SceneError, match=r"a\.tif: cannot be fetched .*connect"):
        open_scene(optical="http://127.0.0.1:9/a.tif")
    assert time.monotonic() - began < 20
    with pytest.raises(SceneError, match=r"a\.tif: cannot be fetched"):
        open_scene(optical="https://no-such-host.invalid/a.tif")
