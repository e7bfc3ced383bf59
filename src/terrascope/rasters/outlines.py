"""Outlines of masks along their pixels; those of ragged masks on coarser blocks, so that a file stays usable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import MultiPolygon

from terrascope.masks import to_polygons

MAX_EDGES = 1_000_000
"""Pixel sides that one exact outline may follow: about 25 MB of GeoJSON, and five to fifteen seconds."""

_STRIP_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The outline of a mask.

    Attributes:
        geometry: in pixel coordinates (x = column, y = row; 0, 0 is the grid's outer corner); None for an empty mask.
        block_px: side of the square blocks that it follows; 1 if it follows the pixels, and so is exact.
    """

    geometry: MultiPolygon | None
    block_px: int


def trace_outline(mask: NDArray[np.bool_], max_edges: int = MAX_EDGES) -> Outline:
    """The outline of a mask bool `[H, W]`: one polygon per region connected over pixel sides, holes kept.

    If it followed more than `max_edges` pixel sides, pixels are joined to blocks of 2 x 2, 4 x 4 ... until it does not.
    The blocks that hold most of the mask are taken, as many as make up its area best: no mask vanishes.
    """
    height, width = mask.shape
    coarse, block = mask, 1
    while _count_edges(coarse) > max_edges:
        block *= 2
        coarse = _fullest_blocks(mask, block)
    polygons = to_polygons(coarse, Affine.scale(block))
    if not polygons:
        return Outline(geometry=None, block_px=block)
    geometry = shapely.multipolygons(polygons)
    if block > 1:
        # Blocks at the right and lower rim reach beyond the grid.
        geometry = shapely.transform(geometry, lambda points: np.minimum(points, [width, height]))
    return Outline(geometry=geometry, block_px=block)


def _count_edges(mask: NDArray[np.bool_]) -> int:
    """Pixel sides between the mask and the rest of the grid."""
    num_edges = 0
    for top in range(0, mask.shape[0], _STRIP_ROWS):
        strip = mask[top : top + _STRIP_ROWS + 1]
        rows = strip[:_STRIP_ROWS]
        num_edges += int(np.count_nonzero(rows[:, 1:] != rows[:, :-1]))
        num_edges += int(np.count_nonzero(strip[1:] != strip[:-1]))
    return num_edges


def _fullest_blocks(mask: NDArray[np.bool_], block: int) -> NDArray[np.bool_]:
    """bool `[ceil(H / block), ceil(W / block)]`: True for the blocks that hold most of the mask's pixels."""
    height, width = mask.shape
    columns = np.arange(0, width, block)
    strip_rows = max(1, _STRIP_ROWS // block) * block
    strips = []
    for top in range(0, height, strip_rows):
        strip = mask[top : top + strip_rows]
        in_rows = np.add.reduceat(strip, np.arange(0, len(strip), block), axis=0, dtype=np.int32)
        strips.append(np.add.reduceat(in_rows, columns, axis=1))
    counts = np.concatenate(strips)
    per_count = np.bincount(counts.ravel(), minlength=block**2 + 1)
    num_blocks = np.cumsum(per_count[::-1])[::-1]  # that hold at least so many pixels
    errors = np.where(num_blocks > 0, np.abs(num_blocks * block**2 - counts.sum()), np.inf)
    return counts >= 1 + np.argmin(errors[1:])
