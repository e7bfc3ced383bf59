"""Rasters of chips as they are stored: each is opened once and read whole or in part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from terrascope.errors import ScaleError, SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.files import describe_reason, gdal_settings, open_raster
from terrascope.rasters.grids import Grid, Part
from terrascope.sources.chips import ChipError


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRaster:
    """Numbers `[layers, H, W]` as they are stored, the grid of the whole raster, and where it came from."""

    numbers: NDArray[Any]
    grid: Grid
    source: str


def read_stored(path: Path, what: str, *, gsd_m: float, part: Part | None = None) -> StoredRaster:
    """All layers of a raster, or of a part of it.

    Args:
        what: `image` or `label`, for the reason of an error.
        gsd_m: pixel size where the file does not say where it lies.

    Raises:
        ChipError: the file is missing or damaged, or the part reaches beyond it.
    """
    if not path.is_file():
        raise ChipError(f"{path}: no such file", reason=f"missing {what}")
    try:
        with gdal_settings(), open_raster(str(path)) as dataset:
            height, width = dataset.shape
            rows, columns = part or (slice(0, height), slice(0, width))
            fits = rows.stop <= height and columns.stop <= width
            window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            numbers = dataset.read(window=window) if fits else None
            crs, transform = dataset.crs, dataset.transform
            georeference = (
                Georeference(gsd_m=gsd_m) if crs is None else Georeference(crs=_crs(crs.to_wkt()), transform=transform)
            )
    except (SceneError, ScaleError, CRSError, RasterioError, CPLE_BaseError) as error:
        raise ChipError(f"{path}: cannot be read ({describe_reason(error)})", reason=f"unreadable {what}") from error
    if numbers is None:
        raise ChipError(
            f"{path}: has {width} x {height} pixels, so none at row {rows.stop - 1}, column {columns.stop - 1}",
            reason=f"{what} of another size",
        )
    return StoredRaster(
        numbers=numbers, grid=Grid(height=height, width=width, georeference=georeference), source=str(path)
    )


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of a raster by its header.

    Raises:
        SceneError: it cannot be opened.
    """
    with open_raster(str(path)) as dataset:
        height, width = dataset.shape
    return height, width


@lru_cache(maxsize=256)
def _crs(wkt: str) -> CRS:
    """A CRS, parsed once for all files that state it."""
    return CRS.from_wkt(wkt)
