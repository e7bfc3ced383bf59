"""What makes a scene, and what does not."""

from __future__ import annotations

import datetime
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyproj import CRS

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.scene import LabelMap, Modality, Observation, Pair, Scene


def observe(modality: Modality = "optical", size: int = 4, valid: np.ndarray | None = None, **more) -> Observation:
    return Observation(
        pixels=np.zeros((1, size, size), np.float32),
        bands=("B",),
        modality=modality,
        sensor="any",
        valid=np.ones((size, size), bool) if valid is None else valid,
        **more,
    )


def test_band_by_name() -> None:
    pixels = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    observation = Observation(
        pixels=pixels,
        bands=("B03", "B04"),
        modality="optical",
        sensor="any",
        valid=np.ones((2, 2), bool),
        source="a.tif",
    )
    assert observation.band("B04").tolist() == [[4, 5], [6, 7]]
    assert observation.shape == (2, 2)
    with pytest.raises(SceneError, match=r"a\.tif: no band B08; it has B03, B04"):
        observation.band("B08")


def test_observations_that_contradict_themselves() -> None:
    with pytest.raises(SceneError, match="2 bands are named"):
        Observation(
            pixels=np.zeros((1, 2, 2), np.float32),
            bands=("a", "b"),
            modality="sar",
            sensor="any",
            valid=np.ones((2, 2), bool),
        )
    with pytest.raises(SceneError, match="does not lie on the grid"):
        observe(valid=np.ones((3, 3), bool))
    with pytest.raises(SceneError, match=r"a\.tif: every pixel is nodata"):
        Scene.of(optical=[observe(valid=np.zeros((4, 4), bool), source="a.tif")])


UTM = Georeference(crs=CRS.from_epsg(32633), transform=Affine(10, 0, 500_000, 0, -20, 5_000_000))


def ramp(height: int, width: int, **more) -> Observation:
    pixels = np.arange(2 * height * width, dtype=np.float32).reshape(2, height, width)
    valid = np.ones((height, width), bool)
    return Observation(pixels=pixels, bands=("B03", "B04"), modality="optical", sensor="any", valid=valid, **more)


def test_window_is_a_slice_with_its_own_place() -> None:
    image = ramp(6, 8, georeference=UTM)
    part = image.window(slice(2, 5), slice(3, 8), ["B04"])
    assert part.bands == ("B04",)
    assert np.array_equal(part.pixels, image.pixels[1:, 2:5, 3:8])
    assert part.georeference.transform == Affine(10, 0, 500_030, 0, -20, 4_999_960)
    scene = Scene.of(optical=[image, image]).window(slice(0, 2), slice(0, 3))
    assert scene.shape == (2, 3) and len(scene.pairs) == 2
    with pytest.raises(SceneError, match="no band B08"):
        image.window(slice(0, 1), slice(0, 1), ["B08"])


def test_window_may_hold_no_valid_pixel() -> None:
    valid = np.zeros((4, 4), bool)
    valid[0, 0] = True
    assert not observe(valid=valid).window(slice(2, 4), slice(2, 4)).valid.any()


def test_overview_is_the_mean_of_the_valid_pixels() -> None:
    valid = np.ones((4, 8), bool)
    valid[:2, :2] = [[True, False], [False, False]]
    valid[2:, 2:4] = False
    image = replace(ramp(4, 8, georeference=UTM), valid=valid)
    small = image.overview(4)
    assert small.shape == (2, 4)
    assert small.valid.tolist() == [[True] * 4, [True, False, True, True]]
    assert small.pixels[0].tolist() == [[0, 6.5, 8.5, 10.5], [20.5, 0, 24.5, 26.5]]
    assert small.georeference.transform == Affine(20, 0, 500_000, 0, -40, 5_000_000)
    assert np.array_equal(image.overview(8).pixels, image.pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(50, 2000))
def test_overview_in_strips_equals_the_mean_over_blocks(height: int, width: int, side: int, strip: int) -> None:
    image = ramp(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("terrascope.scene._STRIP_PIXELS", strip)
        small = image.overview(side)
    rows, columns = small.shape
    assert max(rows, columns) == min(side, max(height, width))
    for row in range(rows):
        for column in range(columns):
            block = image.pixels[
                :,
                row * height // rows : (row + 1) * height // rows,
                column * width // columns : (column + 1) * width // columns,
            ]
            assert small.pixels[:, row, column] == pytest.approx(block.mean((1, 2)))


class Counted:
    """A store that serves windows of a known image and counts the pixels that it was asked for."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.held, self.shape, self.largest, self.reduced = pixels, pixels.shape, 0, None

    def read(self, bands, rows: slice, columns: slice) -> np.ndarray:
        found = self.held[list(bands), rows, columns]
        self.largest = max(self.largest, found.size)
        return found

    def parts(self, bands):
        for top in range(0, self.shape[1], 7):
            for left in range(0, self.shape[2], 9):
                part = slice(top, min(top + 7, self.shape[1])), slice(left, min(left + 9, self.shape[2]))
                yield part, self.read(bands, *part)


def test_images_on_disk_are_read_by_windows() -> None:
    image = ramp(64, 32)
    store = Counted(image.pixels)
    stored = replace(image, pixels=store)
    assert np.array_equal(stored.window(slice(3, 9), slice(4, 7)).pixels, image.pixels[:, 3:9, 4:7])
    assert np.array_equal(stored.band("B04"), image.pixels[1])
    store.largest = 0
    small, of_memory = stored.overview(16, ["B03"]), image.overview(16, ["B03"])
    np.testing.assert_allclose(small.pixels, of_memory.pixels, rtol=1e-6)
    assert small.valid.all() and store.largest == 7 * 9
    store.largest = 0
    assert np.array_equal(stored.overview(16, ["B03"]).pixels, small.pixels) and store.largest == 0


def test_a_kept_overview_is_of_these_bands_this_size_and_this_mask() -> None:
    image = ramp(64, 32)
    stored = replace(image, pixels=Counted(image.pixels))
    stored.overview(16, ["B03"])
    assert np.array_equal(stored.overview(16, ["B04"]).pixels, image.overview(16, ["B04"]).pixels)
    assert stored.overview(8, ["B04"]).shape == (8, 4)
    half = replace(stored, valid=np.arange(64)[:, None] + np.zeros(32, int) < 32)
    assert half.overview(8, ["B04"]).valid.sum() == 16


def test_pair_is_valid_where_either_image_is() -> None:
    left, right = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    left[:, :2] = right[:, 1:3] = True
    day = datetime.date(2024, 5, 1)
    pair = Pair(optical=observe(valid=left), sar=observe("sar", valid=right, date=day))
    assert pair.valid.sum(axis=0).tolist() == [4, 4, 4, 0]
    assert pair.date == day
    with pytest.raises(SceneError, match="needs an optical or a SAR image"):
        Pair()


def test_images_are_paired_in_their_order() -> None:
    optical, sar = [observe(), observe()], [observe("sar"), observe("sar")]
    scene = Scene.of(optical=optical, sar=sar)
    assert [pair.observations for pair in scene.pairs] == [(optical[0], sar[0]), (optical[1], sar[1])]
    assert scene.observations == (optical[0], sar[0], optical[1], sar[1])
    assert scene.dates == (None, None)
    with pytest.raises(SceneError, match="2 optical and 1 SAR images cannot be paired"):
        Scene.of(optical=optical, sar=sar[:1])


def test_scenes_that_are_none() -> None:
    with pytest.raises(SceneError, match="at least one image"):
        Scene.of()
    with pytest.raises(SceneError, match=r"share one grid, but their sizes are \[\(4, 4\), \(5, 5\)\]"):
        Scene.of(optical=[observe(), observe(size=5)])
    with pytest.raises(SceneError, match="same kinds of image"):
        Scene((Pair(optical=observe()), Pair(sar=observe("sar"))))


def test_open_reads_files(tmp_path: Path) -> None:
    for name, level in (("a.png", 10), ("b.png", 20)):
        Image.fromarray(np.full((5, 6, 3), level, np.uint8)).save(tmp_path / name)
    scene = Scene.open(optical=[tmp_path / "a.png", tmp_path / "b.png"], dates=["2024-02-01", "2024-01-01"], gsd_m=0.5)
    assert scene.shape == (5, 6)
    assert scene.dates == (datetime.date(2024, 1, 1), datetime.date(2024, 2, 1))
    assert [pair.optical.pixels.max() for pair in scene.pairs] == [20, 10]
    assert scene.georeference.gsd_m == 0.5
    assert Scene.open(optical=tmp_path / "a.png").pairs[0].optical.source == str(tmp_path / "a.png")


def test_label_map_gives_masks() -> None:
    water = TERRASCOPE.id_of("lake")
    labels = LabelMap(ids=np.array([[water, 255]], np.uint8), nomenclature=TERRASCOPE, class_ids_known=(water,))
    assert labels.mask(water).tolist() == [[True, False]]


def test_numbers_that_have_no_sum_leave_no_infinity_in_the_overview() -> None:
    pixels = np.ones((1, 4, 4), np.float32)
    pixels[0, :2, :2] = 3e38
    image = Observation(pixels=pixels, bands=("VV",), modality="sar", sensor="sentinel-1", valid=np.ones((4, 4), bool))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        overview = image.overview(2)
    assert overview.valid.tolist() == [[False, True], [True, True]]
    assert overview.pixels.tolist() == [[[0, 1], [1, 1]]]


def test_a_scene_prints_as_words_and_not_as_pixels() -> None:
    scene = Scene.of(optical=[observe(source="lake.tif")])
    assert "lake.tif" in repr(scene) and "array" not in repr(scene)
