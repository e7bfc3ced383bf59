"""An observation on another grid, read as a whole or by windows that equal the same part of the whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.rasters.grids import Grid
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.store import strips, to_decibels, to_power
from terrascope.scene import Observation


class WarpedStore:
    """The pixels of an observation on another grid, read by windows: a `PixelStore`. SAR is resampled as power."""

    def __init__(self, observation: Observation, source: Grid, target: Grid, *, as_power: bool) -> None:
        """Nothing is read yet. `source` is the grid of the observation.

        Raises:
            SceneError: there is no way from the one grid to the other.
        """
        self._observation, self._target, self._as_power = observation, target, as_power
        self._resampler = Resampler(source, target)
        self._lock = threading.Lock()
        self._valid: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self._observation.bands), *self._target.shape

    def read(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[np.float32]:
        """As `PixelStore.read`."""
        result = np.zeros((len(bands), rows.stop - rows.start, columns.stop - columns.start), np.float32)
        with self._lock:
            for band, out in zip(bands, result, strict=True):
                numbers = self._resampler.read((rows, columns), self._part_of(band), key=band)[0]
                numbers = to_decibels(numbers) if self._as_power else numbers
                seen = np.isfinite(numbers)
                if self._valid is not None:
                    seen &= self._valid[rows, columns]
                out[:] = np.where(seen, numbers, np.float32(0))
        return result

    def survey(self, *, keep: bool) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
        """As `FileStore.survey`: a pixel is valid where the observation has a valid pixel to make it of."""
        num_bands, height, width = self.shape
        valid = np.zeros((height, width), bool)
        pixels = np.zeros((num_bands, height, width), np.float32) if keep else None
        for rows in strips(height, width, self._resampler.block):
            part = rows, slice(0, width)
            with self._lock:
                valid[rows] = np.isfinite(self._resampler.read(part, self._valid_part, key="valid")[0])
            if pixels is not None:
                pixels[:, rows] = np.where(valid[rows], self.read(range(num_bands), *part), np.float32(0))
        self._valid = valid
        return valid, pixels

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
