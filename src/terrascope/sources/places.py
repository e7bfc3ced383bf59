"""Training and test apart by place: the split of a place that no data set has split, and chips that share one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import ProjError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from terrascope.errors import SceneError
from terrascope.rasters.files import describe_file, find_files
from terrascope.rasters.grids import Grid

SPLITS = ("train", "val", "test")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
"""How many of the places each split is given."""

_OVERLAP = 0.02
"""Chips whose outlines overlap by less than this share of a side lie side by side."""


def split_of_place(place: str) -> str:
    """The split of a place: always the same one, whatever other places there are."""
    draw = int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") / 2**64
    if draw < SHARES["train"]:
        return "train"
    return "val" if draw < SHARES["train"] + SHARES["val"] else "test"


def group_overlapping(outlines: Sequence[NDArray[np.float64] | None]) -> list[int]:
    """A number for each outline, the same for those that overlap on the ground, directly or through others.

    Args:
        outlines: longitude and latitude in degrees of the corners, `[N, 2]` each; None where the place is unknown: such
            a one is alone.
    """
    known = [index for index, outline in enumerate(outlines) if outline is not None]
    shapes = []
    for index in known:
        corners = np.array(outlines[index], np.float64)
        if np.ptp(corners[:, 0]) > 180:  # on both sides of the date line
            corners[:, 0] %= 360
        center = corners.mean(axis=0)
        shapes.append(shapely.Polygon(center + (1 - _OVERLAP) * (corners - center)))
    if not shapes:
        return list(range(len(outlines)))
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    rows, columns = (np.array(known, np.int64)[found] for found in (first, second))
    edges = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(outlines), len(outlines)))
    return [int(group) for group in connected_components(edges, directed=False)[1]]


def find_outlines(paths: Sequence[Path | None]) -> list[NDArray[np.float64] | None]:
    """Longitude and latitude of the corners of images `[4, 2]`; None where a file does not say, or cannot be read."""
    outlines: list[NDArray[np.float64] | None] = []
    ways: dict[str, Transformer] = {}
    for path in paths:
        try:
            grid = describe_file(find_files(str(path))[0][0])[1]
            outlines.append(_corners(grid, ways) if grid.is_located else None)
        except (SceneError, ProjError):
            outlines.append(None)
    return outlines


def _corners(grid: Grid, ways: dict[str, Transformer]) -> NDArray[np.float64] | None:
    """Longitude and latitude of the corners of a grid; `ways` keeps what is slow to make, by CRS."""
    crs = grid.crs.to_wkt()
    if crs not in ways:
        ways[crs] = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    a, b, c, d, e, f = tuple(grid.affine)[:6]
    x, y = np.array([0, grid.width, grid.width, 0]), np.array([0, 0, grid.height, grid.height])
    corners = np.column_stack(ways[crs].transform(a * x + b * y + c, d * x + e * y + f))
    return corners if np.isfinite(corners).all() else None
