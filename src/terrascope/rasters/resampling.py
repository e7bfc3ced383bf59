"""Windows of an image on another grid than its own, each equal to the same part of the whole."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS as RasterCRS
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.grids import Grid, Part, PointMap, name_crs

ReadPart = Callable[[slice, slice], NDArray[np.float32]]
"""Reads float32 `[n, rows, columns]` of the source grid, NaN where nothing was measured."""

_BLOCK = 512
"""Side, in pixels of the target, of the blocks that are made whole."""

_BLOCK_SOURCE = 2048
"""Side of the source that one block may need: where the target is much coarser, blocks are smaller."""

_KEPT_BYTES = 64 * 2**20
"""Made blocks that are kept, because neighbouring windows need the same ones."""


class Resampler:
    """Brings windows of a source grid onto a target grid.

    Pixels that coincide are passed on as they are. Otherwise they are resampled bilinearly, in blocks that lie at fixed
    places of the target and are always made whole: so a window does not depend on what else is read. Where the target
    is coarser, all source pixels below a target pixel count. Grids whose place is unknown are taken to show the same
    ground at different resolutions.
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        """Raises SceneError: only one grid is located and the sizes differ, or PROJ knows no way between the CRSs."""
        self._source, self._target = source, target
        self._offset = source.offset_in(target)
        self._kept: OrderedDict[Hashable, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        if self._offset is not None:
            return
        if source.is_located != target.is_located:
            raise SceneError(
                f"an image of {source.width} x {source.height} and one of {target.width} x {target.height} pixels "
                "cannot be laid on each other, because only one of them has a CRS"
            )
        if not source.is_located:
            self._source, self._target = _laid_on_each_other(source, target)
        self._to_source = PointMap(self._target, self._source)
        self._source_crs, self._target_crs = (RasterCRS.from_wkt(g.crs.to_wkt()) for g in (self._source, self._target))
        self._steps = self._source_steps()
        fitting = _BLOCK_SOURCE / max(self._steps)
        self._block = _BLOCK if fitting >= _BLOCK else max(8, 2 ** math.floor(math.log2(max(fitting, 1))))

    def __reduce__(self) -> tuple[type[Resampler], tuple[Grid, Grid]]:
        # Grids on one made-up ground are located, so they are laid on each other as they were.
        return Resampler, (self._source, self._target)

    @property
    def is_exact(self) -> bool:
        """True if the pixels of the two grids coincide, so that nothing is resampled."""
        return self._offset is not None

    @property
    def offset(self) -> tuple[int, int]:
        """Row and column of the target on which the first pixel of the source lies; the pixels coincide."""
        assert self._offset is not None
        return self._offset

    @property
    def block(self) -> int:
        """Rows of the target that should be read together; 1 where nothing is resampled."""
        return 1 if self.is_exact else self._block

    def source_part(self, part: Part) -> Part | None:
        """The part of the source that a part of the target is made of; None if they share nothing."""
        rows, columns = part
        if self._offset is not None:
            row, column = self._offset
            wanted = slice(rows.start - row, rows.stop - row), slice(columns.start - column, columns.stop - column)
            return _within(wanted, self._source)
        x, y = np.meshgrid(
            np.linspace(columns.start, columns.stop, 17),
            np.linspace(rows.start, rows.stop, 17),
        )
        there = [values[np.isfinite(values)] for values in self._to_source(x.ravel(), y.ravel())]
        if not all(values.size for values in there):
            return None
        edges = []
        for values, step in zip(there, self._steps, strict=True):
            low, high = float(values.min()), float(values.max())
            # The kernel reaches over the edge, and between the points asked the edge may bulge.
            margin = 2 * max(1.0, step) + 3 + (high - low) / 64
            edges.append((low - margin, high + margin))
        (left, right), (top, bottom) = edges
        limit = 2.0**31
        clipped = [min(max(edge, -limit), limit) for edge in (top, bottom, left, right)]
        wanted = (
            slice(math.floor(clipped[0]), math.ceil(clipped[1])),
            slice(math.floor(clipped[2]), math.ceil(clipped[3])),
        )
        return _within(wanted, self._source)

    def read(self, part: Part, read_source: ReadPart, *, num_bands: int = 1, key: Hashable = 0) -> NDArray[np.float32]:
        """Float32 `[num_bands, rows, columns]` of a part of the target, NaN where the source has nothing.

        Args:
            read_source: gives parts of the source within its edges; always the same for one `key`.

        Raises:
            SceneError: GDAL cannot bring the image onto the grid.
        """
        rows, columns = part
        shape = rows.stop - rows.start, columns.stop - columns.start
        source = self.source_part(part) if self._offset is not None else None
        if source is not None and (source[0].stop - source[0].start, source[1].stop - source[1].start) == shape:
            return read_source(*source)
        result = np.full((num_bands, *shape), np.nan, np.float32)
        if self._offset is not None:
            if source is not None:
                top = source[0].start + self._offset[0] - rows.start
                left = source[1].start + self._offset[1] - columns.start
                numbers = read_source(*source)
                result[:, top : top + numbers.shape[1], left : left + numbers.shape[2]] = numbers
            return result
        side = self._block
        for top in range(rows.start - rows.start % side, rows.stop, side):
            for left in range(columns.start - columns.start % side, columns.stop, side):
                with self._lock:
                    block = self._made_block(top, left, read_source, num_bands, key)
                first_row, first_column = max(top, rows.start), max(left, columns.start)
                last_row = min(top + block.shape[1], rows.stop)
                last_column = min(left + block.shape[2], columns.stop)
                result[
                    :,
                    first_row - rows.start : last_row - rows.start,
                    first_column - columns.start : last_column - columns.start,
                ] = block[:, first_row - top : last_row - top, first_column - left : last_column - left]
        return result

    def _made_block(
        self, top: int, left: int, read_source: ReadPart, num_bands: int, key: Hashable
    ) -> NDArray[np.float32]:
        place = (key, top, left)
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        part = (
            slice(top, min(top + self._block, self._target.height)),
            slice(left, min(left + self._block, self._target.width)),
        )
        block = self._warped(part, read_source, num_bands)
        self._kept[place] = block
        while sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return block

    def _warped(self, part: Part, read_source: ReadPart, num_bands: int) -> NDArray[np.float32]:
        target = self._target.window(part)
        result = np.full((num_bands, *target.shape), np.nan, np.float32)
        source_part = self.source_part(part)
        if source_part is None:
            return result
        source = self._source.window(source_part)
        # Band by band: GDAL would otherwise drop a pixel of every band where one of them has nodata.
        for band, out in zip(read_source(*source_part), result, strict=True):
            try:
                reproject(
                    band,
                    out,
                    src_transform=source.affine,
                    src_crs=self._source_crs,
                    src_nodata=np.nan,
                    dst_transform=target.affine,
                    dst_crs=self._target_crs,
                    dst_nodata=np.nan,
                    resampling=Resampling.bilinear,
                    # Stated, because GDAL would estimate them for each block anew.
                    XSCALE=1 / self._steps[0],
                    YSCALE=1 / self._steps[1],
                )
            except (RasterioError, CPLE_BaseError) as error:
                names = f"{name_crs(self._source.crs)} onto a grid in {name_crs(self._target.crs)}"
                raise SceneError(f"an image cannot be brought from {names} ({error}); reproject it first") from None
        return result

    def _source_steps(self) -> tuple[float, float]:
        """Source columns and rows that one pixel of the target spans, as a rule: it is one number for all blocks."""
        places = np.linspace(0, 1, 5)
        x, y = (place.ravel() for place in np.meshgrid(places * self._target.width, places * self._target.height))
        here, right, below = (np.stack(self._to_source(x + i, y + j)) for i, j in ((0, 0), (1, 0), (0, 1)))
        with np.errstate(invalid="ignore", over="ignore"):
            steps = np.hypot(right - here, below - here)
        known = np.isfinite(steps).all(axis=0) & (steps > 0).all(axis=0)
        columns, rows = np.median(steps[:, known], axis=1) if known.any() else (1.0, 1.0)
        return float(columns), float(rows)


def _within(part: Part, grid: Grid) -> Part | None:
    rows, columns = part
    top, bottom = max(rows.start, 0), min(rows.stop, grid.height)
    left, right = max(columns.start, 0), min(columns.stop, grid.width)
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def _laid_on_each_other(source: Grid, target: Grid) -> tuple[Grid, Grid]:
    """Two grids without a place on one made-up ground, so that they cover the same of it."""
    ground = CRS.from_epsg(3857)
    # An origin other than 0 and pixels other than 1, because GDAL reads those as "no transform".
    pixel = 20.0
    across, down = pixel * target.width / source.width, pixel * target.height / source.height
    placed = [
        Grid(height=g.height, width=g.width, georeference=Georeference(crs=ground, transform=transform))
        for g, transform in (
            (source, Affine(across, 0, 1000, 0, -down, 1000)),
            (target, Affine(pixel, 0, 1000, 0, -pixel, 1000)),
        )
    ]
    return placed[0], placed[1]
