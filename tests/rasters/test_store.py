"""Images read by windows from their files: each window is the same part of the whole, and memory is bounded."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.rasters import parallel
from terrascope.rasters.read import open_scene, read_observation
from terrascope.rasters.sensors import render_overview
from terrascope.rasters.store import FileStore
from terrascope.rasters.warped_store import WarpedStore
from terrascope.rasters.windows import OpenRaster

ORIGIN = (500_000, 5_000_000)


def utm(step: float, east: float = 0, south: float = 0) -> dict:
    return {"crs": "EPSG:32633", "transform": Affine(step, 0, ORIGIN[0] + east, 0, -step, ORIGIN[1] - south)}


def write_tif(path: Path, pixels: np.ndarray, names=(), **profile) -> Path:
    profile = {"driver": "GTiff", **profile}
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", count=count, height=height, width=width, dtype=pixels.dtype.name, **profile
        ) as dataset:
            dataset.write(pixels)
            for index, name in enumerate(names, start=1):
                dataset.set_band_description(index, name)
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Scenes of 700 x 900 pixels and more, each read whole and left in its files."""
    folder = tmp_path_factory.mktemp("kinds")
    rng = np.random.default_rng(0)
    stored = rng.integers(1, 4000, (3, 700, 900)).astype(np.uint16)
    stored[:, 300:340, 500:620] = 0
    names = ("B02", "B03", "B04")
    same = write_tif(
        folder / "same.tif", stored, names, tiled=True, blockxsize=128, blockysize=128, nodata=0, **utm(10)
    )
    bands = folder / "bands"
    for name, band in zip(names, stored, strict=True):
        write_tif(bands / f"T33_{name}_10m.tif", np.maximum(band, 1), **utm(10))
    write_tif(bands / "T33_B11_20m.tif", rng.integers(1, 4000, (350, 450)).astype(np.uint16), **utm(20))
    classes = np.where(rng.random((350, 450)) < 0.01, 0, 4).astype(np.uint8)
    write_tif(bands / "T33_SCL_20m.tif", classes, **utm(20))
    x, y = Transformer.from_crs(32633, 32634, always_xy=True).transform(ORIGIN[0] + 4500, ORIGIN[1] - 3500)
    backscatter = rng.normal(-12, 4, (2, 500, 500)).astype(np.float32)
    backscatter[:, 200:230, 200:230] = np.nan
    zone_34 = {"crs": "EPSG:32634", "transform": Affine(15, 0, x - 3500, 0, -15, y + 3500)}
    other_crs = write_tif(folder / "other_VV_VH.tif", backscatter, ("VV", "VH"), **zone_34)

    def both(**images) -> tuple:
        return open_scene(**images), open_scene(**images, in_memory_pixels=1000)

    safe = folder / "S2A_MSIL2A_20230115T100000_N0509_R022_T33TQM_20230115T120000.SAFE"
    granule = safe / "GRANULE" / "L2A_T33TQM_A039000_20230115T100000" / "IMG_DATA"
    for name, metres in (("B02", 10), ("B03", 10), ("B04", 10), ("B8A", 20)):
        side = 6400 // metres
        write_tif(
            granule / f"R{metres}m" / f"T33TQM_20230115T100000_{name}_{metres}m.jp2",
            rng.integers(1000, 4000, (side, side)).astype(np.uint16),
            driver="JP2OpenJPEG", REVERSIBLE="YES", QUALITY="100", BLOCKXSIZE=256, BLOCKYSIZE=256, **utm(metres),
        )  # fmt: skip
    placeless = folder / "placeless"
    for name, band in zip(names, stored, strict=True):
        write_tif(placeless / f"{name}.tif", np.maximum(band, 1))
    write_tif(placeless / "B11.tif", rng.integers(1, 4000, (350, 450)).astype(np.uint16))
    return {
        "num_blind": int((classes == 0).sum()),
        "same grid": both(optical=same),
        "several resolutions": both(optical=bands),
        "another CRS": both(optical=same, sar=other_crs),
        "SAFE": both(optical=safe),
        "a bbox": both(optical=bands, bbox=(15.001, 45.105, 15.08, 45.15)),
        "no place": both(optical=placeless),
    }


@pytest.mark.parametrize("kind", ["same grid", "several resolutions", "another CRS", "SAFE", "a bbox", "no place"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_window_is_that_part_of_the_whole(kinds: dict, kind: str, data) -> None:
    whole_scene, stored_scene = kinds[kind]
    image = data.draw(st.integers(0, len(whole_scene.observations) - 1))
    whole, stored = whole_scene.observations[image], stored_scene.observations[image]
    assert isinstance(whole.pixels, np.ndarray)
    assert isinstance(stored.pixels, FileStore | WarpedStore)
    np.testing.assert_array_equal(stored.valid, whole.valid)
    height, width = whole.shape
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows = slice(top, data.draw(st.integers(top + 1, height)))
    columns = slice(left, data.draw(st.integers(left + 1, width)))
    bands = data.draw(st.lists(st.sampled_from(whole.bands), min_size=1, unique=True))
    np.testing.assert_array_equal(
        stored.window(rows, columns, bands).pixels, whole.window(rows, columns, bands).pixels, strict=True
    )
    assert stored.georeference == whole.georeference


def test_the_kinds_are_what_they_are_meant_to_be(kinds: dict) -> None:
    same = kinds["same grid"][0].pairs[0].optical
    assert np.argwhere(~same.valid).min(axis=0).tolist() == [300, 500]
    assert (~same.valid).sum() == 40 * 120
    bands = kinds["several resolutions"][0].pairs[0].optical
    assert bands.bands == ("B02", "B03", "B04", "B11")
    # The quality layer's pixels are twice as large.
    assert (~bands.valid).sum() == 4 * kinds["num_blind"]
    pair = kinds["another CRS"][1].pairs[0]
    assert isinstance(pair.sar.pixels, WarpedStore)
    assert pair.sar.valid.any() and not pair.sar.valid.all()
    product = kinds["SAFE"][1].pairs[0].optical
    assert (product.sensor, product.bands) == ("sentinel-2-offset", ("B02", "B03", "B04", "B8A"))
    assert str(product.date) == "2023-01-15"
    assert product.shape == (640, 640)
    part = kinds["a bbox"][1]
    assert part.shape[0] < 700 and part.shape[1] < 900


def test_valid_of_a_stored_image_goes_by_its_picture(tmp_path: Path) -> None:
    stored = np.full((4, 40, 40), 500, np.int16)
    stored[2, 3, 4] = -1
    stored[3, 7, 8] = -1
    path = write_tif(tmp_path / "a.tif", stored, ("B02", "B03", "B04", "B08"), nodata=-1, **utm(10))
    whole, by_windows = read_observation(path), read_observation(path, in_memory_pixels=100)
    assert np.argwhere(~whole.valid).tolist() == [[3, 4], [7, 8]]
    assert np.argwhere(~by_windows.valid).tolist() == [[3, 4]]
    assert by_windows.band("B08")[7, 8] == 0
    assert by_windows.band("B08")[3, 4] == 0
    assert by_windows.band("B08")[7, 9] == pytest.approx(0.05)


@pytest.mark.parametrize("kind", ["same grid", "several resolutions", "another CRS"])
def test_the_overview_of_a_stored_image_is_that_of_the_whole(kinds: dict, kind: str) -> None:
    whole_scene, stored_scene = kinds[kind]
    for whole, stored in zip(whole_scene.observations, stored_scene.observations, strict=True):
        expected, found = whole.overview(100), stored.overview(100)
        np.testing.assert_array_equal(found.valid, expected.valid)
        np.testing.assert_allclose(found.pixels, expected.pixels, rtol=1e-4, atol=1e-6)
        covered = np.zeros(stored.shape, int)
        for part, pixels in stored.parts():
            covered[part] += 1
            np.testing.assert_array_equal(pixels, whole.window(*part).pixels)
        assert (covered == 1).all()


def test_opening_makes_the_overview_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terrascope.rasters.survey.OVERVIEW_SIDE", 30)
    monkeypatch.setattr("terrascope.rasters.sensors.OVERVIEW_SIDE", 30)
    stored = np.random.default_rng(0).integers(1, 4000, (4, 70, 90)).astype(np.uint16)
    stored[:, 10:30, 20:50] = 0
    path = write_tif(tmp_path / "a.tif", stored, ("B02", "B03", "B04", "B08"), nodata=0, **utm(10))
    expected = render_overview(read_observation(path), 15)
    image = read_observation(path, in_memory_pixels=10)
    path.unlink()
    monkeypatch.setattr(OpenRaster, "read", None)
    np.testing.assert_allclose(render_overview(image, 15), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["same grid", "several resolutions", "another CRS", "SAFE", "a bbox", "no place"])
def test_a_pickled_scene_opens_its_files_when_it_is_read(
    kinds: dict, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_scene, stored_scene = kinds[kind]
    with monkeypatch.context() as closed:
        closed.setattr(parallel, "OpenRaster", None)
        arrived = pickle.loads(pickle.dumps(stored_scene))
    assert arrived.notes == stored_scene.notes and len(arrived.pairs) == len(stored_scene.pairs)
    for whole, stored, found in zip(
        whole_scene.observations, stored_scene.observations, arrived.observations, strict=True
    ):
        assert type(found.pixels) is type(stored.pixels) and not isinstance(found.pixels, np.ndarray)
        for name in ("bands", "modality", "sensor", "georeference", "date", "source", "evidence", "assumptions"):
            assert getattr(found, name) == getattr(stored, name), name
        np.testing.assert_array_equal(found.valid, stored.valid)
        height, width = whole.shape
        for rows, columns in ((slice(0, height), slice(0, width)), (slice(37, 91), slice(width - 60, width - 1))):
            np.testing.assert_array_equal(
                found.window(rows, columns).pixels, whole.window(rows, columns).pixels, strict=True
            )
        np.testing.assert_array_equal(found.overview(100).pixels, stored.overview(100).pixels)


def test_what_the_survey_found_travels_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terrascope.rasters.survey.OVERVIEW_SIDE", 30)
    numbers = np.random.default_rng(0).integers(100, 4000, (3, 70, 90)).astype(np.uint16)
    numbers[:, :20] = 77
    path = write_tif(tmp_path / "a.tif", numbers, ("B02", "B03", "B04"), **utm(10))
    scene = open_scene(optical=path, nodata=77, in_memory_pixels=10)
    arrived = pickle.loads(pickle.dumps(scene)).observations[0]
    expected = scene.observations[0].overview(30)
    assert not arrived.valid[:20].any() and arrived.valid[20:].all()
    assert (arrived.window(slice(0, 20), slice(0, 90)).pixels == 0).all()
    path.unlink()
    monkeypatch.setattr(OpenRaster, "read", None)
    found = arrived.overview(30)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_array_equal(found.valid, expected.valid)


ELSEWHERE = """
import pickle, sys
from terrascope.errors import SceneError
scene = pickle.load(sys.stdin.buffer)
try:
    pixels = [image.window(slice(10, 30), slice(20, 50)).pixels for image in scene.observations]
except SceneError as error:
    pixels = str(error)
pickle.dump(pixels, sys.stdout.buffer)
"""


def test_another_process_in_another_folder_reads_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_elsewhere() -> list[np.ndarray] | str:
        (tmp_path / "other").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE], input=sent, cwd=tmp_path / "other", capture_output=True, check=True
        )
        return pickle.loads(done.stdout)

    rng = np.random.default_rng(1)
    monkeypatch.chdir(tmp_path)
    numbers = rng.integers(1, 4000, (3, 90, 90)).astype(np.uint16)
    write_tif(Path("a.tif"), numbers, ("B02", "B03", "B04"), **utm(10))
    write_tif(Path("a_VV.tif"), rng.normal(-12, 4, (60, 60)).astype(np.float32), **utm(15))
    scene = open_scene(optical="a.tif", sar="a_VV.tif", in_memory_pixels=10)
    sent = pickle.dumps(scene)
    for found, image in zip(read_elsewhere(), scene.observations, strict=True):
        np.testing.assert_array_equal(found, image.window(slice(10, 30), slice(20, 50)).pixels)
    Path("a.tif").unlink()
    assert read_elsewhere() == f"{tmp_path / 'a.tif'}: no such file; give the path of a GeoTIFF, PNG or JPEG"


def test_threads_may_share_a_store(kinds: dict) -> None:
    whole, stored = (scene.observations[0] for scene in kinds["several resolutions"])
    places = [(slice(top, top + 60), slice(top, top + 90)) for top in range(0, 600, 30)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda place: stored.window(*place).pixels, places * 3))
    for place, pixels in zip(places * 3, found, strict=True):
        np.testing.assert_array_equal(pixels, whole.window(*place).pixels)


def test_backscatter_is_resampled_as_power(tmp_path: Path) -> None:
    # A chequerboard of -5 and -25 dB: the mean power is -7.97 dB, the mean of the decibels -15.
    decibels = np.where(np.indices((80, 80)).sum(axis=0) % 2, -5, -25).astype(np.float32)
    sar = write_tif(tmp_path / "s1_VV.tif", decibels, **utm(10, east=5, south=5))
    optical = write_tif(tmp_path / "a.tif", np.full((3, 90, 90), 900, np.uint16), ("B02", "B03", "B04"), **utm(10))
    mean = 10 * np.log10((10**-0.5 + 10**-2.5) / 2)
    for in_memory_pixels in (10, 10_000):
        scene = open_scene(optical=optical, sar=sar, in_memory_pixels=in_memory_pixels)
        shown = scene.pairs[0].sar.band("VV")[2:-2, 2:-2]
        np.testing.assert_allclose(shown, mean, rtol=1e-5)
    assert scene.notes[0] == ("s1_VV.tif (10 m, EPSG:32633) was resampled onto the grid of a.tif (10 m, EPSG:32633).")


def test_numbers_are_judged_in_stored_images_too(tmp_path: Path) -> None:
    stored = np.full((3, 50, 50), 200, np.uint8)
    path = write_tif(tmp_path / "a.tif", stored, ("B02", "B03", "B04"), **utm(10))
    with pytest.raises(SceneError, match="sentinel-2-8bit"):
        read_observation(path, sensor="sentinel-2", in_memory_pixels=10)
    power = write_tif(tmp_path / "b_VV.tif", np.full((50, 50), 0.1, np.float32), **utm(10))
    with pytest.raises(SceneError, match="no negative value"):
        read_observation(power, modality="sar", sensor="sentinel-1", in_memory_pixels=10)


def test_progress_is_told_and_ends(tmp_path: Path) -> None:
    path = write_tif(
        tmp_path / "a.tif", np.full((3, 3000, 3000), 9, np.uint16), ("B02", "B03", "B04"), compress="deflate", **utm(10)
    )
    told = []
    read_observation(path, in_memory_pixels=10, progress=lambda *arguments: told.append(arguments))
    assert {(name, height) for name, _, height in told} == {(str(path), 3000)}
    assert [rows for _, rows, _ in told] == sorted(rows for _, rows, _ in told)
    assert len(told) > 1 and told[-1][1] == 3000


MEMORY = """
import resource, sys
from terrascope.rasters.read import read_observation
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_observation(sys.argv[1])
image.window(slice(100, 700), slice(5000, 5600))
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, image.valid.sum())
"""


@pytest.mark.slow
def test_a_large_image_is_opened_in_bounded_memory(tmp_path: Path) -> None:
    side = 8000
    path = tmp_path / "large.tif"
    block = np.random.default_rng(0).integers(1, 4000, (4, 512, 512)).astype(np.uint16)
    profile = {"compress": "zstd", "tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "nodata": 0}
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=side, width=side, dtype="uint16", **profile, **utm(10)
    ) as dataset:
        for index, name in enumerate(("B02", "B03", "B04", "B08"), start=1):
            dataset.set_band_description(index, name)
        for start in range(0, 7680, 512):
            dataset.write(block, window=rasterio.windows.Window(start, start, 512, 512))
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    before, peak, num_valid = (int(number) for number in done.stdout.split())
    assert num_valid == 15 * 512 * 512
    unit = 1 if sys.platform == "darwin" else 1024
    # All bands in float32 would be 1024 MB.
    assert (peak - before) * unit < 700e6
