"""Bands that lie in memory as they are stored, each in its own resolution, as one observation.

`rasters.read` does the same for files. This is the short way for data sets whose layout is known: nothing has to be
found out, and no file is opened twice.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.rasters.grids import Grid
from terrascope.rasters.layers import to_decibels, to_power
from terrascope.rasters.plausibility import check_decibels
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.sensors import Sensor, sensor_named, to_physical
from terrascope.scene import Observation
from terrascope.sources.chips import ChipError
from terrascope.sources.stored import StoredRaster


def stack_bands(
    stored: Mapping[str, StoredRaster],
    grid: Grid,
    *,
    sensor: str,
    nodata: float | None = None,
    date: datetime.date | None = None,
    source: str,
) -> Observation:
    """One observation of bands in the order of the mapping: physical values on a grid.

    A band is the first layer of its raster. One of another grid is resampled bilinearly, backscatter as linear power.

    What is not finite was not measured.

    Args:
        nodata: number that marks a pixel of a band as unmeasured. Without one, the sensor's fill marks those that hold
            it in every band, which are of one size then.

    Raises:
        ChipError: the values cannot be those of the sensor, or nothing was measured.
    """
    known = sensor_named(sensor)
    unmeasured = [band.numbers[0] == (known.fill if nodata is None else nodata) for band in stored.values()]
    if nodata is None:
        unmeasured = [np.logical_and.reduce(unmeasured)] * len(stored)
    pixels = np.stack(
        [_on_grid(band, grid, known, hidden) for band, hidden in zip(stored.values(), unmeasured, strict=True)]
    )
    valid: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(pixels))
    if not valid.any():
        raise ChipError(f"{source}: every pixel is nodata", reason="nothing measured")
    if known.quantity == "decibels":
        try:
            check_decibels(pixels[:, valid], source)
        except SceneError as error:
            raise ChipError(str(error), reason="unreadable image") from error
    pixels[:, ~valid] = 0
    return Observation(
        pixels=pixels,
        bands=tuple(stored),
        modality=known.modality,
        sensor=sensor,
        valid=valid,
        georeference=grid.georeference,
        date=date,
        source=source,
    )


def _on_grid(band: StoredRaster, grid: Grid, sensor: Sensor, unmeasured: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Physical values float32 of a band on a grid, NaN where it was not measured."""
    numbers, measured = to_physical(sensor, band.numbers[0])
    numbers[unmeasured | ~measured] = np.nan
    if band.grid.equals(grid):
        return numbers
    as_power = sensor.quantity == "decibels"
    if as_power:
        numbers = to_power(numbers)
    try:
        resampled = Resampler(band.grid, grid).read(grid.whole, lambda rows, columns: numbers[None, rows, columns])[0]
    except SceneError as error:
        raise ChipError(f"{band.source}: {error}", reason="images of no one grid") from error
    return to_decibels(resampled) if as_power else resampled
