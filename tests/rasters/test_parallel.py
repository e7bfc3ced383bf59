"""Threads that read side by side: results in order, the first error, files of their own, and silence."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from terrascope.errors import SceneError
from terrascope.rasters import parallel, store
from terrascope.rasters.parallel import OpenFiles, in_order
from terrascope.rasters.read import read_observation

SIDE = 512


@pytest.mark.parametrize("num_threads", [1, 3])
def test_results_come_in_order_and_work_is_not_far_ahead(num_threads: int) -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.002 * (number % 3))
        return number**2

    for expected, found in enumerate(in_order(work, range(30), num_threads)):
        assert found == expected**2
        assert max(begun) <= expected + num_threads + 1
    assert sorted(begun) == list(range(30))


@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_first_error_ends_the_work(num_threads: int) -> None:
    def work(number: int) -> int:
        if number == 4:
            raise SceneError("four")
        return number

    found = []
    num_threads_before = threading.active_count()
    with pytest.raises(SceneError, match="four"):
        for number in in_order(work, range(1000), num_threads):
            found.append(number)
    assert found == [0, 1, 2, 3]
    assert threading.active_count() <= num_threads_before


def write_scene(path: Path, driver: str) -> np.ndarray:
    stored = np.random.default_rng(0).integers(1, 4000, (3, SIDE, SIDE)).astype(np.uint16)
    layout = {
        "GTiff": {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"},
        "JP2OpenJPEG": {"REVERSIBLE": "YES", "QUALITY": "100", "BLOCKXSIZE": 128, "BLOCKYSIZE": 128},
    }[driver]
    profile = {"count": 3, "height": SIDE, "width": SIDE, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(
        path, "w", driver=driver, transform=Affine(10, 0, 500_000, 0, -10, 5_000_000), **profile, **layout
    ) as file:
        file.write(stored)
    return stored


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are cut into parts of one block each, which three threads read."""
    for module in (parallel, store):
        monkeypatch.setattr(module, "NUM_THREADS", 3)
    monkeypatch.setattr(store, "_PART_NUMBERS", 128 * 512)


@pytest.mark.parametrize("driver", ["GTiff", "JP2OpenJPEG"])
def test_every_block_is_decoded_once_a_pass(
    tmp_path: Path, driver: str, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "B02_B03_B04.dat"
    stored = write_scene(path, driver)
    parts = []
    read = parallel.OpenRaster.read

    def noted(raster, indexes, part, out=None):
        parts.append((tuple(indexes), *part, threading.current_thread() is threading.main_thread()))
        return read(raster, indexes, part, out)

    monkeypatch.setattr(parallel.OpenRaster, "read", noted)
    image = read_observation(path, sensor="maxar-11bit", in_memory_pixels=0)
    with rasterio.open(path) as file:
        height, width = file.block_shapes[0]
    blocks = [
        ((1, 2, 3), slice(top, top + height), slice(left, left + width), False)
        for top in range(0, SIDE, height)
        for left in range(0, SIDE, width)
    ]
    assert len(blocks) >= 4 and sorted(parts, key=str) == sorted(blocks, key=str)
    parts.clear()
    np.testing.assert_array_equal(image.window(slice(0, SIDE), slice(0, SIDE)).pixels, stored)
    assert sorted(parts, key=str) == sorted(blocks, key=str)


@pytest.mark.parametrize("driver", ["GTiff", "JP2OpenJPEG"])
def test_threads_say_nothing_of_damage_but_the_error(
    tmp_path: Path, driver: str, small_parts: None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.dat"
    write_scene(path, driver)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)
    with pytest.raises(SceneError, match="cannot be read; the file is damaged"):
        read_observation(path, sensor="maxar-11bit", in_memory_pixels=0)
    assert capfd.readouterr() == ("", "")


def test_a_file_is_open_once_for_each_thread_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "a.tif")
    write_scene(Path(path), "GTiff")
    files = OpenFiles(allow_virtual=False)
    with files.borrowed() as one:
        first = one(path)
        assert one(path) is first
    with files.borrowed() as one, files.borrowed() as two:
        assert one(path) is first
        assert two(path) is not first
