"""From files to observations and scenes: GeoTIFF, COG, JPEG 2000, PNG and JPEG, as a stack or one band a file."""

from __future__ import annotations

import datetime
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.rasters.bands import Reading, name_bands
from terrascope.rasters.files import (
    ImagePath,
    describe_layers,
    find_files,
    has_offset,
    read_grid,
    read_layer,
)
from terrascope.rasters.grids import Grid, resample
from terrascope.rasters.plausibility import check_decibels, check_numbers
from terrascope.rasters.sensors import SENSORS
from terrascope.scene import Modality, Observation, Scene

MAX_PIXELS = 64_000_000
"""Rows x columns above which an image is refused, because the memory for its bands would run out first."""


def read_observation(
    path_or_paths: ImagePath,
    *,
    sensor: str | None = None,
    modality: Modality = "optical",
    date: datetime.date | None = None,
    gsd_m: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Observation:
    """Read one image.

    Bands are told by GDAL descriptions, by the names of single-band files, by colour interpretation (8-bit RGB), or by
    the order of the named sensor; anything else is refused. Files of several resolutions meet on the finest grid.
    Scale and offset that a file states take the place of the sensor's. Nodata, NaN, alpha and masks make `valid`.

    Args:
        path_or_paths: a file, a folder of single-band files, or a list of such files.
        sensor: a name of `terrascope.rasters.sensors.SENSORS`; None to go by what the file says.
        gsd_m: pixel size in metres, where the file does not know it or is wrong about it.
        max_pixels: rows x columns above which the image is refused.

    Raises:
        SceneError: missing, unreadable, too large, empty or all-nodata; bands unknown or missing; values that cannot
            be what the sensor claims.
    """
    paths, source, is_folder = find_files(path_or_paths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        layers = [layer for path in paths for layer in describe_layers(path, max_pixels)]
        if is_folder:
            # A product's folder also holds previews and other stacks; only its single-band files are one image.
            num_layers = Counter(layer.path for layer in layers)
            layers = [layer for layer in layers if num_layers[layer.path] == 1] or layers
        reading = name_bands(layers, sensor=sensor, modality=modality, source=source)
        if sensor is None and reading.sensor.name == "sentinel-2" and has_offset(paths):
            reading = replace(reading, sensor=SENSORS["sentinel-2-offset"])
        pixels, valid, grid = _read_bands(reading, source)
    if not valid.any():
        raise SceneError(f"{source}: every pixel is nodata; give an image with at least one valid pixel")
    if gsd_m is not None:
        grid = replace(grid, georeference=replace(grid.georeference, gsd_m=gsd_m))
    return Observation(
        pixels=np.where(valid, pixels, np.float32(0.0)),
        bands=tuple(reading.bands),
        modality=modality,
        sensor=reading.sensor.name,
        valid=valid,
        georeference=grid.georeference,
        date=date,
        source=source,
    )


def open_scene(
    *,
    optical: ImagePath | Sequence[ImagePath] = (),
    sar: ImagePath | Sequence[ImagePath] = (),
    dates: Sequence[datetime.date | str] | None = None,
    sensor: str | None = None,
    sar_sensor: str | None = None,
    gsd_m: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Scene:
    """Read all images of a scene onto the grid of the first optical (else the first SAR) image.

    Images in another CRS, resolution or extent are resampled bilinearly; what they do not cover is not valid in them.
    Images without CRS must have one size.

    Args:
        optical, sar: one image per date, each a file, a folder, or a list of single-band files.
        dates: one day per date (`datetime.date` or `YYYY-MM-DD`); if given, the pairs are sorted by it.
        sensor, sar_sensor, gsd_m, max_pixels: as for `read_observation`.

    Raises:
        SceneError: as `read_observation`; or the images do not overlap, or cannot be paired.
    """
    optical_images, sar_images = _images(optical), _images(sar)
    num_dates = max(len(optical_images), len(sar_images))
    days = _days(dates, num_dates)

    def read_all(images: Sequence[ImagePath], modality: Modality, name: str | None) -> list[Observation]:
        return [
            read_observation(image, sensor=name, modality=modality, date=day, gsd_m=gsd_m, max_pixels=max_pixels)
            for image, day in zip(images, days, strict=False)
        ]

    opticals = read_all(optical_images, "optical", sensor)
    sars = read_all(sar_images, "sar", sar_sensor)
    if opticals or sars:
        reference = (opticals or sars)[0]
        opticals = [_on_grid(observation, reference) for observation in opticals]
        sars = [_on_grid(observation, reference) for observation in sars]
    scene = Scene.of(optical=opticals, sar=sars)
    known = [day for day in days if day is not None]
    if len(known) < len(days):
        return scene
    order = sorted(range(num_dates), key=known.__getitem__)
    return Scene(tuple(scene.pairs[t] for t in order))


def _on_grid(observation: Observation, reference: Observation) -> Observation:
    source, target = _grid_of(observation), _grid_of(reference)
    if source.equals(target):
        return replace(observation, georeference=reference.georeference)
    if not (source.is_located and target.is_located):
        raise SceneError(
            f"{observation.source} ({source.width} x {source.height}) and {reference.source} "
            f"({target.width} x {target.height}) differ in size and have no CRS in common; give images of one grid"
        )
    stored = observation.window(slice(0, source.height), slice(0, source.width)).pixels
    assert isinstance(stored, np.ndarray)
    pixels = resample(np.where(observation.valid, stored, np.float32(np.nan)), source, target)
    valid = np.asarray(np.isfinite(pixels).all(axis=0))
    if not valid.any():
        raise SceneError(f"{observation.source} does not overlap {reference.source}; give images of one place")
    return replace(
        observation, pixels=np.where(valid, pixels, np.float32(0.0)), valid=valid, georeference=reference.georeference
    )


def _grid_of(observation: Observation) -> Grid:
    height, width = observation.shape
    return Grid(height=height, width=width, georeference=observation.georeference)


def _images(images: ImagePath | Sequence[ImagePath]) -> list[ImagePath]:
    return [images] if isinstance(images, str | os.PathLike) else list(images)


def _days(dates: Sequence[datetime.date | str] | None, num_dates: int) -> list[datetime.date | None]:
    if dates is None:
        return [None] * num_dates
    if len(dates) != num_dates:
        raise SceneError(f"{len(dates)} dates were given for {num_dates} images; give one date per image")
    days: list[datetime.date | None] = []
    for date in dates:
        try:
            days.append(datetime.date.fromisoformat(date) if isinstance(date, str) else date)
        except ValueError:
            raise SceneError(f"date {date!r} is not a day; write it as YYYY-MM-DD") from None
    return days


def _read_bands(reading: Reading, source: str) -> tuple[NDArray[np.float32], NDArray[np.bool_], Grid]:
    """Physical values float32 `[bands, H, W]`, valid `[H, W]` and the finest grid of the files."""
    sensor = reading.sensor
    grids = {layer.path: read_grid(layer.path) for layer in (*reading.bands.values(), *reading.quality.values())}
    target = max((grids[layer.path] for layer in reading.bands.values()), key=lambda grid: _fineness(grid))
    stored, blank = [], np.ones(target.shape, bool)
    for layer in reading.bands.values():
        numbers, measured, stated = read_layer(layer)
        scaling = stated or (sensor.scale, sensor.offset)
        check_numbers(numbers[measured], layer, sensor, source, scaling=scaling)
        physical = numbers * np.float32(scaling[0]) + np.float32(scaling[1])
        if sensor.power:
            measured &= physical > 0
            physical = 10 * np.log10(np.where(measured, physical, 1), dtype=np.float32)
        is_fill = np.zeros(numbers.shape, bool) if sensor.fill is None else numbers == np.float32(sensor.fill)
        if sensor.fill:
            measured &= ~is_fill
        # Fill travels along as its own band, so that it is judged on the common grid, where all bands must agree.
        layer_pixels = np.stack([np.where(measured, physical, np.nan), is_fill.astype(np.float32)]).astype(np.float32)
        on_target = resample(layer_pixels, grids[layer.path], target)
        stored.append(on_target[0])
        blank &= on_target[1] == 1
    pixels = np.stack(stored)
    measured_bands = np.isfinite(pixels)
    # In an 8-bit picture a 0 in one channel is a dark colour, even where the file declares 0 to be nodata.
    valid = (measured_bands.any(axis=0) if sensor.is_8bit else measured_bands.all(axis=0)) & ~blank
    if sensor.is_8bit:
        pixels = np.nan_to_num(pixels, nan=0.0)
    for name, layer in reading.quality.items():
        codes, _, _ = read_layer(layer)
        unmeasured = (codes == sensor.quality[name]).astype(np.float32)
        valid &= resample(unmeasured[None], grids[layer.path], target)[0] != 1
    if sensor.modality == "sar" and not sensor.is_8bit:
        check_decibels(pixels[:, valid], source)
    return pixels, valid, target


def _fineness(grid: Grid) -> float:
    transform = grid.georeference.transform
    return -abs(transform.determinant) if transform is not None else float(grid.height * grid.width)
