"""What makes a table GeoParquet 1.1: a column of outlines, one of their bounds, and the metadata that speak of both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from terrascope.output import written_whole

if TYPE_CHECKING:
    import pyarrow as pa
    from pyproj import CRS

SIDES = ("xmin", "ymin", "xmax", "ymax")


def geometry_fields() -> dict[str, pa.DataType]:
    """The types of the columns `bbox` and `geometry`."""
    import pyarrow as pa

    return {"bbox": pa.struct([(side, pa.float64()) for side in SIDES]), "geometry": pa.binary()}


def geometry_columns(geometries: Sequence[BaseGeometry | None]) -> dict[str, pa.Array]:
    """The columns `bbox` and `geometry` of rows with these outlines; a row without an outline holds nulls."""
    import pyarrow as pa

    boxes = [None if geometry is None else dict(zip(SIDES, geometry.bounds, strict=True)) for geometry in geometries]
    types = geometry_fields()
    return {
        "bbox": pa.array(boxes, types["bbox"]),
        "geometry": pa.array(shapely.to_wkb(np.array(geometries, object)).tolist(), types["geometry"]),
    }


def geo_metadata(geometries: Sequence[BaseGeometry | None], crs: CRS | None) -> dict[str, Any]:
    """The member `geo` of the file's metadata, as GeoParquet 1.1 describes it.

    Args:
        geometries: of all rows, exterior rings counterclockwise.
        crs: of their coordinates; None where these lie nowhere on the Earth.
    """
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({geometry.geom_type for geometry in geometries if geometry is not None}),
        "crs": crs.to_json_dict() if crs is not None else None,
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
    }
    bounds = [geometry.bounds for geometry in geometries if geometry is not None]
    if bounds:
        column["bbox"] = [*np.min(bounds, axis=0)[:2].tolist(), *np.max(bounds, axis=0)[2:].tolist()]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def write_lonlat_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write tables after each other as one GeoParquet file of MultiPolygons in longitude and latitude (EPSG:4326).

    Only one of them is held at a time. Their columns are those of the schema, `bbox` and `geometry` among them.

    Raises:
        OutputError: the file cannot be written.
    """
    import pyproj
    from pyarrow import parquet

    about = geo_metadata([], pyproj.CRS.from_epsg(4326))
    about["columns"]["geometry"]["geometry_types"] = ["MultiPolygon"]
    told = schema.with_metadata({"geo": json.dumps(about)})
    with written_whole(path) as unfinished, parquet.ParquetWriter(unfinished, told, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(told.metadata))
