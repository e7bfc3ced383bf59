"""Pixels that stay in their files: an image is read as a whole, or by windows that equal the same part of the whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray

from terrascope.rasters.bands import Layer, Reading
from terrascope.rasters.files import open_raster, read_window, stated_scaling
from terrascope.rasters.grids import Grid, Part
from terrascope.rasters.plausibility import check_decibels, check_numbers
from terrascope.rasters.registry import Sensor
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.sensors import to_physical

Progress = Callable[[str, int, int], None]
"""Is told the image that is being read, its rows read so far, and all its rows."""

_STRIP_PIXELS = 4_000_000
"""Pixels of one band that are held at a time while a whole image is gone through."""

_TALLEST_STRIP = 4
"""So many times as many pixels are held where the blocks of the file are that tall."""

_SAMPLED_DECIBELS = 4_000_000
"""Values of backscatter that are kept to see whether they can be decibels."""


class FileStore:
    """The bands of one image in physical values on one grid, read from its files by windows: a `PixelStore`.

    Layers of another resolution, extent or CRS are resampled. SAR is resampled as linear power, because the mean of
    decibels is not the decibels of the mean. Files stay open. One window is read at a time, whoever asks.
    """

    def __init__(
        self,
        reading: Reading,
        grids: Mapping[str, Grid],
        target: Grid,
        *,
        source: str,
        scaling: tuple[float, float] | None = None,
        allow_virtual: bool = False,
    ) -> None:
        """Nothing is read yet.

        Args:
            reading: what each layer is. grids: the grid of each of its files. target: the grid to read onto.
            source: name of the image in messages.
            scaling: scale and offset that take the place of the sensor's, where the file itself states none.

        Raises:
            SceneError: a layer cannot be brought onto the target.
        """
        self._source, self._target, self._sensor = source, target, reading.sensor
        files = _Files(allow_virtual=allow_virtual)

        def reader(layer: Layer) -> _LayerReader:
            return _LayerReader(layer, reading.sensor, Resampler(grids[layer.path], target), files, scaling)

        self._bands = [reader(layer) for layer in reading.bands.values()]
        self._quality = [(reader(layer), reading.sensor.quality[name]) for name, layer in reading.quality.items()]
        self._valid: NDArray[np.bool_] | None = None
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self._bands), *self._target.shape

    def read(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[np.float32]:
        """As `PixelStore.read`.

        Raises:
            SceneError: a file is damaged or its server fails.
        """
        with self._lock:
            parts = [self._bands[band].measure((rows, columns))[0] for band in bands]
        numbers = np.stack(parts) if parts else np.zeros((0, rows.stop - rows.start, columns.stop - columns.start))
        seen = np.isfinite(numbers) if self._valid is None else np.isfinite(numbers) & self._valid[rows, columns]
        return np.where(seen, numbers, np.float32(0)).astype(np.float32, copy=False)

    def survey(
        self, bands: Sequence[int], *, keep: bool, progress: Progress | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
        """Go through the image once, in strips of rows: which pixels are valid, and can the numbers be what they claim?

        Args:
            bands: numbers of the bands that a valid pixel must have, all of them (of an 8-bit picture: any).
            keep: keep the pixels of these bands.

        Returns:
            valid bool `[H, W]`, and pixels float32 `[bands, H, W]`, 0 outside `valid`, if they are kept. What `read`
            gives is 0 outside `valid` from now on.

        Raises:
            SceneError: as `read`; or the values cannot be those of the sensor.
        """
        height, width = self._target.shape
        valid = np.zeros((height, width), bool)
        pixels = np.zeros((len(bands), height, width), np.float32) if keep else None
        decibels = _DecibelSample(self._source, height * width * len(bands))
        readers = [self._bands[band] for band in bands]
        with self._lock:
            for reader in readers:
                reader.seen = NumberRange()
            for rows in strips(height, width, max((reader.block_rows() for reader in readers), default=1)):
                part = rows, slice(0, width)
                kept = []
                seen_all = np.ones((rows.stop - rows.start, width), bool)
                seen_any, blank = ~seen_all, seen_all.copy()
                for reader in readers:
                    numbers, is_fill = reader.measure(part)
                    finite = np.isfinite(numbers)
                    seen_all &= finite
                    seen_any |= finite
                    blank &= is_fill
                    if keep or self._is_backscatter:
                        kept.append(numbers)
                # In an 8-bit picture a 0 in one channel is a dark colour, even where the file declares 0 to be nodata.
                valid[rows] = (seen_any if self._sensor.is_8bit else seen_all) & ~blank
                for reader, unmeasured in self._quality:
                    valid[rows] &= ~reader.equals(unmeasured, part)
                for number, strip in enumerate(kept):
                    if self._is_backscatter:
                        decibels.add(strip, valid[rows])
                    if pixels is not None:
                        pixels[number, rows] = np.where(valid[rows] & np.isfinite(strip), strip, np.float32(0))
                if progress is not None:
                    progress(self._source, rows.stop, height)
            for reader in readers:
                reader.check(self._source)
        decibels.check()
        self._valid = valid
        return valid, pixels

    @property
    def _is_backscatter(self) -> bool:
        return self._sensor.modality == "sar" and not self._sensor.is_8bit


@dataclass
class NumberRange:
    """Smallest and largest of the numbers seen so far, as stored; None before the first."""

    low: float | None = None
    high: float | None = None

    def add(self, numbers: NDArray[np.float32], measured: NDArray[np.bool_]) -> None:
        if measured.any():
            low = float(np.min(numbers, where=measured, initial=np.inf))
            high = float(np.max(numbers, where=measured, initial=-np.inf))
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)


class _Files:
    """The files of one image, each opened when it is first read."""

    def __init__(self, *, allow_virtual: bool) -> None:
        self._allow_virtual = allow_virtual
        self._opened: dict[str, rasterio.DatasetReader] = {}

    def open(self, path: str) -> rasterio.DatasetReader:
        if path not in self._opened:
            self._opened[path] = open_raster(path, allow_virtual=self._allow_virtual)
        return self._opened[path]


class _LayerReader:
    """One layer of a file in physical values on the target grid."""

    def __init__(
        self,
        layer: Layer,
        sensor: Sensor,
        resampler: Resampler,
        files: _Files,
        scaling: tuple[float, float] | None,
    ) -> None:
        self._layer, self._sensor, self._resampler, self._files = layer, sensor, resampler, files
        self._unstated_scaling = scaling or (sensor.scale, sensor.offset)
        # What lies between two pixels is the mean of their power.
        self._as_power = sensor.modality == "sar" and not sensor.is_8bit and not self._resampler.is_exact
        self.seen: NumberRange | None = None
        """Collects the numbers of the measured pixels, where wanted."""

    def measure(self, part: Part) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Physical values float32 `[rows, columns]`, NaN where not measured, and where the sensor's fill is stored."""
        # Fill travels along as a band of its own, so that it is judged on the target, where all bands must agree.
        numbers, is_fill = self._resampler.read(part, self._physical, num_bands=2)
        return (to_decibels(numbers) if self._as_power else numbers), is_fill == 1

    def equals(self, code: int, part: Part) -> NDArray[np.bool_]:
        """bool `[rows, columns]`: True where the layer holds the code, or where resampled, mostly the code."""

        def is_code(rows: slice, columns: slice) -> NDArray[np.float32]:
            numbers, _ = read_window(self._files.open(self._layer.path), self._layer, (rows, columns))
            return (numbers == code).astype(np.float32)[None]

        return self._resampler.read(part, is_code)[0] > 0.5

    def block_rows(self) -> int:
        """Rows of the target that should be read together, so that no stored block is decoded twice."""
        if not self._resampler.is_exact:
            return self._resampler.block
        return int(self._files.open(self._layer.path).block_shapes[self._layer.index - 1][0])

    def check(self, source: str) -> None:
        """Refuse the numbers seen if they cannot be what the sensor stores."""
        if self.seen is None or self.seen.low is None or self.seen.high is None:
            return
        check_numbers(
            np.array([self.seen.low, self.seen.high], np.float32),
            self._layer,
            self._sensor,
            source,
            scaling=self._scaling(),
        )
        self.seen = None

    def _scaling(self) -> tuple[float, float]:
        stated = stated_scaling(self._files.open(self._layer.path), self._layer.index)
        return stated or self._unstated_scaling

    def _physical(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        numbers, measured = read_window(self._files.open(self._layer.path), self._layer, (rows, columns))
        if self.seen is not None:
            self.seen.add(numbers, measured)
        with np.errstate(over="ignore", invalid="ignore"):
            physical, has_meaning = to_physical(self._sensor, numbers, self._scaling())
        result = np.empty((2, *numbers.shape), np.float32)
        result[0] = np.where(measured & has_meaning, physical, np.float32(np.nan))
        result[1] = False if self._sensor.fill is None else numbers == np.float32(self._sensor.fill)
        if self._as_power:
            result[0] = to_power(result[0])
        return result


class _DecibelSample:
    """Backscatter values spread over an image: all of a small one."""

    def __init__(self, source: str, num_values: int) -> None:
        self._source = source
        self._step = max(1, round((num_values / _SAMPLED_DECIBELS) ** 0.5))
        self._values: list[NDArray[np.float32]] = []

    def add(self, decibels: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        thin = (slice(None, None, self._step),) * 2
        self._values.append(decibels[thin][valid[thin] & np.isfinite(decibels[thin])])

    def check(self) -> None:
        if self._values:
            check_decibels(np.concatenate(self._values), self._source)


def strips(height: int, width: int, block_rows: int) -> Iterator[slice]:
    """Parts of the rows that hold whole blocks, about `_STRIP_PIXELS` each."""
    at_once = max(1, _STRIP_PIXELS // (width * block_rows)) * block_rows
    at_once = max(1, min(at_once, _TALLEST_STRIP * _STRIP_PIXELS // width))
    for top in range(0, height, at_once):
        yield slice(top, min(top + at_once, height))


def to_power(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear power of backscatter, which may be averaged; NaN stays NaN."""
    power: NDArray[np.float32] = np.power(np.float32(10), decibels / np.float32(10), dtype=np.float32)
    return power


def to_decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Backscatter in decibels of linear power, not finite where there is no power."""
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels: NDArray[np.float32] = np.float32(10) * np.log10(power, dtype=np.float32)
    return decibels
