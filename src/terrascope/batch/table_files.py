"""A table of rows from CSV, Parquet or GeoJSON, as it stands there: nothing is understood of it yet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyproj
import shapely
from pyproj.exceptions import ProjError
from shapely.errors import GEOSException

from terrascope.errors import ManifestError

SUFFIXES = (".csv", ".parquet", ".geojson")

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of a file.

    Attributes:
        path: the file.
        columns: their names, in order; the geometry is none of them.
        rows: values by column, as the file has them; a column may be missing from a row.
        bounds: west, south, east and north of each row's geometry in degrees; None for a row without one.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    bounds: tuple[Bounds | None, ...]


def read_table(path: Path) -> Table:
    """Read a table.

    Raises:
        ManifestError: the file is missing, of another kind, damaged, or without a row.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ManifestError(f"{path}: is no manifest; give a file that ends in {', '.join(SUFFIXES)}")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; give a manifest of scenes") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ManifestError(f"{path}: cannot be read ({reason}); give a manifest of scenes") from None
    if not content.strip():
        raise ManifestError(f"{path}: is empty; give a header and a row for each question")
    table = _read_parquet(path, content) if kind == ".parquet" else _read_text(path, _decoded(path, content))
    if not table.rows:
        raise ManifestError(f"{path}: has no row; give one for each question")
    return table


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: byte {error.start + 1} is no UTF-8; save the manifest as UTF-8 (of a spreadsheet: CSV UTF-8)"
        ) from None


def _read_text(path: Path, text: str) -> Table:
    return _read_csv(path, text) if path.suffix.lower() == ".csv" else _read_geojson(path, text)


_INDEX = re.compile(r"__index_level_\d+__")


def _read_csv(path: Path, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        # A spreadsheet writes an empty row as bare commas.
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise ManifestError(f"{path}: line {reader.line_num} is no CSV ({error}); write the manifest anew") from None
    if not lines:
        raise ManifestError(f"{path}: is empty; give a header and a row for each question")
    if len(lines[0]) == 1 and (separator := next((mark for mark in ";\t|" if mark in lines[0][0]), None)):
        named = "tabs" if separator == "\t" else repr(separator)
        raise ManifestError(f"{path}: its columns are separated by {named}; separate them by commas")
    columns = _checked_columns(path, [name.strip() for name in lines[0]])
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(columns):
            raise ManifestError(
                f"{path}: row {number} has {len(line)} cells, but the header names {len(columns)} columns; "
                "put a cell that holds a comma in quotation marks"
            )
    rows = tuple(dict(zip(columns, line, strict=True)) for line in lines[1:])
    return Table(path=path, columns=columns, rows=rows, bounds=(None,) * len(rows))


def _checked_columns(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    for number, name in enumerate(names, 1):
        if not name:
            raise ManifestError(f"{path}: column {number} has no name; give it one, or remove it")
        if names.index(name) != number - 1:
            raise ManifestError(f"{path}: has two columns {name!r}; keep one of them")
    return tuple(names)


def _read_geojson(path: Path, text: str) -> Table:
    try:
        collection = json.loads(text)
    except (ValueError, RecursionError):
        raise ManifestError(f"{path}: is no JSON; write the manifest anew") from None
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        raise ManifestError(f"{path}: is no GeoJSON FeatureCollection; give one with a feature for each question")
    rows, bounds = [], []
    for number, feature in enumerate(features, 1):
        if not isinstance(feature, dict) or not isinstance(feature.get("properties") or {}, dict):
            raise ManifestError(f"{path}: row {number} is no GeoJSON feature with properties; write it anew")
        row = dict(feature.get("properties") or {})
        if "id" not in row and feature.get("id") is not None:
            row["id"] = feature["id"]
        rows.append(row)
        bounds.append(_feature_bounds(path, number, feature))
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(path=path, columns=columns, rows=tuple(rows), bounds=tuple(bounds))


def _feature_bounds(path: Path, number: int, feature: dict[str, Any]) -> Bounds | None:
    stated, geometry = feature.get("bbox"), feature.get("geometry")
    if isinstance(stated, list) and len(stated) == 4 and all(isinstance(side, int | float) for side in stated):
        west, south, east, north = stated
        return west, south, east, north
    if geometry is None:
        return None
    try:
        return _bounds_of(path, number, shapely.from_geojson(json.dumps(geometry)))
    except (GEOSException, ValueError, TypeError, RecursionError):
        raise ManifestError(f"{path}: row {number}, geometry: is no GeoJSON geometry; write it anew") from None


def _bounds_of(path: Path, number: int, geometry: shapely.Geometry | None) -> Bounds | None:
    if geometry is None:
        return None
    if geometry.is_empty:
        # Of a cut with nothing left; without a box the whole scene would be asked about.
        raise ManifestError(f"{path}: row {number}, geometry: is empty; remove the row, or its geometry")
    west, south, east, north = geometry.bounds
    return west, south, east, north


def _read_parquet(path: Path, content: bytes) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(pa.BufferReader(content))
        about = json.loads((table.schema.metadata or {}).get(b"geo", b"{}"))
        geometry = about.get("primary_column") if isinstance(about, dict) else None
        # What pandas keeps of an index that nobody named.
        table = table.drop_columns([name for name in table.column_names if _INDEX.fullmatch(str(name))])
        columns = _checked_columns(path, [str(name) for name in table.column_names])
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ManifestError(f"{path}: cannot be read as Parquet ({reason}); write the manifest anew") from None
    if geometry not in columns:
        return Table(path=path, columns=columns, rows=tuple(rows), bounds=(None,) * len(rows))
    places = [row.pop(geometry) for row in rows]
    return Table(
        path=path,
        columns=tuple(name for name in columns if name != geometry),
        rows=tuple(rows),
        bounds=_parquet_bounds(path, places, about["columns"].get(geometry) or {}),
    )


def _parquet_bounds(path: Path, places: Sequence[Any], about: dict[str, Any]) -> tuple[Bounds | None, ...]:
    bounds: list[Bounds | None] = []
    for number, place in enumerate(places, 1):
        try:
            found = None if place is None else _bounds_of(path, number, shapely.from_wkb(place))
            bounds.append(None if found is None else _in_degrees(found, about.get("crs")))
        except (GEOSException, ProjError, ValueError, TypeError):
            raise ManifestError(f"{path}: row {number}, geometry: has no place in degrees; write it anew") from None
    return tuple(bounds)


def _in_degrees(bounds: Bounds, crs: Any) -> Bounds:
    # Without a CRS GeoParquet means longitude and latitude.
    if crs is None:
        return bounds
    to_degrees = pyproj.Transformer.from_crs(pyproj.CRS.from_user_input(crs), "EPSG:4326", always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*bounds)
    return west, south, east, north
