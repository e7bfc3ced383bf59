"""An observation on another grid, read as a whole or by windows that equal the same part of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.rasters.grids import Grid, Part
from terrascope.rasters.layers import to_decibels, to_power
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.survey import set_to_zero
from terrascope.rasters.windows import both, unless_all
from terrascope.reduction import Reduced
from terrascope.scene import Observation

_STRIP_PIXELS = 4_000_000
"""Pixels of one band that are made at a time while the whole image is gone through."""


class WarpedStore:
    """The pixels of an observation on another grid, read by windows: a `PixelStore`. SAR is resampled as power."""

    def __init__(self, observation: Observation, source: Grid, target: Grid, *, as_power: bool) -> None:
        """Nothing is read yet. `source` is the grid of the observation.

        Raises:
            SceneError: there is no way from the one grid to the other.
        """
        self._observation, self._target, self._as_power = observation, target, as_power
        self._resampler = Resampler(source, target)
        self._valid: NDArray[np.bool_] | None = None
        self.reduced: Reduced | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self._observation.bands), *self._target.shape

    def read(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[np.float32]:
        """As `PixelStore.read`."""
        result = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), np.float32)
        valid = None if self._valid is None else unless_all(self._valid[rows, columns])
        for band, out in zip(bands, result, strict=True):
            numbers = self._resampler.read((rows, columns), self._part_of(band), key=band)[0]
            out[...] = to_decibels(numbers) if self._as_power else numbers
            set_to_zero(out, both(valid, unless_all(np.isfinite(out))))
        return result

    def parts(self, bands: Sequence[int]) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """As `PixelStore.parts`."""
        for part in self._strips():
            yield part, self.read(bands, *part)

    def survey(self, *, keep: bool) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
        """As `FileStore.survey`: a pixel is valid where the observation has a valid pixel to make it of."""
        num_bands, height, width = self.shape
        valid = np.zeros((height, width), bool)
        for part in self._strips():
            valid[part] = np.isfinite(self._resampler.read(part, self._valid_part, key="valid")[0])
        self._valid = valid
        if not keep:
            return valid, None
        return valid, self.read(range(num_bands), *self._target.whole)

    def _strips(self) -> Iterator[Part]:
        height, width = self._target.shape
        rows_at_once = max(1, _STRIP_PIXELS // (width * self._resampler.block)) * self._resampler.block
        for top in range(0, height, rows_at_once):
            yield slice(top, min(top + rows_at_once, height)), slice(0, width)

    def _part_of(self, band: int) -> Callable[[slice, slice], NDArray[np.float32]]:
        name = self._observation.bands[band]

        def read_part(rows: slice, columns: slice) -> NDArray[np.float32]:
            part = self._observation.window(rows, columns, (name,))
            assert isinstance(part.pixels, np.ndarray)
            numbers = to_power(part.pixels) if self._as_power else part.pixels
            return np.where(part.valid, numbers, np.float32(np.nan))

        return read_part

    def _valid_part(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        return np.where(self._observation.valid[rows, columns], np.float32(1), np.float32(np.nan))[None]
