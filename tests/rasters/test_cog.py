"""Masks as cloud-optimised GeoTIFFs, opened by GDAL and checked by rio-cogeo."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate
from tests.rasters.masks_of_known_shape import UTM, named, square

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.cog import write_masks_tif, write_steps_tif


def check_cog(path: Path) -> None:
    is_valid, errors, warnings = cog_validate(path, strict=True)
    assert (is_valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_masks_tif_holds_one_band_per_mask(tmp_path: Path) -> None:
    valid = np.ones((20, 30), bool)
    valid[:, :6] = False
    all_land = np.ones((20, 30), bool)
    masks = [named(square(), valid, step=1, coverage=0.5), named(all_land, name="land\n – Łódź")]
    write_masks_tif(tmp_path / "masks.tif", masks, UTM)
    check_cog(tmp_path / "masks.tif")
    with rasterio.open(tmp_path / "masks.tif") as dataset:
        assert (dataset.count, dataset.dtypes[0], dataset.nodata) == (2, "uint8", 255)
        assert dataset.descriptions == ("water", "land  – Łódź")
        assert dataset.colorinterp == (ColorInterp.gray, ColorInterp.undefined)
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == UTM.transform
        assert dataset.tags(1)["coverage"] == "0.5"
        first = dataset.read(1)
        assert (first[:, :6] == 255).all()
        np.testing.assert_array_equal(first[:, 6:], square()[:, 6:])
        assert (dataset.read(2) == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["masks.tif"]


def test_four_masks_are_not_taken_for_colours_and_transparency(tmp_path: Path) -> None:
    write_masks_tif(tmp_path / "masks.tif", [named(square())] * 4, UTM)
    with rasterio.open(tmp_path / "masks.tif") as dataset:
        assert dataset.colorinterp == (ColorInterp.gray,) + (ColorInterp.undefined,) * 3


def test_large_masks_have_overviews_that_hold_only_their_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask, valid = rng.random((1100, 1300)) < 0.5, np.ones((1100, 1300), bool)
    mask[:512, :512], mask[512:, 512:] = True, False
    valid[-30:] = False
    write_masks_tif(tmp_path / "masks.tif", [named(mask, valid)], UTM)
    check_cog(tmp_path / "masks.tif")
    with rasterio.open(tmp_path / "masks.tif") as dataset:
        assert dataset.overviews(1) == [2, 4]
        assert dataset.block_shapes == [(512, 512)]
        np.testing.assert_array_equal(dataset.read(1), np.where(valid, mask, 255))
    with rasterio.open(tmp_path / "masks.tif", overview_level=0) as overview:
        coarse = overview.read(1)
        assert set(np.unique(coarse)) == {0, 1, 255}
        assert (coarse[:256, :256] == 1).all()
        assert (coarse[260:530, 260:] == 0).all()
        assert (coarse[-14:] == 255).all()


def test_steps_tif_shows_the_number_of_the_last_step_in_its_colour(tmp_path: Path) -> None:
    valid = np.ones((20, 30), bool)
    valid[:, :6] = False
    late = np.zeros((20, 30), bool)
    late[14:18, 10:20] = True
    masks = [named(square(), valid, name="Water & <ice>"), named(late, valid, name="Łąka")]
    write_steps_tif(tmp_path / "steps.tif", masks, UTM)
    check_cog(tmp_path / "steps.tif")
    expected = np.where(late, 2, square())
    expected[:, :6] = 255
    with rasterio.open(tmp_path / "steps.tif") as dataset:
        assert (dataset.count, dataset.dtypes[0], dataset.nodata) == (1, "uint8", 0)
        np.testing.assert_array_equal(dataset.read(1), expected)
        assert dataset.crs.to_epsg() == 32633
        colors = dataset.colormap(1)
    assert colors[0][3] == 0
    assert colors[1] == colors[2] == (0, 100, 200, 255)
    assert colors[255] == (128, 128, 128, 255)
    names = [c.text for c in ElementTree.parse(tmp_path / "steps.tif.aux.xml").iter("Category")]
    assert names[:3] == ["no step", "1. Water & <ice>", "2. Łąka"]
    assert (len(names), names[255]) == (256, "not measured")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["steps.tif", "steps.tif.aux.xml"]


def test_more_steps_than_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="255 masks do not fit into one band"):
        write_steps_tif(tmp_path / "steps.tif", [named(square())] * 255, UTM)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (20, 30)])
def test_without_georeference_and_of_any_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, bool)
    mask[::2, ::2] = True
    write_masks_tif(tmp_path / "masks.tif", [named(mask)], Georeference(gsd_m=10))
    write_steps_tif(tmp_path / "steps.tif", [named(mask)], Georeference(gsd_m=10))
    for name in ("masks.tif", "steps.tif"):
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture).reshape(shape), mask)


def test_what_gdal_cannot_write_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "steps.tif").mkdir()
    with pytest.raises(OutputError, match=r"steps\.tif: cannot be written"):
        write_steps_tif(tmp_path / "steps.tif", [named(square())], UTM)
    assert [path.name for path in tmp_path.iterdir()] == ["steps.tif"]
