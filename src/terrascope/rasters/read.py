"""From files to observations and scenes: GeoTIFF, COG, JPEG 2000, PNG and JPEG, as a stack or one band a file."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Real

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.files import ImagePath
from terrascope.rasters.grids import Grid, LonLatBox, check_box, describe_pixel_size, pixel_sides_m
from terrascope.rasters.image_files import IN_MEMORY_PIXELS, MAX_PIXELS, ImageFiles, Limits, find_image, load
from terrascope.rasters.one_grid import bring_onto, common_part, short_names, take_as_one
from terrascope.rasters.store import Progress
from terrascope.rasters.time_order import check_days, gap_notes, in_time_order
from terrascope.scene import Modality, Observation, Scene

__all__ = ["IN_MEMORY_PIXELS", "MAX_PIXELS", "open_scene", "read_observation"]


def read_observation(
    path_or_paths: ImagePath,
    *,
    sensor: str | None = None,
    modality: Modality = "optical",
    date: datetime.date | None = None,
    gsd_m: float | None = None,
    nodata: float | None = None,
    max_pixels: int = MAX_PIXELS,
    in_memory_pixels: int = IN_MEMORY_PIXELS,
    allow_virtual: bool = False,
    progress: Progress | None = None,
) -> Observation:
    """Read one image.

    What its numbers mean is told by the caller, else by the product's metadata and names, the names of layers and
    files, colour interpretation (8-bit RGB), and numbers, in this order; what nothing tells is refused or said in
    `assumptions`. Files of several resolutions meet on the finest grid. Scale and offset that a file states take the
    place of the sensor's. Nodata, NaN, alpha and masks make `valid`.

    An image above `in_memory_pixels` stays in its files (`Observation.pixels` is a `PixelStore`). Its `valid` goes by
    the bands of its picture and its quality layers alone, so that the other bands need not be gone through.

    Args:
        path_or_paths: a file, an address, a folder of single-band files, or a list of such files.
        sensor: a name of `terrascope.rasters.sensors.SENSORS`; None to go by what the file says.
        date: day of acquisition; None to go by what the file says.
        gsd_m: pixel size in metres, where the file does not know it or is wrong about it.
        nodata: number that marks unmeasured pixels, where the file does not say it: in an 8-bit picture those that hold
            it in every band, in other images those that hold it in one.
        max_pixels: rows x columns above which the image is refused.
        in_memory_pixels: rows x columns above which it stays in its files.
        allow_virtual: also open formats and paths that lead to other files: VRT, `/vsi...`.
        progress: is called with the image's name, rows read and rows in all.

    Raises:
        SceneError: missing, unreadable, too large, empty or all-nodata; bands unknown or missing; values that cannot
            be what the sensor claims.
    """
    _check_words(gsd_m, nodata, sensor)
    limits = Limits(
        max_pixels=max_pixels, in_memory_pixels=in_memory_pixels, allow_virtual=allow_virtual, progress=progress
    )
    image = find_image(path_or_paths, sensor=sensor, modality=modality, date=date, limits=limits, nodata=nodata)
    observation = load(image, limits)
    if not observation.valid.any():
        raise SceneError(f"{image.source}: every pixel is nodata; give an image with at least one valid pixel")
    return replace(observation, georeference=_sized(observation.georeference, gsd_m))


def open_scene(
    *,
    optical: ImagePath | Sequence[ImagePath] = (),
    sar: ImagePath | Sequence[ImagePath] = (),
    dates: Sequence[datetime.date | str] | None = None,
    sensor: str | None = None,
    sar_sensor: str | None = None,
    gsd_m: float | None = None,
    nodata: float | None = None,
    reference: Modality | None = None,
    bbox: LonLatBox | None = None,
    max_pixels: int = MAX_PIXELS,
    in_memory_pixels: int = IN_MEMORY_PIXELS,
    allow_virtual: bool = False,
    progress: Progress | None = None,
) -> Scene:
    """Read all images of a scene onto one grid: the part of the reference's grid that all of them cover.

    Images of another CRS, resolution or extent are resampled bilinearly, SAR as linear power. Images that know no place
    must have the size of the others. Whatever was done is said in `Scene.notes`.

    Args:
        optical, sar: one image per date, each a file, an address, a folder, or a list of single-band files.
        dates: one day per date (`datetime.date` or `YYYY-MM-DD`); None to go by what the files say. The pairs are put
            in order of their days, if all are known.
        reference: whose grid is used: that of the first optical or of the first SAR image; None for the first optical,
            else the first SAR image.
        bbox: west, south, east and north in degrees: the part of the scene to use, widened to whole pixels.
        sensor, sar_sensor, gsd_m, nodata, max_pixels, in_memory_pixels, allow_virtual, progress: as for
            `read_observation`.

    Raises:
        SceneError: as `read_observation`; or the images do not overlap, or cannot be paired.
    """
    _check_words(gsd_m, nodata, sensor, sar_sensor)
    optical_paths, sar_paths = _images(optical, "optical"), _images(sar, "sar")
    box = None if bbox is None else check_box(bbox)
    if reference not in (None, "optical", "sar"):
        raise SceneError(f"reference {reference!r} is not known; choose optical or sar")
    num_dates = max(len(optical_paths), len(sar_paths))
    days = check_days(dates, num_dates)
    limits = Limits(
        max_pixels=max_pixels, in_memory_pixels=in_memory_pixels, allow_virtual=allow_virtual, progress=progress
    )

    def find_all(paths: Sequence[ImagePath], modality: Modality, name: str | None) -> list[ImageFiles]:
        return [
            find_image(path, sensor=name, modality=modality, date=day, limits=limits, nodata=nodata)
            for path, day in zip(paths, days, strict=False)
        ]

    if not num_dates:
        raise SceneError("a scene needs at least one image")
    if optical_paths and sar_paths and len(optical_paths) != len(sar_paths):
        raise SceneError(
            f"{len(optical_paths)} optical and {len(sar_paths)} SAR images cannot be paired; "
            "give one SAR image per date"
        )
    images = [*find_all(optical_paths, "optical", sensor), *find_all(sar_paths, "sar", sar_sensor)]
    images, notes = take_as_one(images)
    leading = _reference(images, reference)
    part, part_notes = common_part(images, leading, box)
    target = leading.grid.window(part)
    names = short_names(images)
    observations = []
    for image in images:
        observation, warp_notes = bring_onto(image, target, limits, names=names, reference=leading)
        observations.append(observation)
        notes += warp_notes
    notes += part_notes + _size_notes(target, gsd_m)
    observations = [replace(o, georeference=_sized(target.georeference, gsd_m)) for o in observations]
    opticals, sars, order_notes = in_time_order(
        [o for o in observations if o.modality == "optical"],
        [o for o in observations if o.modality == "sar"],
        are_stated=dates is not None,
    )
    return replace(Scene.of(optical=opticals, sar=sars), notes=tuple(notes + order_notes + gap_notes(opticals, sars)))


def _reference(images: Sequence[ImageFiles], modality: str | None) -> ImageFiles:
    """`images` holds the optical images before the SAR images."""
    if modality is None:
        return images[0]
    found = next((image for image in images if image.modality == modality), None)
    if found is None:
        raise SceneError(f"reference {modality} was asked for, but the scene has no {modality} image")
    return found


def _sized(georeference: Georeference, gsd_m: float | None) -> Georeference:
    return georeference if gsd_m is None else replace(georeference, gsd_m=gsd_m)


def _size_notes(grid: Grid, gsd_m: float | None) -> list[str]:
    """Say it if the stated pixel size is not that of the file, by more than 1 %."""
    if gsd_m is None:
        return []
    sides = pixel_sides_m(grid)
    if sides is None or all(abs(side / gsd_m - 1) <= 0.01 for side in sides):
        return []
    return [f"The pixel size is stated as {gsd_m:g} m; the file says {describe_pixel_size(grid)}."]


def _images(images: object, name: str) -> list[ImagePath]:
    if isinstance(images, str | bytes | os.PathLike):
        return [os.fsdecode(images)]
    if isinstance(images, dict | set | frozenset) or not isinstance(images, Iterable):
        raise SceneError(f"{name} is {images!r}; give the path of an image, or a list with one image per date")
    return list(images)


def _check_words(gsd_m: object, nodata: object, *sensors: object) -> None:
    if nodata is not None and (isinstance(nodata, bool) or not isinstance(nodata, Real)):
        raise SceneError(f"nodata is {nodata!r}; give the number that marks unmeasured pixels")
    if gsd_m is not None:
        if isinstance(gsd_m, bool) or not isinstance(gsd_m, Real):
            raise SceneError(f"gsd_m is {gsd_m!r}; give the pixel size as a number of metres")
        Georeference(gsd_m=float(gsd_m))  # refuses a size that no pixel has
    for sensor in sensors:
        if sensor is not None and not isinstance(sensor, str):
            raise SceneError(f"the sensor is given as {sensor!r}; give its name, such as sentinel-2")
