"""Masks of known shape, written and read back with rasterio, json and shapely."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import CRS, Geod, Transformer
from shapely.geometry import shape
from shapely.geometry.polygon import LinearRing

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.write import NamedMask, write_masks_geojson, write_masks_tif, write_overlay

UTM = Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 500_000, 0, -10, 5_000_000))


def named(mask: np.ndarray, valid: np.ndarray | None = None, **properties) -> NamedMask:
    valid = np.ones_like(mask) if valid is None else valid
    return NamedMask(
        name=properties.pop("name", "water"), mask=mask, valid=valid, color=(0, 100, 200), properties=properties
    )


def square(height: int = 20, width: int = 30) -> np.ndarray:
    """10 x 10 pixels with a hole of 2 x 2, and a single pixel that touches its corner."""
    mask = np.zeros((height, width), bool)
    mask[5:15, 5:15] = True
    mask[9:11, 9:11] = False
    mask[15, 15] = True
    return mask


def test_tif_holds_one_band_per_mask(tmp_path: Path) -> None:
    valid = np.ones((20, 30), bool)
    valid[:, :6] = False
    all_land = np.ones((20, 30), bool)
    masks = [named(square(), valid, step=1, coverage=0.5), named(all_land, name="land")]
    write_masks_tif(tmp_path / "masks.tif", masks, UTM)
    with rasterio.open(tmp_path / "masks.tif") as dataset:
        assert (dataset.count, dataset.dtypes[0], dataset.nodata) == (2, "uint8", 255)
        assert dataset.descriptions == ("water", "land")
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == UTM.transform
        assert dataset.profile["compress"] == "deflate"
        assert dataset.profile["tiled"]
        assert dataset.tags(1)["coverage"] == "0.5"
        first = dataset.read(1)
        assert (first[:, :6] == 255).all()
        np.testing.assert_array_equal(first[:, 6:], square()[:, 6:])
        assert (dataset.read(2) == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["masks.tif"]


@pytest.mark.filterwarnings("error")
def test_tif_without_georeference(tmp_path: Path) -> None:
    write_masks_tif(tmp_path / "masks.tif", [named(square())], Georeference(gsd_m=10))
    pixels = np.asarray(Image.open(tmp_path / "masks.tif"))
    np.testing.assert_array_equal(pixels, square())


def test_geojson_lies_on_the_earth(tmp_path: Path) -> None:
    properties = {
        "step": 2,
        "text": "Lake",
        "image": 1,
        "coverage": np.float32(0.25),
        "area_m2": 9700.0,
        "confidence": np.nan,
    }
    write_masks_geojson(tmp_path / "masks.geojson", [named(square(), **properties)], UTM)
    collection = json.loads((tmp_path / "masks.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert "note" not in collection
    (feature,) = collection["features"]
    assert feature["properties"] == {
        "name": "water", "step": 2, "text": "Lake", "image": 1, "coverage": 0.25, "area_m2": 9700.0, "confidence": None,
    }  # fmt: skip
    geometry = shape(feature["geometry"])
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.is_valid
    assert sorted(len(polygon.interiors) for polygon in geometry.geoms) == [0, 1]
    for polygon in geometry.geoms:
        assert LinearRing(polygon.exterior.coords).is_ccw
        assert not any(LinearRing(ring.coords).is_ccw for ring in polygon.interiors)
    west, south, east, north = geometry.bounds
    assert west == pytest.approx(15 + 50 / 78_900, abs=1e-5)
    assert 15 < west < east < 15.003
    to_lonlat = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    assert north == pytest.approx(to_lonlat.transform(500_100, 5_000_000 - 50)[1], abs=1e-6)
    assert south == pytest.approx(to_lonlat.transform(500_100, 5_000_000 - 160)[1], abs=1e-6)
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(geometry)
    assert area == pytest.approx(97 * 100 / 0.9996**2, rel=1e-3)


def test_geojson_keeps_only_what_was_measured(tmp_path: Path) -> None:
    valid = np.ones((4, 4), bool)
    valid[:, :2] = False
    write_masks_geojson(tmp_path / "m.geojson", [named(np.ones((4, 4), bool), valid)], Georeference())
    geometry = shape(json.loads((tmp_path / "m.geojson").read_text())["features"][0]["geometry"])
    assert geometry.bounds == (2, 0, 4, 4)


def test_geojson_without_crs_is_in_pixels_and_says_so(tmp_path: Path) -> None:
    empty = np.zeros((20, 30), bool)
    write_masks_geojson(tmp_path / "m.geojson", [named(square()), named(empty)], Georeference(gsd_m=10))
    collection = json.loads((tmp_path / "m.geojson").read_text())
    assert collection["note"].startswith("pixel coordinates")
    geometry = shape(collection["features"][0]["geometry"])
    assert geometry.area == 97
    assert geometry.bounds == (5, 5, 16, 16)
    assert collection["features"][1]["geometry"] is None
    for polygon in geometry.geoms:
        assert LinearRing(polygon.exterior.coords).is_ccw


def test_overlay_tints_the_mask_and_dims_the_rest(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    valid = np.ones((64, 64), bool)
    valid[:8, :8] = False
    rgb = np.full((3, 64, 64), 0.5, np.float32)
    write_overlay(
        tmp_path / "overlay.png",
        rgb,
        [named(mask, valid, step=1, text="A lake \u2013 5 km\u00b2. " * 20, coverage=0.25)],
    )
    picture = Image.open(tmp_path / "overlay.png")
    assert picture.format == "PNG"
    assert picture.width == 2 * 384 + 3 * 18
    pixels = np.asarray(picture).astype(int)
    plain, panel = pixels[18 : 18 + 384, 18 : 18 + 384], pixels[18 : 18 + 384, 420 : 420 + 384]
    assert (plain == 128).all()
    np.testing.assert_allclose(panel[192, 192], 0.55 * 128 + 0.45 * np.array([0, 100, 200]), atol=1)
    np.testing.assert_allclose(panel[300, 20], 0.7 * 128, atol=1)
    assert panel[10, 10].tolist() == [110, 110, 110]
    assert (panel[95, 192] == 255).all()
    assert panel[96, 192].tolist() == [0, 80, 160]
    caption = pixels[18 + 384 + 30 :, 420:]
    assert (caption.min(axis=2) < 128).any(axis=1).sum() > 20


def test_overlay_draws_each_step_on_its_image(tmp_path: Path) -> None:
    mask = np.zeros((32, 96), bool)
    images = np.stack([np.full((3, 32, 96), level, np.float32) for level in (0.2, 0.8)])
    write_overlay(tmp_path / "o.png", images, [named(mask, image=2), named(mask, image=1)])
    pixels = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
    assert pixels.shape[1] == 3 * 896 + 4 * 18
    third, below = pixels[100, 18 + 2 * 914 + 448], pixels[-100, 18 + 448]
    assert third.tolist() == [int(0.7 * 204)] * 3
    assert below.tolist() == [int(0.7 * 51)] * 3
    with pytest.raises(OutputError, match="is of image 3, but there are 2"):
        write_overlay(tmp_path / "o.png", images, [named(mask, image=3)])


@pytest.mark.parametrize("height", [1, 40, 3000])
def test_overlay_panels_stay_legible(tmp_path: Path, height: int) -> None:
    write_overlay(tmp_path / "o.png", np.zeros((3, height, 60), np.float32), [named(np.ones((height, 60), bool))])
    picture = Image.open(tmp_path / "o.png")
    assert picture.width >= 2 * 192
    assert picture.height <= 1000


@pytest.mark.parametrize("name", ["masks.tif", "masks.geojson", "overlay.png"])
def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    def write(path: Path) -> None:
        if name.endswith("tif"):
            write_masks_tif(path, [named(square())], UTM)
        elif name.endswith("geojson"):
            write_masks_geojson(path, [named(square())], UTM)
        else:
            write_overlay(path, np.zeros((3, 20, 30), np.float32), [named(square())])

    with pytest.raises(OutputError, match=rf"{name}: cannot be written \(.+\); choose a folder that exists"):
        write(tmp_path / "missing" / name)
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=f"{name}: cannot be written"):
        write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_masks_must_share_a_grid(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="must share a grid"):
        write_masks_tif(tmp_path / "m.tif", [named(square()), named(square(21))], UTM)
    with pytest.raises(OutputError, match="no mask to write"):
        write_masks_tif(tmp_path / "m.tif", [], UTM)
    with pytest.raises(OutputError, match="does not lie on the image"):
        write_overlay(tmp_path / "m.png", np.zeros((3, 9, 9), np.float32), [named(square())])
    with pytest.raises(OutputError, match="must share a grid"):
        named(square(), np.ones((3, 3), bool))
