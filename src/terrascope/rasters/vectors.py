"""Masks as outlines: GeoJSON for all that reads longitude and latitude, GeoParquet in the scene's own CRS."""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

from terrascope.georeference import Georeference
from terrascope.output import written_whole
from terrascope.rasters.geoparquet import geo_metadata, geometry_columns
from terrascope.rasters.lonlat import LonLat, bbox
from terrascope.rasters.named_mask import NamedMask, check_one_grid
from terrascope.rasters.outlines import Outline, trace_outline

if TYPE_CHECKING:
    import pyarrow as pa

_PIXEL_NOTE = "pixel coordinates: x is the column and y the row from the top left corner, because the scene has no CRS"
_NO_LONLAT_NOTE = "no outlines: the scene has no longitudes and latitudes that a map can show; masks.parquet has them"

_TYPES_OF_UNKNOWN = {"date": "date32", "area_m2": "double", "distance_to_previous_step_m": "double"}
"""Types of columns that may hold nothing but nulls; the others are text."""


def write_masks_geojson(
    path: str | os.PathLike[str],
    masks: Sequence[NamedMask],
    georeference: Georeference,
    outlines: Sequence[Outline] | None = None,
) -> None:
    """Write masks as GeoJSON (RFC 7946): one feature per mask, longitude and latitude, exterior rings counterclockwise.

    What crosses the antimeridian is cut there. An empty mask has a null geometry. Without a CRS the coordinates are
    pixels, and where the scene holds a pole or leaves the Earth geometries are null; a member `note` says so.

    Args:
        outlines: of the masks, where they are known already. The property `outline_block_px` says how exact they are.

    Raises:
        OutputError: the masks differ in size, or the file cannot be written.
    """
    path = Path(path)
    shape = check_one_grid(path, masks)
    lonlat = LonLat.of(georeference, *shape)
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    if lonlat is None:
        collection["note"] = _NO_LONLAT_NOTE if georeference.is_located else _PIXEL_NOTE
    features, bounds = [], []
    for mask, outline in zip(masks, outlines or trace_outlines(masks), strict=True):
        geometry: BaseGeometry | None = outline.geometry
        if geometry is not None and lonlat is not None:
            geometry, extent = lonlat.geometry(geometry)
            bounds.append(extent)
        elif geometry is not None:
            geometry = None if georeference.is_located else shapely.orient_polygons(geometry)
        feature = {"type": "Feature", "properties": _properties(mask, outline)}
        # The coordinates are put into text by GEOS: a ragged mask has millions.
        coordinates = "null" if geometry is None else shapely.to_geojson(geometry)
        features.append(f'{json.dumps(feature, allow_nan=False)[:-1]}, "geometry": {coordinates}}}')
    if bounds:
        collection["bbox"] = bbox(bounds)
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(f'{json.dumps(collection)[:-1]}, "features": [\n')
        file.write(",\n".join(features))
        file.write("\n]}\n")


def write_masks_parquet(
    path: str | os.PathLike[str],
    masks: Sequence[NamedMask],
    georeference: Georeference,
    outlines: Sequence[Outline] | None = None,
) -> None:
    """Write masks as GeoParquet 1.1 in the scene's own CRS: one row per mask, and its bounds in the column `bbox`.

    Without a CRS the coordinates are pixels, the file's CRS is null, and a column `note` says so.

    Raises:
        OutputError: there is no mask, the masks differ in size, or the file cannot be written.
    """
    # Imported here: it takes longer than all else that reading a scene needs.
    import pyarrow as pa
    from pyarrow import parquet

    path = Path(path)
    check_one_grid(path, masks)
    transform = georeference.transform if georeference.is_located else None
    traced = outlines or trace_outlines(masks)
    geometries = [_in_crs(outline.geometry, transform) for outline in traced]
    rows = [_properties(mask, outline) for mask, outline in zip(masks, traced, strict=True)]
    if transform is None:
        rows = [{**row, "note": _PIXEL_NOTE} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names}
    columns |= geometry_columns(geometries)
    crs = georeference.crs if georeference.is_located else None
    metadata = {"geo": json.dumps(geo_metadata(geometries, crs))}
    with written_whole(path) as unfinished:
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), unfinished, compression="zstd")


def trace_outlines(masks: Sequence[NamedMask]) -> list[Outline]:
    """The outlines of what was measured of each mask."""
    return [trace_outline(mask.inside) for mask in masks]


def _properties(mask: NamedMask, outline: Outline) -> dict[str, Any]:
    """What is known of a mask as JSON knows it; a number that is none (NaN, infinity) becomes null."""

    def plain(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    known = {key: plain(value) for key, value in mask.properties.items()}
    return {"name": mask.name, **known, "outline_block_px": outline.block_px}


def _column(name: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    if name == "date":
        values = [None if value is None else datetime.date.fromisoformat(value) for value in values]
    unknown = all(value is None for value in values)
    return pa.array(values, pa.type_for_alias(_TYPES_OF_UNKNOWN.get(name, "string")) if unknown else None)


def _in_crs(geometry: BaseGeometry | None, transform: Affine | None) -> BaseGeometry | None:
    if geometry is None or transform is None:
        return geometry if geometry is None else shapely.orient_polygons(geometry)
    a, b, c, d, e, f = tuple(transform)[:6]
    matrix, origin = np.array([[a, d], [b, e]]), np.array([c, f])
    return shapely.orient_polygons(shapely.transform(geometry, lambda points: points @ matrix + origin))
