"""STAC items, checked by pystac against the schemas that it carries."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
from affine import Affine
from pyproj import CRS
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import JsonSchemaSTACValidator
from shapely.geometry import shape
from tests.rasters.masks_of_known_shape import UTM

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.stac_item import write_item

MAY = datetime.date(2024, 5, 1)
JUNE = datetime.date(2024, 6, 2)


def written(path: Path, georeference: Georeference = UTM, **changes: Any) -> pystac.Item:
    arguments: dict[str, Any] = {
        "item_id": "one",
        "georeference": georeference,
        "shape": (200, 300),
        "dates": [MAY],
        "properties": {"terrascope:question": "Wo? – «here»"},
        "assets": {"masks": {"href": "./masks.tif", "type": "image/tiff", "roles": ["data"]}},
    }
    write_item(path, **{**arguments, **changes})
    item = pystac.Item.from_file(path)
    # The schema of the core is part of pystac; that of the extension would be fetched.
    assert JsonSchemaSTACValidator().validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
    return item


def test_item_lies_where_the_scene_lies(tmp_path: Path) -> None:
    item = written(tmp_path / "item.json")
    assert item.id == "one"
    assert item.bbox is not None and item.geometry is not None
    west, south, east, north = item.bbox
    assert (west, east) == (pytest.approx(15.0, abs=1e-6), pytest.approx(15 + 3000 / 78_900, abs=2e-4))
    assert (north - south) * 111_130 == pytest.approx(2000, rel=2e-3)
    assert shape(item.geometry).bounds == (west, south, east, north)
    projection = ProjectionExtension.ext(item)
    assert projection.code == "EPSG:32633"
    assert projection.shape == [200, 300]
    assert projection.transform == [10, 0, 500_000, 0, -10, 5_000_000]
    assert item.properties["terrascope:question"] == "Wo? – «here»"
    assert item.assets["masks"].roles == ["data"]


def test_one_day_is_a_time_and_several_are_a_span(tmp_path: Path) -> None:
    one = written(tmp_path / "one.json")
    assert one.datetime == datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    assert one.properties["end_datetime"] == "2024-05-01T23:59:59Z"
    assert one.properties["terrascope:date_known"] is True
    several = written(tmp_path / "several.json", dates=[JUNE, None, MAY])
    assert several.datetime is None
    assert several.properties["start_datetime"] == "2024-05-01T00:00:00Z"
    assert several.properties["end_datetime"] == "2024-06-02T23:59:59Z"


def test_an_unknown_date_is_said_to_be_unknown(tmp_path: Path) -> None:
    item = written(tmp_path / "item.json", dates=[None])
    assert item.datetime is None
    assert item.properties["terrascope:date_known"] is False
    assert item.properties["start_datetime"] == "1858-01-01T00:00:00Z"
    assert item.properties["end_datetime"] == item.properties["created"]


def test_a_crs_without_a_code_is_told_in_full(tmp_path: Path) -> None:
    crs = CRS.from_proj4("+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84")
    item = written(tmp_path / "item.json", Georeference(crs=crs, transform=Affine(10, 0, 0, 0, -10, 0)))
    projection = ProjectionExtension.ext(item)
    assert projection.code is None
    assert CRS.from_json_dict(projection.projjson) == crs


def test_footprint_is_cut_at_the_antimeridian(tmp_path: Path) -> None:
    grid = Georeference(crs=CRS("EPSG:4326"), transform=Affine(0.01, 0, 179, 0, -0.01, 10))
    item = written(tmp_path / "item.json", grid)
    assert item.bbox == [179, 8, -178, 10]
    assert item.geometry is not None
    assert sorted(part.bounds for part in shape(item.geometry).geoms) == [(-180, 8, -178, 10), (179, 8, 180, 10)]


def test_a_scene_with_a_pole_has_no_footprint(tmp_path: Path) -> None:
    grid = Georeference(crs=CRS("EPSG:3413"), transform=Affine(1000, 0, -100_000, 0, -1000, 100_000))
    item = written(tmp_path / "item.json", grid, shape=(200, 200))
    assert item.geometry is None
    assert item.bbox is None


def test_a_scene_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"item\.json: a scene without a CRS has no place"):
        written(tmp_path / "item.json", Georeference(gsd_m=10))
    assert list(tmp_path.iterdir()) == []
