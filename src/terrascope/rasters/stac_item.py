"""A STAC item: where and when a scene lies, and which files say what was found on it."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely import MultiPolygon

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.output import written_whole
from terrascope.rasters.lonlat import Bounds, LonLat, bbox

STAC_VERSION = "1.1.0"
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"

_FIRST_AERIAL_IMAGE = datetime.date(1858, 1, 1)
"""Nothing was seen from above before; the earliest day of a scene whose date is unknown."""

_SIDES_PER_FOOTPRINT = 16
"""A straight side of the grid is bent in longitude and latitude: it is told by so many points."""


def write_item(
    path: str | os.PathLike[str],
    *,
    item_id: str,
    georeference: Georeference,
    shape: tuple[int, int],
    dates: Sequence[datetime.date | None],
    properties: Mapping[str, Any],
    assets: Mapping[str, Mapping[str, Any]],
    collection: str | None = None,
    links: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write a STAC 1.1 item with the projection extension.

    STAC wants a time. A date is known to the day, so it is told as its day from start to end; several dates are told as
    the days from the first to the last. Where none is known, any time from the first aerial image to now is possible,
    and the property `terrascope:date_known` is false. A scene that holds a pole has no geometry that a map can show:
    its geometry is null.

    Args:
        shape: (height, width) of the scene in pixels.
        assets: by name, as STAC describes them; an `href` is relative to the item.
        collection: id of the collection that it belongs to, if there is one; `links` must then lead there.
        links: as STAC describes them.

    Raises:
        OutputError: the scene has no place on the Earth, or the file cannot be written.
    """
    path = Path(path)
    if not georeference.is_located:
        raise OutputError(f"{path}: a scene without a CRS has no place in a STAC item; leave the item out")
    known = sorted(date for date in dates if date is not None)
    now = datetime.datetime.now(datetime.UTC)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [_PROJECTION],
        "id": item_id,
        "geometry": None,
        "properties": {
            **_times(known, now),
            "created": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            **_projection(georeference, shape),
            "terrascope:date_known": bool(known),
            **properties,
        },
        "links": [dict(link) for link in links],
        "assets": dict(assets),
    }
    if collection is not None:
        item["collection"] = collection
    outline = footprint(georeference, shape)
    if outline is not None:
        geometry, bounds = outline
        parts = shapely.get_parts(geometry)
        item["geometry"] = shapely.geometry.mapping(parts[0] if len(parts) == 1 else geometry)
        item["bbox"] = bbox([bounds])
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(item, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def footprint(georeference: Georeference, shape: tuple[int, int]) -> tuple[MultiPolygon, Bounds] | None:
    """Outline of a grid in longitude and latitude, and its bounds as `LonLat.geometry` gives them.

    None where no map can show it: the grid has no CRS, or holds a pole.

    Args:
        shape: (height, width) in pixels.
    """
    height, width = shape
    lonlat = LonLat.of(georeference, height, width)
    if lonlat is None:
        return None
    grid = shapely.segmentize(shapely.box(0, 0, width, height), max(height, width) / _SIDES_PER_FOOTPRINT)
    return lonlat.geometry(shapely.multipolygons([grid]))


def _times(known: Sequence[datetime.date], now: datetime.datetime) -> dict[str, str | None]:
    start = f"{known[0] if known else _FIRST_AERIAL_IMAGE}T00:00:00Z"
    end = f"{known[-1]}T23:59:59Z" if known else f"{now:%Y-%m-%dT%H:%M:%SZ}"
    return {
        # One day is a time that a search by date should find; a span of days is none.
        "datetime": start if known and known[0] == known[-1] else None,
        "start_datetime": start,
        "end_datetime": end,
    }


def _projection(georeference: Georeference, shape: tuple[int, int]) -> dict[str, Any]:
    assert georeference.crs is not None and georeference.transform is not None
    authority = georeference.crs.to_authority()
    crs: dict[str, Any] = {"proj:code": ":".join(authority) if authority else None}
    if authority is None:
        crs["proj:projjson"] = georeference.crs.to_json_dict()
    return {**crs, "proj:shape": list(shape), "proj:transform": list(georeference.transform)[:6]}
