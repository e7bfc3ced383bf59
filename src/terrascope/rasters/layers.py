"""Layers of an image in physical values on the grid of the image, whatever grid their files have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.rasters.bands import Layer
from terrascope.rasters.grids import Part
from terrascope.rasters.paths import absolute_path
from terrascope.rasters.plausibility import check_numbers
from terrascope.rasters.registry import Sensor
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.sensors import make_physical
from terrascope.rasters.windows import Mask, OpenRaster, both, unless_all

OpenPath = Callable[[str], OpenRaster]


@dataclass
class NumberRange:
    """Smallest and largest of the numbers seen so far, as stored; None before the first."""

    low: float | None = None
    high: float | None = None

    def add(self, numbers: NDArray[np.float32], measured: Mask | None) -> None:
        """Take up numbers where `measured` is True; None is everywhere."""
        chosen = numbers if measured is None else numbers[measured]
        if chosen.size:
            self.join(NumberRange(float(chosen.min()), float(chosen.max())))

    def join(self, other: NumberRange) -> None:
        if other.low is not None and other.high is not None:
            self.low = other.low if self.low is None else min(other.low, self.low)
            self.high = other.high if self.high is None else max(other.high, self.high)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a part of a layer beside its numbers.

    Attributes:
        seen: where it was measured; None is everywhere.
        is_fill: where the sensor's fill is stored; None is nowhere.
        stored: range of the stored numbers that were measured.
    """

    seen: Mask | None
    is_fill: Mask | None
    stored: NumberRange


class LayerReader:
    """One layer of a file on the grid of an image."""

    def __init__(
        self, layer: Layer, sensor: Sensor, resampler: Resampler, scaling: tuple[float, float] | None = None
    ) -> None:
        """`scaling` takes the place of the sensor's scale and offset, where the file states none."""
        self.layer, self._sensor, self._resampler = layer, sensor, resampler
        self._unstated_scaling = scaling or (sensor.scale, sensor.offset)
        # What lies between two pixels is the mean of their power.
        self._as_power = sensor.modality == "sar" and not sensor.is_8bit and not resampler.is_exact

    def __getstate__(self) -> dict[str, Any]:
        # It may be opened again by a process that runs in another folder.
        return {**vars(self), "layer": replace(self.layer, path=absolute_path(self.layer.path))}

    def equals(self, code: int, part: Part, open_path: OpenPath) -> Mask:
        """bool `[rows, columns]`: True where the layer holds the code, or where resampled, mostly the code."""

        def is_code(rows: slice, columns: slice) -> NDArray[np.float32]:
            numbers, _ = open_path(self.layer.path).read([self.layer.index], (rows, columns))
            return (numbers == code).astype(np.float32)

        return self._resampler.read(part, is_code)[0] > 0.5

    def blocks(self, open_path: OpenPath) -> tuple[Part, bool]:
        """A block of the grid that should be read as a whole, where others follow in all directions; and True if
        blocks are decoded faster side by side.
        """
        raster = open_path(self.layer.path)
        if not self._resampler.is_exact:
            return (slice(0, self._resampler.block),) * 2, raster.reads_in_parallel
        height, width = raster.block_shapes[self.layer.index - 1]
        top, left = self._resampler.offset
        return (slice(top, top + height), slice(left, left + width)), raster.reads_in_parallel

    def check(self, stored: NumberRange, source: str, open_path: OpenPath) -> None:
        """Refuse stored numbers of this range if the sensor cannot have stored them.

        Raises:
            SceneError: it cannot.
        """
        if stored.low is None or stored.high is None:
            return
        ends = np.array([stored.low, stored.high], np.float32)
        scaling = self._scaling(open_path(self.layer.path))
        check_numbers(ends, self.layer, self._sensor, source, scaling=scaling)

    def stored_part(self, part: Part) -> Part | None:
        """The part of the file that is a part of the grid pixel by pixel; None if there is no such part."""
        if not self._resampler.is_exact:
            return None
        found = self._resampler.source_part(part)
        return found if found is not None and _shape(found) == _shape(part) else None

    def make_physical(self, raster: OpenRaster, numbers: NDArray[np.float32], measured: Mask | None) -> Measured:
        """Stored numbers become what they mean, in place; what was not measured may become anything."""
        stored = NumberRange()
        stored.add(numbers, measured)
        is_fill = None
        fill = self._sensor.fill
        if fill is not None and not (measured is None and stored.low is not None and stored.low > fill):
            is_fill = numbers == np.float32(fill)
        with np.errstate(over="ignore", invalid="ignore"):
            meant = make_physical(self._sensor, numbers, self._scaling(raster))
        return Measured(seen=both(measured, meant), is_fill=is_fill, stored=stored)

    def resample(self, part: Part, open_path: OpenPath, out: NDArray[np.float32]) -> Measured:
        """Read a part of the grid into `out`, float32 `[rows, columns]`, from a file of another grid or extent."""
        stored = NumberRange()

        def physical(rows: slice, columns: slice) -> NDArray[np.float32]:
            raster = open_path(self.layer.path)
            (numbers,), (measured,) = raster.read([self.layer.index], (rows, columns))
            found = self.make_physical(raster, numbers, measured)
            stored.join(found.stored)
            # Fill travels along as a band of its own, so that it is judged on the target, where all bands must agree.
            result = np.zeros((2, *numbers.shape), np.float32)
            if found.seen is not None:
                np.copyto(numbers, np.nan, where=~found.seen)
            result[0] = to_power(numbers) if self._as_power else numbers
            if found.is_fill is not None:
                result[1] = found.is_fill
            return result

        numbers, is_fill = self._resampler.read(part, physical, num_bands=2)
        out[...] = to_decibels(numbers) if self._as_power else numbers
        return Measured(seen=unless_all(np.isfinite(out)), is_fill=is_fill == 1, stored=stored)

    def _scaling(self, raster: OpenRaster) -> tuple[float, float]:
        return raster.stated_scaling(self.layer.index) or self._unstated_scaling


def measure(
    readers: Sequence[LayerReader], part: Part, open_path: OpenPath, out: NDArray[np.float32]
) -> list[Measured]:
    """Read a part of layers into `out`, float32 `[layers, rows, columns]`: physical values where they were measured.

    Neighbours of one file are read in one go, as its blocks may hold all of them.

    Raises:
        SceneError: a file is damaged or its server fails.
    """
    found: list[Measured] = []
    for (path, stored_part), run in groupby(readers, lambda reader: (reader.layer.path, reader.stored_part(part))):
        together = list(run)
        targets = out[len(found) : len(found) + len(together)]
        if stored_part is None:
            found += [
                reader.resample(part, open_path, target) for reader, target in zip(together, targets, strict=True)
            ]
            continue
        raster = open_path(path)
        _, measured = raster.read([reader.layer.index for reader in together], stored_part, targets)
        for reader, numbers, known in zip(together, targets, measured, strict=True):
            found.append(reader.make_physical(raster, numbers, known))
    return found


def _shape(part: Part) -> tuple[int, int]:
    rows, columns = part
    return rows.stop - rows.start, columns.stop - columns.start


def to_power(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear power of backscatter, which may be averaged; NaN stays NaN."""
    # No backscatter is beyond float32; what claims to be becomes infinite, which counts as not measured.
    with np.errstate(over="ignore"):
        power: NDArray[np.float32] = np.power(np.float32(10), decibels / np.float32(10), dtype=np.float32)
    return power


def to_decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Backscatter in decibels of linear power, not finite where there is no power."""
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels: NDArray[np.float32] = np.float32(10) * np.log10(power, dtype=np.float32)
    return decibels
