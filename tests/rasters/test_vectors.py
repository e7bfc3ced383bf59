"""Outlines of known shape, read back with json, shapely and geopandas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyproj import CRS, Geod, Transformer
from rasterio.features import rasterize
from shapely.geometry import shape
from shapely.geometry.polygon import LinearRing
from tests.rasters.masks_of_known_shape import UTM, named, square

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.outlines import trace_outline
from terrascope.rasters.vectors import write_masks_geojson, write_masks_parquet


def read_geojson(path: Path) -> dict[str, Any]:
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert "crs" not in collection
    for feature in collection["features"]:
        if feature["geometry"] is not None:
            geometry = shape(feature["geometry"])
            assert geometry.is_valid
            for polygon in geometry.geoms:
                assert LinearRing(polygon.exterior.coords).is_ccw
                assert not any(LinearRing(ring.coords).is_ccw for ring in polygon.interiors)
    return collection


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
    collection = read_geojson(tmp_path / "masks.geojson")
    assert collection["type"] == "FeatureCollection"
    assert "note" not in collection
    (feature,) = collection["features"]
    assert feature["properties"] == {
        "name": "water", "step": 2, "text": "Lake", "image": 1, "coverage": 0.25, "area_m2": 9700.0, "confidence": None,
        "outline_block_px": 1,
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


def test_geojson_is_cut_at_the_antimeridian(tmp_path: Path) -> None:
    """UTM zone 1 ends at 180 degrees: a mask of 2 km on either side of it is two polygons of equal area."""
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32601", always_xy=True)
    x, y = to_utm.transform(180.0, 10.0)
    grid = Georeference(crs=CRS("EPSG:32601"), transform=Affine(100, 0, x - 2000, 0, -100, y + 1000))
    mask = np.ones((20, 40), bool)
    mask[8:12, 18:22] = False
    write_masks_geojson(tmp_path / "m.geojson", [named(mask), named(mask)], grid)
    collection = read_geojson(tmp_path / "m.geojson")
    west, south, east, north = collection["bbox"]
    assert 179.98 < west < 180 and -180 < east < -179.98
    assert 9.98 < south < 10 < north < 10.02
    for feature in collection["features"]:
        parts = shape(feature["geometry"])
        assert sorted(round(part.bounds[0]) for part in parts.geoms) == [-180, 180]
        assert max(part.bounds[2] - part.bounds[0] for part in parts.geoms) < 0.02
        areas = [abs(Geod(ellps="WGS84").geometry_area_perimeter(part)[0]) for part in parts.geoms]
        scale = 1.00096  # of UTM, 327 km from its central meridian
        assert sum(areas) == pytest.approx((800 - 16) * 1e4 / scale**2, rel=1e-3)
        assert areas[0] == pytest.approx(areas[1], rel=5e-3)


@pytest.mark.parametrize("left", [-180.0, 0.0, 180.0, 178.0, 300.0])
def test_longitudes_that_are_told_otherwise_lie_where_they_belong(tmp_path: Path, left: float) -> None:
    grid = Georeference(crs=CRS("EPSG:4326"), transform=Affine(0.5, 0, left, 0, -0.5, 10))
    write_masks_geojson(tmp_path / "m.geojson", [named(np.ones((4, 8), bool))], grid)
    collection = read_geojson(tmp_path / "m.geojson")
    geometry = shape(collection["features"][0]["geometry"])
    assert geometry.area == pytest.approx(8.0)
    assert geometry.bounds[0] >= -180 and geometry.bounds[2] <= 180
    expected = {-180.0: [-180, -176], 0.0: [0, 4], 180.0: [-180, -176], 178.0: [178, -178], 300.0: [-60, -56]}[left]
    assert collection["bbox"] == [expected[0], 8, expected[1], 10]
    assert len(geometry.geoms) == (2 if left == 178.0 else 1)


def test_the_whole_globe_stays_whole(tmp_path: Path) -> None:
    grid = Georeference(crs=CRS("EPSG:4326"), transform=Affine(5, 0, -180, 0, -5, 90))
    write_masks_geojson(tmp_path / "m.geojson", [named(np.ones((36, 72), bool))], grid)
    collection = read_geojson(tmp_path / "m.geojson")
    assert collection["bbox"] == [-180, -90, 180, 90]
    assert shape(collection["features"][0]["geometry"]).bounds == (-180, -90, 180, 90)


def test_a_pole_has_no_outline_in_longitude_and_latitude_but_in_its_own_crs(tmp_path: Path) -> None:
    grid = Georeference(crs=CRS("EPSG:3031"), transform=Affine(1000, 0, -10_000, 0, -1000, 10_000))
    masks = [named(np.ones((20, 20), bool))]
    write_masks_geojson(tmp_path / "m.geojson", masks, grid)
    collection = read_geojson(tmp_path / "m.geojson")
    assert collection["features"][0]["geometry"] is None
    assert "masks.parquet has them" in collection["note"]
    assert "bbox" not in collection
    write_masks_parquet(tmp_path / "m.parquet", masks, grid)
    assert geopandas.read_parquet(tmp_path / "m.parquet").total_bounds.tolist() == [-10_000, -10_000, 10_000, 10_000]


def test_parquet_is_in_the_crs_of_the_scene(tmp_path: Path) -> None:
    known = {"step": 1, "image": 1, "date": "2024-05-01", "area_m2": 9700.0, "agrees": True, "confidence": np.nan}
    unknown = {**known, "step": 2, "area_m2": None}
    masks = [named(square(), **known), named(np.zeros((20, 30), bool), name="none", **unknown)]
    write_masks_parquet(tmp_path / "m.parquet", masks, UTM)
    frame = geopandas.read_parquet(tmp_path / "m.parquet")
    assert frame.crs == CRS("EPSG:32633")
    assert frame["name"].tolist() == ["water", "none"]
    assert frame["step"].tolist() == [1, 2]
    assert frame["area_m2"].isna().tolist() == [False, True]
    assert frame["date"].astype(str).tolist() == ["2024-05-01", "2024-05-01"]
    assert frame["outline_block_px"].tolist() == [1, 1]
    geometry = frame.geometry[0]
    assert geometry.is_valid
    assert geometry.area == 9700.0
    assert geometry.bounds == (500_050, 5_000_000 - 160, 500_160, 5_000_000 - 50)
    assert frame.geometry[1] is None
    assert all(LinearRing(polygon.exterior.coords).is_ccw for polygon in geometry.geoms)
    # The column of bounds is what lets a reader skip rows.
    assert len(geopandas.read_parquet(tmp_path / "m.parquet", bbox=(500_000, 4_999_000, 500_060, 5_000_000))) == 1
    assert len(geopandas.read_parquet(tmp_path / "m.parquet", bbox=(0, 0, 1, 1))) == 0
    metadata = json.loads(pyarrow.parquet.read_schema(tmp_path / "m.parquet").metadata[b"geo"])
    column = metadata["columns"]["geometry"]
    assert (metadata["version"], metadata["primary_column"]) == ("1.1.0", "geometry")
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon"])
    assert column["bbox"] == [500_050, 4_999_840, 500_160, 4_999_950]


def test_parquet_without_crs_says_that_it_is_in_pixels(tmp_path: Path) -> None:
    write_masks_parquet(tmp_path / "m.parquet", [named(square())], Georeference(gsd_m=10))
    frame = geopandas.read_parquet(tmp_path / "m.parquet")
    assert frame.crs is None
    assert frame.geometry[0].bounds == (5, 5, 16, 16)
    assert frame["note"][0].startswith("pixel coordinates")


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_outline_burnt_again_is_the_mask(mask: np.ndarray) -> None:
    outline = trace_outline(mask)
    assert outline.block_px == 1
    if outline.geometry is None:
        assert not mask.any()
    else:
        assert outline.geometry.area == mask.sum()
        np.testing.assert_array_equal(rasterize([outline.geometry], mask.shape), mask)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(0, 60))
def test_a_ragged_outline_is_told_in_blocks_and_never_vanishes(mask: np.ndarray, max_edges: int) -> None:
    outline = trace_outline(mask, max_edges)
    assert (outline.geometry is None) == (not mask.any())
    if outline.geometry is not None:
        west, north, east, south = outline.geometry.bounds
        assert 0 <= west < east <= mask.shape[1] and 0 <= north < south <= mask.shape[0]
        if outline.block_px == 1:
            assert outline.geometry.area == mask.sum()


def test_blocks_are_those_that_hold_most_of_the_mask() -> None:
    """Of 16 blocks of 2 x 2, three are full, one holds a single pixel; its edges ask for blocks."""
    mask = np.zeros((8, 8), bool)
    mask[0:2, 0:2] = mask[4:6, 4:6] = mask[6:8, 0:2] = True
    mask[1, 6] = True
    num_edges = 4 + 8 + 4 + 4
    assert trace_outline(mask, num_edges).block_px == 1
    outline = trace_outline(mask, num_edges - 1)
    assert outline.block_px == 2
    assert sorted(part.bounds for part in outline.geometry.geoms) == [(0, 0, 2, 2), (0, 6, 2, 8), (4, 4, 6, 6)]


@pytest.mark.parametrize("write", [write_masks_geojson, write_masks_parquet])
def test_without_a_mask_there_is_nothing_to_write(tmp_path: Path, write: Any) -> None:
    with pytest.raises(OutputError, match="no mask to write"):
        write(tmp_path / "m", [], UTM)
    assert list(tmp_path.iterdir()) == []
