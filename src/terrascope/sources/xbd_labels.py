"""The label files of xBD: buildings as polygons in pixels and in degrees, their damage, and where the grid lies."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS

from terrascope.georeference import Georeference
from terrascope.landcover import XBD_SUBTYPES
from terrascope.sources.chips import ChipError

UNCLASSIFIED = "un-classified"
"""The subtype of a building whose damage is unknown."""

MAX_MISFIT = 1.0
"""Pixels by which a vertex may lie beside where the fitted georeference has it."""

_FIRST_LNG_LAT = re.compile(r"POLYGON\s*\(\(\s*(-?[\d.]+(?:e-?\d+)?)\s+(-?[\d.]+(?:e-?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Building:
    """A building of one date: its polygons in pixels (x, y) and in degrees, and its damage where that was graded."""

    uid: str
    xy: shapely.Geometry
    lng_lat: shapely.Geometry | None
    subtype: str | None


def read_label(path: Path) -> dict[str, Any]:
    """A label file.

    Raises:
        ChipError: it is missing or not of xBD's form.
    """
    try:
        label = json.loads(path.read_bytes())
        if not isinstance(label["features"]["xy"], list):
            raise TypeError("features.xy is no list")
    except OSError as error:
        raise ChipError(f"{path}: cannot be read ({error.strerror})", reason="missing labels") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ChipError(f"{path}: not the labels of an xBD image ({error!r})", reason="unreadable label") from error
    return dict(label)


def first_lng_lat(path: Path) -> tuple[float, float] | None:
    """Where the first building of a label file lies; None where it has none. Most often the beginning tells."""
    try:
        with path.open("rb") as file:
            head = file.read(4096).decode(errors="replace")
            if '"lng_lat"' not in head or not _FIRST_LNG_LAT.search(head, head.index('"lng_lat"')):
                head += file.read().decode(errors="replace")
    except OSError:
        return None  # reading the chip says so
    found = _FIRST_LNG_LAT.search(head, head.index('"lng_lat"')) if '"lng_lat"' in head else None
    if found is None or abs(float(found[1])) > 180 or abs(float(found[2])) > 90:
        return None
    return float(found[1]), float(found[2])


def find_buildings(label: Mapping[str, Any], path: Path) -> list[Building]:
    """The buildings of a label file, in its order; a polygon that crosses itself is mended, holes stay.

    Raises:
        ChipError: a polygon cannot be read, or a damage is none of xBD's.
    """
    try:
        places = {
            feature["properties"]["uid"]: shapely.from_wkt(feature["wkt"])
            for feature in label["features"].get("lng_lat", ())
        }
        buildings = []
        for feature in label["features"]["xy"]:
            properties = feature["properties"]
            if properties.get("feature_type") != "building":
                continue
            uid, subtype = properties["uid"], properties.get("subtype")
            if subtype not in (None, UNCLASSIFIED, *XBD_SUBTYPES):
                known = ", ".join((*XBD_SUBTYPES, UNCLASSIFIED))
                raise ChipError(f"{path}: unknown damage {subtype!r}; known are {known}", reason="unknown damage")
            polygon = shapely.from_wkt(feature["wkt"])
            buildings.append(Building(uid=uid, xy=polygon, lng_lat=places.get(uid), subtype=subtype))
    except (shapely.errors.ShapelyError, KeyError, TypeError, AttributeError) as error:
        raise ChipError(
            f"{path}: a building without a readable polygon ({error!r})", reason="unreadable label"
        ) from error
    return buildings


def areal(geometry: shapely.Geometry) -> shapely.Geometry:
    """The polygons of a geometry, valid; holes stay."""
    valid = geometry if geometry.is_valid else shapely.make_valid(geometry)
    parts = [part for part in shapely.get_parts(valid) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if len(parts) != 1 else parts[0]


def capture_date(label: Mapping[str, Any]) -> datetime.date | None:
    """The day on which the image of a label file was taken, if it says so."""
    try:
        return datetime.date.fromisoformat(str(label["metadata"]["capture_date"])[:10])
    except (KeyError, TypeError, ValueError):
        return None


def fit_georeference(buildings: list[Building]) -> Georeference | None:
    """The affine way from pixels to degrees that runs through the vertices of all buildings, each known in both.

    The metadata's `gsd` is not that of the pixels. None where there are too few vertices, or one lies elsewhere by
    more than `MAX_MISFIT` pixels.
    """
    pixels, degrees = [np.empty((0, 2))], [np.empty((0, 2))]
    for building in buildings:
        if building.lng_lat is None:
            continue
        ends = shapely.get_coordinates(building.xy), shapely.get_coordinates(building.lng_lat)
        if len(ends[0]) == len(ends[1]):
            pixels.append(ends[0])
            degrees.append(ends[1])
    xy, lng_lat = np.concatenate(pixels), np.concatenate(degrees)
    if len(xy) < 3:
        return None
    # Centred, so that the small differences of large degrees are not lost.
    middle_xy, middle_lng_lat = xy.mean(axis=0), lng_lat.mean(axis=0)
    linear, _, rank, _ = np.linalg.lstsq(xy - middle_xy, lng_lat - middle_lng_lat, rcond=None)
    if rank < 2 or abs(np.linalg.det(linear)) < 1e-20:
        return None
    misfit = ((lng_lat - middle_lng_lat) - (xy - middle_xy) @ linear) @ np.linalg.inv(linear)
    if np.abs(misfit).max() > MAX_MISFIT:
        return None
    (a, d), (b, e) = linear
    c, f = middle_lng_lat - middle_xy @ linear
    return Georeference(crs=CRS.from_epsg(4326), transform=Affine(a, b, c, d, e, f))
