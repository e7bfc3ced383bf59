"""What tests of the page share: a browser, a server, visits, and two images of one place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.transform import from_origin

from tests.oracle import HEIGHT, WIDTH, draw_picture, write_picture
from tests.serve.visiting import Open, Teller, Visit, browsing, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Not for the whole session: Playwright's loop runs in this thread meanwhile, and other tests run their own.
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def teller() -> Teller:
    return Teller()


@pytest.fixture(scope="module")
def server(teller: Teller) -> Iterator[str]:
    with serving(teller) as address:
        yield address


@pytest.fixture
def visit(browser: Any, server: str) -> Iterator[Open]:
    """Open the page. At the end nothing may have gone to another host, or have been said on the console."""
    visits: list[Visit] = []

    def open_page(address: str = server, **context: Any) -> Visit:
        visits.append(Visit(browser, address, **context))
        return visits[-1]

    yield open_page
    for one in visits:
        one.close()
        assert one.hosts == {one.address.partition("://")[2]}
        assert one.errors == []


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "place_2024-05-02.tif", located=True)


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Its colours turned round, on a later day: what was gray 120 is 135."""
    path = tmp_path / "place_20240611.tif"
    profile = {"count": 3, "height": HEIGHT, "width": WIDTH, "dtype": "uint8", "driver": "GTiff", "photometric": "RGB"}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(255 - draw_picture())
    return path
