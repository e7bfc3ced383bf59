"""A small STAC API on loopback: a landing page, collections, a search, and COGs of known numbers."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

SIDE = 60
WEST, NORTH, PIXEL_M = 500_000, 5_000_000, 10.0
BOX = transform_bounds("EPSG:32633", "EPSG:4326", WEST, NORTH - 600, WEST + 600, NORTH)
PAGE = 2


class Archive:
    """What the server serves. `wait_s` and `status` are how badly it answers a search."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items: list[dict[str, Any]] = []
        self.wait_s, self.status, self.is_endless = 0.0, 200, False
        self.address = ""
        self.num_searches = 0

    def add(
        self,
        name: str,
        bands: dict[str, NDArray[Any]],
        *,
        collection: str = "sentinel-2-l2a",
        day: str = "2024-05-01",
        nodata: float | None = 0,
        origin: tuple[float, float] = (WEST, NORTH),
        asset: Callable[[str], dict[str, Any]] = lambda name: {},
        **properties: Any,
    ) -> dict[str, Any]:
        """An item whose assets, by key, hold these numbers `[H, W]`."""
        assets = {}
        for key, numbers in bands.items():
            path = self.folder / f"{name}-{key}.tif"
            height, width = numbers.shape
            with rasterio.open(
                path, "w", driver="COG", count=1, height=height, width=width, dtype=numbers.dtype.name,
                crs="EPSG:32633", transform=from_origin(*origin, PIXEL_M, PIXEL_M), nodata=nodata,
            ) as dataset:  # fmt: skip
                dataset.write(numbers, 1)
            cog = "image/tiff; application=geotiff; profile=cloud-optimized"
            assets[key] = {"href": f"{self.address}/{path.name}", "type": cog, "roles": ["data"], **asset(key)}
        west, south, east, north = transform_bounds(
            "EPSG:32633", "EPSG:4326", origin[0], origin[1] - 600, origin[0] + 600, origin[1]
        )
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": name,
            "collection": collection,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [west, south, east, north],
            "properties": {"datetime": f"{day}T10:00:00Z", **properties},
            "links": [],
            "assets": assets,
        }
        self.items.append(item)
        return item

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of a request that is not for a file."""
        links = [
            {"rel": "self", "href": self.address, "type": "application/json"},
            {"rel": "root", "href": self.address, "type": "application/json"},
            {"rel": "data", "href": f"{self.address}/collections", "type": "application/json"},
            {"rel": "search", "href": f"{self.address}/search", "type": "application/geo+json", "method": "POST"},
        ]
        if path in ("", "/"):
            conforms = [f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "collections", "item-search")]
            about = {"type": "Catalog", "id": "small", "stac_version": "1.0.0", "description": "A small archive."}
            return 200, {**about, "conformsTo": conforms, "links": links}
        names = sorted({item["collection"] for item in self.items} | {"sentinel-2-l2a"})
        if path == "/collections":
            return 200, {"collections": [_collection(name) for name in names], "links": []}
        if path.startswith("/collections/"):
            name = path.rsplit("/", 1)[1]
            return (200, _collection(name)) if name in names else (404, {"description": "no such collection"})
        if path == "/search":
            self.num_searches += 1
            time.sleep(self.wait_s)
            return self.status, self._found(body)
        return 404, {}

    def _found(self, body: dict[str, Any]) -> dict[str, Any]:
        first, _, last = (body.get("datetime") or "0/9").partition("/")
        found = [
            item
            for item in self.items
            if item["collection"] in body["collections"]
            and first[:10] <= item["properties"]["datetime"][:10] <= (last[:10] or first[:10])
            and ("bbox" not in body or _overlap(item["bbox"], body["bbox"]))
        ]
        start = 0 if self.is_endless else int(body.get("token", 0))
        links = []
        if start + PAGE < len(found) or self.is_endless:
            body = {**body, "token": start + PAGE}
            links = [{"rel": "next", "href": f"{self.address}/search", "method": "POST", "body": body}]
        return {"type": "FeatureCollection", "features": found[start : start + PAGE], "links": links}


def _overlap(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "id": name,
        "stac_version": "1.0.0",
        "description": name,
        "license": "other",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._serve(b"", body=False)

    def do_GET(self) -> None:
        self._serve(b"", body=True)

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))), body=True)

    def _serve(self, sent: bytes, *, body: bool) -> None:
        archive: Archive = self.server.archive  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        file = archive.folder / path.strip("/")
        if not file.is_file():
            status, answer = archive.answer(path, json.loads(sent) if sent else {})
            self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=body)
            return
        content = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, content, {"Accept-Ranges": "bytes"}, body=body)
            return
        start, stop = int(wanted[1]), min(int(wanted[2] or len(content) - 1) + 1, len(content))
        said = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        self._send(206, content[start:stop], said, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[Archive]:
    """An archive without items, at its address."""
    archive = Archive(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.archive = archive  # type: ignore[attr-defined]
    archive.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()


def sentinel_2(*, water: int = 200, land: int = 2000, plus: int = 0) -> dict[str, NDArray[Any]]:
    """Red, green and blue as they are stored: the western third is dark, the rest is land."""
    numbers = np.full((SIDE, SIDE), land + plus, np.uint16)
    numbers[:, : SIDE // 3] = water + plus
    return {"red": numbers, "green": numbers + 1, "blue": numbers + 2}
