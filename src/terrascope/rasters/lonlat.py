"""From pixels to longitude and latitude as RFC 7946 wants them: nothing crosses the antimeridian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from terrascope.errors import ScaleError
from terrascope.georeference import Georeference

Bounds = tuple[float, float, float, float]
"""West, south, east, north; across the antimeridian the longitudes go on beyond 180."""

_DECIMALS = 7
"""Of a degree: one centimetre."""

_BORDER_POINTS = 65
"""Points on each side of the grid at which its longitudes are followed round."""


@dataclass(frozen=True, kw_only=True)
class LonLat:
    """The way from the pixel coordinates of one grid to longitude and latitude (WGS 84).

    Attributes:
        georeference: of the grid.
        middle: longitude in the middle of the grid; all of its longitudes are told within 180 degrees of it, so that
            they do not jump where the grid crosses the antimeridian.
    """

    georeference: Georeference
    middle: float

    @classmethod
    def of(cls, georeference: Georeference, height: int, width: int) -> LonLat | None:
        """The way for a grid; None if there is none: no CRS, a corner off the Earth, or a pole within the grid."""
        if not georeference.is_located:
            return None
        steps = np.linspace(0, 1, _BORDER_POINTS)
        x = np.concatenate([steps, np.ones_like(steps), steps[::-1], np.zeros_like(steps)]) * width
        y = np.concatenate([np.zeros_like(steps), steps, np.ones_like(steps), steps[::-1]]) * height
        try:
            lon, _ = georeference.to_lonlat(x, y)
        except ScaleError:
            return None
        followed = np.unwrap(lon, period=360)
        if abs(followed[-1] - followed[0]) > 1:
            return None
        return cls(georeference=georeference, middle=float(followed.min() + followed.max()) / 2)

    def geometry(self, pixels: BaseGeometry) -> tuple[BaseGeometry, Bounds]:
        """A MultiPolygon in longitude and latitude of one in pixel coordinates, and its bounds for `bbox`.

        Exterior rings are counterclockwise. What crosses the antimeridian is cut there; the bounds do not jump there.

        Raises:
            ScaleError: the pixels lie where the CRS has no longitude and latitude.
        """
        unrolled = shapely.transform(pixels, self._unrolled)
        parts = shapely.get_parts(unrolled)
        west, east = shapely.bounds(parts)[:, 0], shapely.bounds(parts)[:, 2]
        # Turns by which each part must be shifted into -180..180; with two different ones it must be cut.
        first, last = np.floor((west + 180) / 360), np.ceil((east + 180) / 360) - 1
        pieces = [_shifted(parts[(first == last) & (first == turn)], turn) for turn in np.unique(first)]
        for part, low, high in zip(parts[first < last], first[first < last], last[first < last], strict=True):
            for turn in np.arange(low, high + 1):
                strip = shapely.box(turn * 360 - 180, -90, turn * 360 + 180, 90)
                # On a grid of huge pixels an outline may cross itself in longitude and latitude.
                whole = _polygons(shapely.make_valid(part))
                pieces.append(_shifted(_polygons(shapely.intersection(whole, strip)), turn))
        return shapely.orient_polygons(shapely.multipolygons(np.concatenate(pieces))), unrolled.bounds

    def _unrolled(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = self.georeference.to_lonlat(points[:, 0], points[:, 1])
        # Half a turn away is the grid's own rim and stays where it is.
        turns = np.round((lon - self.middle) / 360 * (1 - 1e-9))
        return np.stack([lon - 360 * turns, lat], axis=1).round(_DECIMALS)


def _shifted(polygons: NDArray[np.object_], turn: float) -> NDArray[np.object_]:
    if not turn:
        return polygons
    return np.asarray(shapely.transform(polygons, lambda points: (points - [360 * turn, 0]).round(_DECIMALS)))


def _polygons(geometry: BaseGeometry | NDArray[np.object_]) -> NDArray[np.object_]:
    """The polygons of cuts; where one only touches, it leaves points and lines."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]


def bbox(bounds: Sequence[Bounds]) -> list[float]:
    """West, south, east, north around several bounds as RFC 7946 tells them: west > east across the antimeridian."""
    west, south = np.min(bounds, axis=0)[:2].tolist()
    east, north = np.max(bounds, axis=0)[2:].tolist()
    if east - west >= 360:
        west, east = -180.0, 180.0
    west -= 360 * math.floor((west + 180) / 360)
    east -= 360 * (math.ceil((east + 180) / 360) - 1)
    return [round(degrees, _DECIMALS) for degrees in (west, south, east, north)]
