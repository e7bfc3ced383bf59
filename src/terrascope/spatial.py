"""Masks to numbers: coverage, area, distance, adjacency, objects, position (Appendix D). The home of the geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from terrascope import masks
from terrascope.errors import QuestionError, ScaleError
from terrascope.georeference import Georeference, PixelSize
from terrascope.masks import Connectivity, Mask

_EARTH_RADIUS_M = 6_371_000.0

_BLOCK = 64
"""Side, in pixels, of the blocks by which far pixels are ruled out before single pixels are compared."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one mask measures.

    Attributes:
        num_pixels: True pixels.
        coverage: share, 0 to 1, of the valid pixels.
        area_m2: square metres on the ground; None if the scale is unknown.
        scale_basis: where the scale comes from, e.g. `geodesic, EPSG:32633`; None if the scale is unknown.
        scale_error: why the scale is unknown, and what would mend it; None if it is known.
        num_objects: components connected over sides or corners.
        position: the part of the scene in which the centroid lies; None if the mask is empty.
    """

    num_pixels: int
    coverage: float
    area_m2: float | None
    scale_basis: str | None
    scale_error: str | None
    num_objects: int
    position: str | None


def measure(mask: Mask, *, valid: Mask, georeference: Georeference) -> Measurement:
    """Measure a mask bool `[H, W]` of a scene whose pixels are known where `valid` is True.

    Only valid pixels are measured. An unknown scale is no error here: `area_m2` is None and `scale_error` says why.

    Raises:
        QuestionError: no pixel is valid.
    """
    share = coverage(mask, valid)
    mask = mask & valid
    num_pixels = masks.count(mask)
    area, basis, reason = None, None, None
    try:
        pixel_size = georeference.pixel_size(*mask.shape)
        area, basis = area_m2(mask, pixel_size), pixel_size.basis
    except ScaleError as error:
        reason = str(error)
    return Measurement(
        num_pixels=num_pixels,
        coverage=share,
        area_m2=area,
        scale_basis=basis,
        scale_error=reason,
        num_objects=count_objects(mask),
        position=position(mask, valid) if num_pixels else None,
    )


def coverage(mask: Mask, valid: Mask) -> float:
    """Share, 0 to 1, of the valid pixels that are True in the mask (Appendix D, coverage percentage).

    Raises:
        QuestionError: no pixel is valid, so there is nothing to take a share of.
    """
    masks.check_same_grid(mask, valid)
    num_valid = masks.count(valid)
    if not num_valid:
        raise QuestionError("coverage needs at least one valid pixel, but the whole scene is nodata")
    return masks.count(mask & valid) / num_valid


def area_m2(mask: Mask, pixel_size: PixelSize) -> float:
    """Square metres on the ground: each row's pixels times that row's pixel area (Appendix D, absolute area)."""
    _check_rows(mask, pixel_size)
    return float(masks.count_rows(mask) @ pixel_size.area_m2)


def distance_px(a: Mask, b: Mask) -> float:
    """Smallest distance in pixels between the centres of a pixel of `a` and one of `b`.

    0 where they overlap, 1 for pixels that share a side, the square root of 2 for those that share a corner.

    Raises:
        QuestionError: one of the masks is empty.
    """
    _check_both(a, b)
    ones = np.ones(a.shape[0])
    return _smallest_distance(a, b, _Ground(PixelSize(width_m=ones, height_m=ones, area_m2=ones, basis="pixels")))


def distance_m(a: Mask, b: Mask, pixel_size: PixelSize) -> float:
    """Smallest ground distance in metres between the centres of a pixel of `a` and one of `b` (Appendix D, distance).

    0 where they overlap, one pixel's width or height where they share a side. Exact where all rows have pixels of one
    width, also if they are not square. Where the width changes with the row (degrees, Web Mercator), it changes slowly,
    as on the Earth: the sizes then are those of a curved surface, and the distance is measured along it (tested to
    0.1 % of the geodesic).

    Raises:
        QuestionError: one of the masks is empty.
    """
    _check_both(a, b)
    _check_rows(a, pixel_size)
    return _smallest_distance(a, b, _Ground(pixel_size))


def are_adjacent(a: Mask, b: Mask, *, connectivity: Connectivity = 4) -> bool:
    """True if `a`, grown by one pixel, meets `b` (Appendix D, boundary relationship).

    By default it grows over pixel sides, like the paper's `scipy.ndimage.binary_dilation`: regions that touch at a
    corner alone share no boundary. Overlapping masks are adjacent; an empty mask is adjacent to nothing.
    """
    masks.check_same_grid(a, b)
    return bool((masks.dilate(a, connectivity=connectivity) & b).any())


def shared_boundary_px(a: Mask, b: Mask) -> int:
    """Number of pixel sides with a pixel of `a` alone on one side and one of `b` alone on the other.

    Pixels of both masks belong to neither: a mask that lies within the other has no boundary in common with it.
    """
    masks.check_same_grid(a, b)
    only_a, only_b = a & ~b, b & ~a
    return sum(
        masks.count(one[here] & other[there])
        for one, other in ((only_a, only_b), (only_b, only_a))
        for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]))
    )


def count_objects(mask: Mask, *, min_pixels: int = 1, connectivity: Connectivity = 8) -> int:
    """Number of connected components of at least `min_pixels` pixels."""
    if min_pixels <= 1:
        return masks.label_components(mask, connectivity=connectivity)[1]
    return int((masks.component_sizes(mask, connectivity=connectivity) >= min_pixels).sum())


def object_areas(mask: Mask, *, connectivity: Connectivity = 8) -> NDArray[np.int64]:
    """Pixels of each connected component, int64 `[num]`, largest first."""
    return np.sort(masks.component_sizes(mask, connectivity=connectivity))[::-1]


def position(mask: Mask, valid: Mask | None = None) -> str:
    """The part of the scene in which the mask's centroid lies, e.g. `northwestern part`, `central part`.

    The scene is cut into 3 x 3 equal parts; with `valid`, its bounding box is. The first row is taken to lie in the
    north and the first column in the west, as in every north-up raster. A centroid on a cut counts as central.

    Raises:
        QuestionError: the mask is empty.
    """
    row_counts, column_counts = masks.count_rows(mask), masks.count_columns(mask)
    if not row_counts.any():
        raise QuestionError("an empty mask has no position")
    frame = mask if valid is None else valid
    masks.check_same_grid(mask, frame)
    north_south = _third(row_counts, None if valid is None else masks.count_rows(valid))
    west_east = _third(column_counts, None if valid is None else masks.count_columns(valid))
    name = ("north", "", "south")[north_south] + ("west", "", "east")[west_east]
    return f"{name}ern part" if name else "central part"


def ratio(a: Mask, b: Mask, pixel_size: PixelSize | None = None) -> float:
    """Area of `a` over area of `b`; on the ground with `pixel_size`, in pixels without.

    Raises:
        QuestionError: `b` is empty.
    """
    size_a, size_b = _sizes(a, b, pixel_size)
    if not size_b:
        raise QuestionError("a ratio of areas needs a second mask that is not empty")
    return size_a / size_b


def larger(a: Mask, b: Mask, pixel_size: PixelSize | None = None) -> Literal["first", "second"] | None:
    """Which mask has the larger area (Appendix D, comparative ranking); None if they are equal."""
    size_a, size_b = _sizes(a, b, pixel_size)
    if size_a == size_b:
        return None
    return "first" if size_a > size_b else "second"


def _sizes(a: Mask, b: Mask, pixel_size: PixelSize | None) -> tuple[float, float]:
    masks.check_same_grid(a, b)
    if pixel_size is None:
        return masks.count(a), masks.count(b)
    return area_m2(a, pixel_size), area_m2(b, pixel_size)


def _third(counts: NDArray[np.int64], valid_counts: NDArray[np.int64] | None) -> int:
    """0, 1 or 2: the third of the frame in which the centre of mass of the counts along one axis lies."""
    start, stop = 0, len(counts)
    if valid_counts is not None and valid_counts.any():
        inside = np.flatnonzero(valid_counts)
        start, stop = int(inside[0]), int(inside[-1]) + 1
    # Whole numbers: a centroid that lies on a cut must not fall to either side by rounding.
    total = int(counts.sum())
    twice_moment = int(counts @ (2 * np.arange(len(counts)) + 1)) - 2 * start * total
    length = stop - start
    if 3 * twice_moment < 2 * length * total:
        return 0
    return 2 if 3 * twice_moment > 4 * length * total else 1


def _check_both(a: Mask, b: Mask) -> None:
    masks.check_same_grid(a, b)
    if not (a.any() and b.any()):
        raise QuestionError("a distance needs two masks that are not empty")


def _check_rows(mask: Mask, pixel_size: PixelSize) -> None:
    if len(pixel_size.width_m) != mask.shape[0]:
        raise ValueError(f"pixel sizes of {len(pixel_size.width_m)} rows do not fit a mask of shape {mask.shape}")


class _Ground:
    """Places of pixel centres in metres, such that straight distances between them are distances on the ground.

    If all rows have pixels of one width (to 0.01 %, as in UTM), the places lie on a plane `[N, 2]`. If not, no plane
    will do: a column of pixels in degrees leans by per cents at the edge of a wide scene. Such rows are parallels of a
    surface of revolution `[N, 3]`: a row's pixels stand side by side on a circle, each seen from the axis under one
    angle (for degrees: its extent in longitude), and successive rows stand one pixel height apart. With the angle
    chosen below, the surface of a grid in degrees is the Earth's own, and a chord of it tells the arc.
    """

    def __init__(self, pixel_size: PixelSize) -> None:
        self.width_m = pixel_size.width_m
        self.steps_m = (pixel_size.height_m[1:] + pixel_size.height_m[:-1]) / 2
        self.is_flat = bool(np.ptp(self.width_m) <= 1e-4 * self.width_m.max())
        self.along_m = np.concatenate([[0.0], np.cumsum(self.steps_m)])
        if not self.is_flat:
            width_changes = np.diff(self.width_m)
            mean_widths = (self.width_m[1:] + self.width_m[:-1]) / 2
            # On a sphere this hypotenuse is the same for every row: the pixel's extent in longitude, in radians.
            self.angle = float(np.hypot(width_changes / self.steps_m, mean_widths / _EARTH_RADIUS_M).max())
            rises = np.sqrt(np.maximum(self.steps_m**2 - (width_changes / self.angle) ** 2, 0.0))
            self.along_m = np.concatenate([[0.0], np.cumsum(rises)])

    def places(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Places, in metres, of the centres of the pixels at (row, column)."""
        if self.is_flat:
            return np.column_stack([self.along_m[rows], columns * self.width_m.mean()])
        radii, turns = self.width_m[rows] / self.angle, columns * self.angle
        return np.column_stack([self.along_m[rows], radii * np.sin(turns), radii * np.cos(turns)])

    def length_m(self, straight: float) -> float:
        """Length on the ground of a straight distance between two places."""
        if self.is_flat:
            return straight
        diameter = 2 * _EARTH_RADIUS_M
        return diameter * float(np.arcsin(min(straight / diameter, 1.0)))

    def pixel_m(self) -> tuple[float, float]:
        """Lower bound of the distance of two pixels, and upper bound of a pixel's diagonal."""
        sides = np.concatenate([self.width_m, self.steps_m])
        return float(sides.min()), float(np.hypot(self.width_m.max(), self.steps_m.max(initial=0.0)))


def _smallest_distance(a: Mask, b: Mask, ground: _Ground) -> float:
    """Smallest ground distance of two masks that are not empty.

    The nearest pixels of disjoint masks are boundary pixels, and lie in blocks that are near each other. So blocks are
    compared first, then the boundary pixels of one row of blocks of `a` at a time with those of the blocks of `b` that
    can still be nearer: memory depends on the size of the grid, and hardly on how ragged the masks are.
    """
    from scipy.spatial import cKDTree

    if (a & b).any():
        return 0.0
    shortest_m, diagonal_m = ground.pixel_m()
    reach = (_BLOCK // 2 + 1) * diagonal_m
    blocks_a, blocks_b = _occupied_blocks(a), _occupied_blocks(b)
    centers_a, centers_b = _block_centers(blocks_a, a, ground), _block_centers(blocks_b, b, ground)
    gaps_a, gaps_b = cKDTree(centers_b).query(centers_a)[0], cKDTree(centers_a).query(centers_b)[0]
    # Two blocks hold pixels at most `gap + 2 reach` apart, and none nearer than `gap - 2 reach`.
    best = (gaps_a.min() + 2 * reach) * (1 + 1e-9)
    near_a, near_b = gaps_a - 2 * reach <= best, gaps_b - 2 * reach <= best
    blocks_a, centers_a, blocks_b, centers_b = blocks_a[near_a], centers_a[near_a], blocks_b[near_b], centers_b[near_b]
    edge_a, edge_b = masks.boundary(a), masks.boundary(b)
    for block_row in np.unique(blocks_a[:, 0]):
        in_row = blocks_a[:, 0] == block_row
        gaps = cKDTree(centers_a[in_row]).query(centers_b, distance_upper_bound=best + 2 * reach)[0]
        places_a = ground.places(*_pixels_of(edge_a, blocks_a[in_row]))
        places_b = ground.places(*_pixels_of(edge_b, blocks_b[np.isfinite(gaps)]))
        if len(places_a) and len(places_b):
            found = cKDTree(places_b).query(places_a, distance_upper_bound=best)[0].min()
            best = min(best, float(found))
        if best <= shortest_m:
            break
    return ground.length_m(float(best))


def _occupied_blocks(mask: Mask) -> NDArray[np.intp]:
    """Row and column, int `[N, 2]`, of the blocks in which the mask has pixels."""
    by_row = np.logical_or.reduceat(mask, np.arange(0, mask.shape[0], _BLOCK), axis=0)
    return np.argwhere(np.logical_or.reduceat(by_row, np.arange(0, mask.shape[1], _BLOCK), axis=1))


def _block_centers(blocks: NDArray[np.intp], mask: Mask, ground: _Ground) -> NDArray[np.float64]:
    middles = np.minimum(blocks * _BLOCK + _BLOCK // 2, np.array(mask.shape) - 1)
    return ground.places(middles[:, 0], middles[:, 1])


def _pixels_of(mask: Mask, blocks: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the mask's pixels within the blocks."""
    found = [np.zeros((0, 2), np.intp)]
    for row, column in blocks * _BLOCK:
        found.append(np.argwhere(mask[row : row + _BLOCK, column : column + _BLOCK]) + np.array([row, column]))
    pixels = np.concatenate(found)
    return pixels[:, 0], pixels[:, 1]
