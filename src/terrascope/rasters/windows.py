"""What a window of a raster holds: the numbers as stored, and where they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning, RasterioError
from rasterio.windows import Window

from terrascope.errors import SceneError
from terrascope.rasters.files import describe_reason, gdal_settings, open_raster, without_warnings
from terrascope.rasters.grids import Part
from terrascope.rasters.paths import is_remote

Mask = NDArray[np.bool_]

_READ_AS_FLOAT32 = ("uint8", "int8", "uint16", "int16", "float32")
"""Types of which float32 holds every number, so that GDAL may hand them over as such."""

_COMPARED_TYPES = (*_READ_AS_FLOAT32, "uint32", "int32", "float64")
"""Types whose nodata is found here as GDAL finds it, without reading the window again."""

_LARGEST_SCALE = 1e30
"""Scales and offsets beyond this leave the numbers of float32."""

_RANDOM_ACCESS = ("GTiff", "JP2OpenJPEG")
"""GDAL's drivers that find a block without decoding those before it."""


class OpenRaster:
    """A raster that is read by windows. What its header says of all bands is asked once. For one thread at a time."""

    def __init__(self, path: str, *, allow_virtual: bool = False) -> None:
        """Raises SceneError: as `files.open_raster`."""
        self._path = path
        self._dataset = open_raster(path, allow_virtual=allow_virtual)
        self.height, self.width = self._dataset.shape

    def close(self) -> None:
        self._dataset.close()

    @cached_property
    def block_shapes(self) -> Sequence[tuple[int, int]]:
        """Rows and columns of the blocks in which each band is stored."""
        return self._dataset.block_shapes

    @property
    def reads_in_parallel(self) -> bool:
        """True if several threads that have each opened the file read it faster than one."""
        return self._dataset.driver in _RANDOM_ACCESS and not is_remote(self._path)

    @property
    def is_slow(self) -> bool:
        """True if a window costs much: it is fetched, or takes long to decode."""
        return self._dataset.driver == "JP2OpenJPEG" or is_remote(self._path)

    def stated_scaling(self, index: int) -> tuple[float, float] | None:
        """Scale and offset of a band (from 1), if the file states them.

        Raises:
            SceneError: they are no numbers to calculate with.
        """
        scale, offset = self._scalings[index - 1]
        if not (0 < abs(scale) < _LARGEST_SCALE and abs(offset) < _LARGEST_SCALE):
            raise SceneError(
                f"{self._dataset.name}: band {index} states a scale of {scale:g} and an offset of {offset:g}, which "
                "are none; set them right (gdal_edit -scale -offset)"
            )
        return None if (scale, offset) == (1.0, 0.0) else (scale, offset)

    def read(
        self, indexes: Sequence[int], part: Part, out: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], list[Mask | None]]:
        """Stored numbers of a part of some bands (from 1).

        Args:
            out: float32 `[bands, rows, columns]` to read into; it need not be contiguous.

        Returns:
            numbers float32 `[bands, rows, columns]`, and for each band where they were measured, bool
            `[rows, columns]`, or None if they all were. What is not finite was not measured.

        Raises:
            SceneError: the file is damaged, cut short, or its server fails.
        """
        rows, columns = part
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        if out is None:
            out = np.empty((len(indexes), rows.stop - rows.start, columns.stop - columns.start), np.float32)
        with gdal_settings(remote=is_remote(self._path)), np.errstate(over="ignore", invalid="ignore"):
            try:
                if all(self._dtypes[index - 1] in _READ_AS_FLOAT32 for index in indexes):
                    stored: Sequence[NDArray[Any]] = self._dataset.read(indexes, window=window, out=out)
                else:
                    stored = [self._dataset.read(index, window=window) for index in indexes]
                    for target, numbers in zip(out, stored, strict=True):
                        target[...] = numbers
                measured = [self._measured(*band, window) for band in zip(indexes, stored, out, strict=True)]
            except (RasterioError, CPLE_BaseError, OSError, MemoryError) as error:
                self._refuse(indexes, error)
        return out, measured

    @cached_property
    def _dtypes(self) -> Sequence[str]:
        return self._dataset.dtypes

    @cached_property
    def _mask_flags(self) -> Sequence[Sequence[MaskFlags]]:
        return self._dataset.mask_flag_enums

    @cached_property
    def _nodata(self) -> Sequence[float | None]:
        return self._dataset.nodatavals

    @cached_property
    def _scalings(self) -> list[tuple[float, float]]:
        return list(zip(self._dataset.scales, self._dataset.offsets, strict=True))

    def _measured(self, index: int, stored: NDArray[Any], numbers: NDArray[np.float32], window: Window) -> Mask | None:
        dtype, flags, nodata = self._dtypes[index - 1], self._mask_flags[index - 1], self._nodata[index - 1]
        finite = None if np.issubdtype(dtype, np.integer) else unless_all(np.isfinite(numbers))
        if MaskFlags.all_valid in flags:
            return finite
        is_float = dtype.startswith("float")
        if (
            flags == [MaskFlags.nodata]
            and nodata is not None
            and dtype in _COMPARED_TYPES
            and (is_float or float(nodata).is_integer())
        ):
            return both(finite, _differs(stored, nodata, is_float=is_float))
        # Where a file has both, GDAL prefers nodata to alpha.
        with without_warnings(NodataShadowWarning):
            seen = self._dataset.read_masks(index, window=window)
        return both(finite, unless_all(seen > 0))

    def _refuse(self, indexes: Sequence[int], error: Exception) -> NoReturn:
        which = f"band {indexes[0]}" if len(indexes) == 1 else f"one of the bands {', '.join(map(str, indexes))}"
        if is_remote(self._path):
            raise SceneError(
                f"{self._path}: {which} cannot be read ({describe_reason(error)}); the server failed, or the file is "
                "damaged"
            ) from None
        raise SceneError(f"{self._path}: {which} cannot be read; the file is damaged or cut short") from None


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """Where two masks are True; None is a mask that is True everywhere."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def unless_all(mask: Mask) -> Mask | None:
    """The mask, or None if it is True everywhere."""
    return None if mask.all() else mask


def _differs(stored: NDArray[Any], nodata: float, *, is_float: bool) -> Mask | None:
    """Where numbers are not nodata in GDAL's eyes: of floats, close neighbours of nodata are nodata too."""
    if np.isnan(nodata):  # which is not measured anyway
        return None
    number = np.float32(nodata) if stored.dtype == np.float32 else np.float64(nodata)
    if not is_float:
        return unless_all(stored != number)
    ends = np.array([stored.min(initial=np.inf), stored.max(initial=-np.inf)], stored.dtype)
    # A comparison with NaN is False.
    if (number < ends[0] or number > ends[1]) and not _is_near(ends, number, 4).any():
        return None
    return unless_all((stored != number) & ~_is_near(stored, number, 2))


def _is_near(numbers: NDArray[Any], number: np.floating[Any], steps: int) -> Mask:
    """`ARE_REAL_EQUAL` of GDAL."""
    kind = numbers.dtype.type
    step = kind(np.finfo(np.float32).eps)
    return np.abs(numbers - number) < step * np.abs(numbers + number) * kind(steps)
