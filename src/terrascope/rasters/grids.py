"""Pixel grids: when two are one, and which part of a grid others or a box in degrees share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely import Polygon, box
from shapely.errors import GEOSException

from terrascope.errors import ScaleError, SceneError
from terrascope.georeference import Georeference

Part = tuple[slice, slice]
"""Rows and columns of a grid, with start and stop."""

LonLatBox = tuple[float, float, float, float]
"""West, south, east and north in degrees (WGS 84); west is larger than east where the box crosses the antimeridian."""

_SAME_WITHIN_PIXELS = 0.05

_POINTS_PER_SIDE = 33
"""Points on each side of an outline that is carried into another CRS, where straight lines become curves."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows, columns and place of an image. `georeference` may know no place."""

    height: int
    width: int
    georeference: Georeference

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def is_located(self) -> bool:
        return self.georeference.is_located

    @property
    def whole(self) -> Part:
        return slice(0, self.height), slice(0, self.width)

    @property
    def affine(self) -> Affine:
        """Pixel coordinates (column, row) -> CRS coordinates; the grid is located."""
        assert self.georeference.transform is not None
        return self.georeference.transform

    @property
    def crs(self) -> CRS:
        """The CRS of the grid, which is located."""
        assert self.georeference.crs is not None
        return self.georeference.crs

    def window(self, part: Part) -> Grid:
        """The grid of a part of this one; the part may reach beyond it."""
        rows, columns = part
        return Grid(
            height=rows.stop - rows.start,
            width=columns.stop - columns.start,
            georeference=self.georeference.window(rows.start, columns.start),
        )

    def offset_in(self, other: Grid) -> tuple[int, int] | None:
        """Row and column of `other` on which this grid's first pixel lies, if all pixels lie on each other; else None.

        Where a place is unknown, equal size is all there is.
        """
        if not (self.is_located and other.is_located):
            return (0, 0) if self.shape == other.shape else None
        if self.crs != other.crs and not self.crs.equals(other.crs, ignore_axis_order=True):
            return None
        x = np.array([0.0, self.width, 0, self.width])
        y = np.array([0.0, 0, self.height, self.height])
        there_x, there_y = _apply(~other.affine, *_apply(self.affine, x, y))
        column, row = round(there_x[0]), round(there_y[0])
        if max(np.abs(there_x - x - column).max(), np.abs(there_y - y - row).max()) > _SAME_WITHIN_PIXELS:
            return None
        return row, column

    def equals(self, other: Grid) -> bool:
        """True if pixel for pixel the grids lie on each other. Where a place is unknown, equal size is all there is."""
        return self.shape == other.shape and self.offset_in(other) == (0, 0)


class PointMap:
    """From pixel coordinates of one grid to those of another."""

    def __init__(self, source: Grid, target: Grid) -> None:
        """Raises SceneError: PROJ knows no way between the two CRSs. Both grids are located."""
        self._from, self._to = source.affine, ~target.affine
        self._transformer = None
        if source.crs != target.crs:
            try:
                self._transformer = Transformer.from_crs(source.crs, target.crs, always_xy=True)
            except ProjError:
                raise SceneError(
                    f"there is no way from {name_crs(source.crs)} to {name_crs(target.crs)}; reproject one image"
                ) from None

    def __call__(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Columns and rows of the same points in the other grid, not finite where its CRS has no such place."""
        x, y = _apply(self._from, x, y)
        if self._transformer is not None:
            x, y = (np.asarray(values, np.float64) for values in self._transformer.transform(x, y))
        return _apply(self._to, x, y)


def shared_part(reference: Grid, others: Sequence[Grid]) -> Part | None:
    """The smallest part of the reference grid that holds all its pixels which all grids cover; None if there is none.

    Raises:
        SceneError: there is no way from the CRS of a grid to that of the reference.
    """
    shared = box(0, 0, reference.width, reference.height)
    for grid in others:
        if not (grid.is_located and reference.is_located):
            continue
        shared = shared.intersection(_outline(grid, PointMap(grid, reference)))
    return None if shared.is_empty else _centred_part(shared.bounds, reference)


def part_in_box(grid: Grid, bbox: LonLatBox) -> Part | None:
    """The part of a located grid that covers a box in degrees, widened to whole pixels; None if they share nothing.

    Raises:
        SceneError: the box is none, or there is no way from degrees to the CRS of the grid.
    """
    west, south, east, north = bbox
    frame = box(0, 0, grid.width, grid.height)
    # The grid may count its degrees from 0 to 360.
    for turn in (0, 360, -360):
        place = Affine(east - west + 360 * (west > east), 0, west + turn, 0, south - north, north)
        degrees = Grid(height=1, width=1, georeference=Georeference(crs=CRS.from_epsg(4326), transform=place))
        bounds = _outline(degrees, PointMap(degrees, grid)).intersection(frame).bounds
        if not any(math.isnan(bound) for bound in bounds):
            break
    if any(math.isnan(bound) for bound in bounds):
        return None
    # A box that was made from pixel edges should give these pixels, not one more for the last digit.
    left, top = (math.floor(bound + 1e-6) for bound in bounds[:2])
    right, bottom = (math.ceil(bound - 1e-6) for bound in bounds[2:])
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def check_box(bbox: object) -> LonLatBox:
    """The box, if it is one.

    Raises:
        SceneError: not four numbers, or not in degrees, or without area.
    """
    wanted = "give west, south, east and north in degrees"
    shown = ",".join(map(str, bbox)) if isinstance(bbox, list | tuple) else repr(bbox)
    if isinstance(bbox, str) or not isinstance(bbox, Sequence) or len(bbox) != 4:
        raise SceneError(f"bbox {shown} is not a box; {wanted}")
    try:
        west, south, east, north = (float(number) for number in bbox)
    except (TypeError, ValueError):
        raise SceneError(f"bbox {shown} is not a box; {wanted}") from None
    # A comparison with NaN is False.
    if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south < north <= 90 and west != east):
        raise SceneError(f"bbox {shown} is no part of the Earth; {wanted}, south below north")
    return west, south, east, north


def name_crs(crs: CRS) -> str:
    """`EPSG:32633`, or the CRS's own name where it has no code."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


def describe_grid(grid: Grid) -> str:
    """Pixel size and CRS, as `20 m, EPSG:32634`."""
    size = describe_pixel_size(grid)
    return ", ".join(part for part in (size, name_crs(grid.crs) if grid.is_located else "no CRS") if part)


def describe_pixel_size(grid: Grid) -> str:
    """Size of a grid's pixels as `10 m` or `6.1 m x 8.2 m` (width x height); "" where it is unknown."""
    size = pixel_sides_m(grid)
    if size is None:
        return ""
    width_m, height_m = size
    if abs(width_m / height_m - 1) <= 0.01:
        return f"{math.sqrt(width_m * height_m):.3g} m"
    return f"{width_m:.3g} m x {height_m:.3g} m"


def pixel_sides_m(grid: Grid) -> tuple[float, float] | None:
    """Width and height in metres of the pixels of the middle row; None where they are unknown."""
    try:
        size = grid.georeference.pixel_size(grid.height, grid.width)
    except ScaleError:
        return None
    return float(size.width_m[grid.height // 2]), float(size.height_m[grid.height // 2])


def _outline(grid: Grid, to_other: PointMap) -> Polygon:
    """The edge of a grid in pixel coordinates of another; empty where the other CRS does not reach."""
    along = np.linspace(0, 1, _POINTS_PER_SIDE)[:-1]
    zero, one = np.zeros_like(along), np.ones_like(along)
    x = np.concatenate([along, one, 1 - along, zero]) * grid.width
    y = np.concatenate([zero, along, one, 1 - along]) * grid.height
    points = np.stack(to_other(x, y), axis=1)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        return Polygon()
    try:
        outline = Polygon(points)
        return outline if outline.is_valid else outline.convex_hull
    except GEOSException:
        return Polygon()


def _centred_part(bounds: tuple[float, float, float, float], grid: Grid) -> Part | None:
    """The pixels of a grid whose centres lie in bounds (left, top, right, bottom)."""
    slack = _SAME_WITHIN_PIXELS
    left, top = (max(0, math.ceil(bound - 0.5 - slack)) for bound in bounds[:2])
    right = min(grid.width, math.floor(bounds[2] - 0.5 + slack) + 1)
    bottom = min(grid.height, math.floor(bounds[3] - 0.5 + slack) + 1)
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def _apply(
    transform: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, c, d, e, f = tuple(transform)[:6]
    # PROJ answers with infinity where there is no such place.
    with np.errstate(invalid="ignore", over="ignore"):
        return a * x + b * y + c, d * x + e * y + f
