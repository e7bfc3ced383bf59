"""Pixel grids: when two are one, and how an image is brought from one onto another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterCRS
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject

from terrascope.errors import SceneError
from terrascope.georeference import Georeference

_SAME_WITHIN_PIXELS = 0.05


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

    def equals(self, other: Grid) -> bool:
        """True if pixel for pixel the grids lie on each other. Where a place is unknown, equal size is all there is."""
        if self.shape != other.shape:
            return False
        if not (self.is_located and other.is_located):
            return True
        if self.georeference.crs != other.georeference.crs:
            return False
        ours, theirs = _affine(self), _affine(other)
        for corner in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height)):
            moved = _apply(~ours, _apply(theirs, corner))
            if max(abs(moved[0] - corner[0]), abs(moved[1] - corner[1])) > _SAME_WITHIN_PIXELS:
                return False
        return True


def resample(pixels: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Bring float32 `[bands, h, w]` with NaN where nothing was measured onto another grid, bilinearly.

    Grids whose place is unknown are taken to show the same ground at different resolutions. Where the target is
    coarser, all source pixels below a target pixel count. SAR is averaged in the unit it comes in (decibels).

    Returns:
        float32 `[bands, H, W]`, NaN where the source has nothing.

    Raises:
        SceneError: one grid has a place and the other has none, and their sizes differ; or GDAL knows no way between
            their CRSs.
    """
    if source.equals(target):
        return pixels
    if source.is_located != target.is_located:
        raise SceneError(
            f"an image of {source.width} x {source.height} and one of {target.width} x {target.height} pixels cannot "
            "be laid on each other, because only one of them has a CRS"
        )
    if source.is_located:
        source_crs, target_crs = _raster_crs(source), _raster_crs(target)
        source_affine, target_affine = _affine(source), _affine(target)
    else:
        source_crs = target_crs = RasterCRS.from_epsg(3857)
        # An origin other than 0 and pixels other than 1, because GDAL reads those as "no transform".
        source_affine = Affine(20 * target.width / source.width, 0, 1000, 0, -20 * target.height / source.height, 1000)
        target_affine = Affine(20, 0, 1000, 0, -20, 1000)
    result = np.full((pixels.shape[0], *target.shape), np.nan, np.float32)
    # Band by band: GDAL would otherwise drop a pixel of every band where one of them has nodata.
    for band, out in zip(pixels, result, strict=True):
        try:
            reproject(
                band,
                out,
                src_transform=source_affine,
                src_crs=source_crs,
                src_nodata=np.nan,
                dst_transform=target_affine,
                dst_crs=target_crs,
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
                tolerance=0.0,
            )
        except RasterioError as error:
            names = f"{source_crs.to_string()} onto a grid in {target_crs.to_string()}"
            raise SceneError(f"an image cannot be brought from {names} ({error}); reproject it first") from None
    return result


def _affine(grid: Grid) -> Affine:
    transform = grid.georeference.transform
    assert transform is not None
    return transform


def _raster_crs(grid: Grid) -> RasterCRS:
    assert grid.georeference.crs is not None
    return RasterCRS.from_wkt(grid.georeference.crs.to_wkt())


def _apply(transform: Affine, point: tuple[float, float]) -> tuple[float, float]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * point[0] + b * point[1] + c, d * point[0] + e * point[1] + f
