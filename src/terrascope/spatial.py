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

_ROWS_AT_ONCE = 64
"""Rows that are turned into numbers at a time where every pixel has an area of its own."""

_BLOCK = 64
"""Side, in pixels, of the blocks by which far pixels are ruled out before single pixels are compared."""

_NEAR_ENOUGH = 1e-4
"""Share of a distance for whose sake no further pixels are compared."""


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
    """Square metres on the ground: the sum of the areas of the mask's pixels (Appendix D, absolute area)."""
    _check_rows(mask, pixel_size)
    counts = masks.count_rows(mask)
    sampled, weights = pixel_size.sampled_area_m2, pixel_size.column_weights
    if sampled is None or weights is None:
        return float(counts @ pixel_size.area_m2)
    if len(weights) != mask.shape[1]:
        raise ValueError(f"pixel sizes of {len(weights)} columns do not fit a mask of shape {mask.shape}")
    rows = np.flatnonzero(counts)
    strips = [rows[first : first + _ROWS_AT_ONCE] for first in range(0, len(rows), _ROWS_AT_ONCE)]
    return float(sum(np.vdot(mask[strip].astype(np.float64) @ weights, sampled[strip]) for strip in strips))


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

    0 where they overlap, one pixel's width or height where they share a side. Where the place of the grid is known, it
    is the geodesic between two pixels, and no other two are more than 0.1 % nearer; else the grid is taken to be flat.

    Raises:
        QuestionError: one of the masks is empty.
        ScaleError: a pixel of the masks lies outside of what the CRS can describe.
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
    """Places of pixel centres in metres, such that the nearer two places, the nearer the pixels on the ground.

    Places lie in space `[N, 3]`, on the ellipsoid, where the grid's place on the Earth is known: no plane keeps the
    distances of a wide grid. Where only its pixel size is known they lie on a plane `[N, 2]`.
    """

    def __init__(self, pixel_size: PixelSize) -> None:
        self.georeference = pixel_size.georeference
        width_m, height_m = pixel_size.width_m, pixel_size.height_m
        self.width_m = float(width_m.mean())
        if self.georeference is None and np.ptp(width_m) > _NEAR_ENOUGH * self.width_m:
            raise ValueError("pixels whose width changes with the row need a georeference to tell a distance")
        self.along_m = np.concatenate([[0.0], np.cumsum((height_m[1:] + height_m[:-1]) / 2)])

    def places(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Places, in metres, of the centres of the pixels at (row, column)."""
        if self.georeference is None:
            return np.column_stack([self.along_m[rows], columns * self.width_m])
        return self.georeference.to_geocentric(columns + 0.5, rows + 0.5)

    def spacing_m(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Lower bound `[N]` of the distance of two pixels that lie near the pixels at (row, column)."""
        if self.georeference is None:
            return np.full(len(rows), np.diff(self.along_m).min(initial=self.width_m))
        place = self.georeference.to_geocentric
        along_row = place(columns + 1, rows + 0.5) - place(columns, rows + 0.5)
        along_column = place(columns + 0.5, rows + 1) - place(columns + 0.5, rows)
        area = np.linalg.norm(np.cross(along_row, along_column), axis=1)
        width, height = np.linalg.norm(along_row, axis=1), np.linalg.norm(along_column, axis=1)
        # Of a grid of parallelograms, no two points are nearer than the shorter of one side and the height over it.
        return np.maximum(np.minimum(width, area / width), np.minimum(height, area / height))

    def length_m(self, straight_m: float, pixel: NDArray[np.integer], other: NDArray[np.integer]) -> float:
        """Length on the ground between two pixels (row, column) whose places are `straight_m` apart."""
        if self.georeference is None:
            return straight_m
        (y0, x0), (y1, x1) = pixel + 0.5, other + 0.5
        return self.georeference.geodesic_m((x0, y0), (x1, y1))


class _Blocks:
    """The blocks in which a mask has pixels: `rows` and `columns` int `[N]` of their first pixels.

    `centers` are the places of their centres, `reach` the farthest that a pixel of a block lies from its centre.
    """

    def __init__(self, mask: Mask, ground: _Ground) -> None:
        strips = [mask[top : top + _BLOCK] for top in range(0, mask.shape[0], _BLOCK)]
        by_row = np.stack([masks.count_columns(strip) for strip in strips])
        occupied = np.argwhere(np.add.reduceat(by_row, np.arange(0, mask.shape[1], _BLOCK), axis=1))
        self.rows, self.columns = (occupied * _BLOCK).T
        last_row, last_column = np.array(mask.shape) - 1

        def places(down: int, right: int) -> NDArray[np.float64]:
            return ground.places(np.minimum(self.rows + down, last_row), np.minimum(self.columns + right, last_column))

        self.centers = places(_BLOCK // 2, _BLOCK // 2)
        corners = [places(down, right) for down in (0, _BLOCK - 1) for right in (0, _BLOCK - 1)]
        # The margin is for blocks of degrees, whose sides bulge.
        self.reach = 1.1 * max(float(np.linalg.norm(corner - self.centers, axis=1).max()) for corner in corners)


def _smallest_distance(a: Mask, b: Mask, ground: _Ground) -> float:
    """Smallest ground distance of two masks that are not empty.

    The nearest pixels of disjoint masks are boundary pixels, and lie in blocks that are near each other. So blocks are
    compared first, then the boundary pixels of one row of blocks of `a` at a time with those of the blocks of `b` that
    can still be nearer: memory depends on the size of the grid, and hardly on how ragged the masks are.
    """
    from scipy.spatial import cKDTree

    if (a & b).any():
        return 0.0
    blocks_a, blocks_b = _Blocks(a, ground), _Blocks(b, ground)
    reach = blocks_a.reach + blocks_b.reach
    gaps_a = cKDTree(blocks_b.centers).query(blocks_a.centers)[0]
    gaps_b = cKDTree(blocks_a.centers).query(blocks_b.centers)[0]
    # Two blocks hold pixels at most `gap + reach` apart, and none nearer than `gap - reach`.
    best, nearest = (gaps_a.min() + reach) * (1 + 1e-9), None
    near_b = gaps_b - reach <= best
    spacing = ground.spacing_m(blocks_a.rows, blocks_a.columns)
    edge_a, edge_b = _outline(a), _outline(b)
    rows = np.unique(blocks_a.rows)
    # Where the smallest distance is likely, first: after it, most rows of blocks need no look.
    lowest = [np.minimum.reduceat(values, np.searchsorted(blocks_a.rows, rows)) for values in (spacing, gaps_a)]
    for row in rows[np.lexsort(lowest)]:
        wanted = (blocks_a.rows == row) & (gaps_a - reach <= best)
        if nearest is not None:
            wanted &= spacing * (1 + _NEAR_ENOUGH) < best
        if not wanted.any():
            continue
        gaps = cKDTree(blocks_a.centers[wanted]).query(blocks_b.centers, distance_upper_bound=best + reach)[0]
        pixels_a = _pixels_of(edge_a, blocks_a, wanted)
        pixels_b = _pixels_of(edge_b, blocks_b, near_b & np.isfinite(gaps))
        if not (len(pixels_a) and len(pixels_b)):
            continue
        found, partners = cKDTree(ground.places(*pixels_b.T)).query(
            ground.places(*pixels_a.T), distance_upper_bound=best
        )
        at = int(found.argmin())
        if found[at] < best:
            best, nearest = found[at], (pixels_a[at], pixels_b[partners[at]])
    assert nearest is not None
    return ground.length_m(float(best), *nearest)


def _outline(mask: Mask) -> Mask:
    """The pixels of the mask from which a way out of it can begin: also over the frame, as at 180 degrees."""
    outline = masks.boundary(mask)
    for frame in (np.s_[[0, -1]], np.s_[:, [0, -1]]):
        outline[frame] = mask[frame]
    return outline


def _pixels_of(mask: Mask, blocks: _Blocks, wanted: Mask) -> NDArray[np.intp]:
    """Row and column, int `[N, 2]`, of the mask's pixels within the wanted blocks."""
    found = [np.zeros((0, 2), np.intp)]
    for row, column in zip(blocks.rows[wanted], blocks.columns[wanted], strict=True):
        found.append(np.argwhere(mask[row : row + _BLOCK, column : column + _BLOCK]) + np.array([row, column]))
    return np.concatenate(found)
