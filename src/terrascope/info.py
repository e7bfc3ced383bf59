"""What was understood of images: size, place, sensor, bands and values, from which evidence, and what was assumed."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.errors import ScaleError, SceneError
from terrascope.output import written_together
from terrascope.rasters.bands import tell_modality
from terrascope.rasters.files import ImagePath, describe_file, find_files
from terrascope.rasters.grids import LonLatBox
from terrascope.rasters.products import find_product
from terrascope.rasters.read import open_scene
from terrascope.rasters.registry import Sensor
from terrascope.rasters.sensors import SENSORS, render_overview, sensor_named
from terrascope.rasters.store import Progress
from terrascope.scene import Modality, Observation, Scene

PICTURE_SIDE = 512
"""Longest side of the picture of an image, in pixels."""

_UNITS = {"reflectance": "reflectance", "digital number": "digital number"}
"""Unit of an observation's pixels by the quantity that its sensor stores; any other has become decibels."""


@dataclass(frozen=True, kw_only=True)
class SceneInfo:
    """What was understood of images.

    Attributes:
        images: one scene for each image on its own grid, in the order given.
        scene: the images on one grid; None for a single image, or where they do not form one scene.
        problem: why they do not form one scene; "" where they do.
    """

    images: tuple[Scene, ...]
    scene: Scene | None = None
    problem: str = ""

    def to_dict(self, progress: Progress | None = None) -> dict[str, Any]:
        """The same as JSON knows it. All pixels are gone through for their values; `progress` is as in `look_at`."""
        return {
            "images": [_describe_image(scene, progress) for scene in self.images],
            "scene": None if self.scene is None else _describe_scene(self.scene),
            "problem": self.problem or None,
        }


def look_at(
    images: Sequence[ImagePath] = (),
    *,
    optical: Sequence[ImagePath] = (),
    sar: Sequence[ImagePath] = (),
    dates: Sequence[datetime.date | str] | None = None,
    sensor: str | None = None,
    sar_sensor: str | None = None,
    gsd_m: float | None = None,
    nodata: float | None = None,
    reference: Modality | None = None,
    bbox: LonLatBox | None = None,
    allow_virtual: bool = False,
    progress: Progress | None = None,
) -> SceneInfo:
    """Read images, each for itself and then together.

    Args:
        images: images whose modality is told by evidence; they come before those of `optical` and `sar`.
        optical, sar, dates, sensor, sar_sensor, gsd_m, nodata, allow_virtual, progress: as for
            `rasters.read.open_scene`. A sensor that is named for one modality only decides the modality of `images`.
        reference: whose grid they are on together, as there.
        bbox: west, south, east and north in degrees: the part to look at, of each image and of all together.

    Raises:
        SceneError: no image was given, or one cannot be read.
    """
    by_modality: dict[Modality, list[ImagePath]] = {"optical": list(optical), "sar": list(sar)}
    guessed: list[tuple[Modality, ImagePath]] = []
    for image in images:
        if (sensor is None) != (sar_sensor is None):
            modality: Modality = "optical" if sensor is not None else "sar"
        else:
            modality = guess_modality(image, allow_virtual=allow_virtual)
        guessed.append((modality, image))
    for modality in by_modality:
        by_modality[modality] = [image for told, image in guessed if told == modality] + by_modality[modality]
    if not any(by_modality.values()):
        raise SceneError("no image was given; name at least one file or folder")

    def open_images(
        which: Mapping[Modality, Sequence[ImagePath]],
        days: Sequence[datetime.date | str] | None,
        grid_of: Modality | None,
    ) -> Scene:
        return open_scene(
            optical=which.get("optical", ()),
            sar=which.get("sar", ()),
            dates=days,
            sensor=sensor,
            sar_sensor=sar_sensor,
            gsd_m=gsd_m,
            nodata=nodata,
            reference=grid_of,
            bbox=bbox,
            allow_virtual=allow_virtual,
            progress=progress,
        )

    num_images = sum(map(len, by_modality.values()))
    if num_images == 1:
        return SceneInfo(images=(open_images(by_modality, dates, reference),))
    alone = tuple(open_images({told: [image]}, None, None) for told, kind in by_modality.items() for image in kind)
    try:
        return SceneInfo(images=alone, scene=open_images(by_modality, dates, reference))
    except SceneError as error:
        return SceneInfo(images=alone, problem=str(error))


def guess_modality(image: ImagePath, *, allow_virtual: bool = False) -> Modality:
    """Optical or SAR, by the name of the product or the names of the layers.

    Raises:
        SceneError: the image cannot be opened.
    """
    product = find_product(image, allow_virtual=allow_virtual)
    if product.sensor is not None:
        return SENSORS[product.sensor].modality
    paths = product.files or find_files(image)[0]
    return tell_modality([layer for path in paths for layer in describe_file(path, allow_virtual=allow_virtual)[0]])


def _describe_image(scene: Scene, progress: Progress | None) -> dict[str, Any]:
    (observation,) = scene.observations
    sensor = sensor_named(observation.sensor)
    unit = _UNITS.get(sensor.quantity, "decibels")
    bands = {band.name: band for band in sensor.spectrum}
    return {
        "source": observation.source,
        "modality": observation.modality,
        "sensor": {"name": sensor.name, "description": sensor.description},
        "date": None if observation.date is None else observation.date.isoformat(),
        **_describe_grid(observation),
        "bands": [
            {
                "name": name,
                "role": bands[name].role or None,
                "wavelength_nm": bands[name].wavelength_nm,
                "resolution_m": bands[name].resolution_m,
                "unit": unit,
                **values,
            }
            for name, values in zip(observation.bands, _value_ranges(observation, progress), strict=True)
        ],
        "valid_share": float(observation.valid.mean()),
        "evidence": list(observation.evidence),
        "assumptions": [*observation.assumptions, *_doubts(observation, sensor)],
        "notes": list(scene.notes),
    }


def _describe_scene(scene: Scene) -> dict[str, Any]:
    return {
        "num_dates": len(scene.pairs),
        "dates": [None if date is None else date.isoformat() for date in scene.dates],
        "sources": [[observation.source for observation in pair.observations] for pair in scene.pairs],
        **_describe_grid(scene.observations[0]),
        "valid_share": float(np.logical_or.reduce([pair.valid for pair in scene.pairs]).mean()),
        "notes": list(scene.notes),
    }


def _describe_grid(observation: Observation) -> dict[str, Any]:
    georeference = observation.georeference
    height, width = observation.shape
    crs, transform = georeference.crs, georeference.transform
    described: dict[str, Any] = {
        "width": width,
        "height": height,
        "crs": None if crs is None else ":".join(crs.to_authority() or (crs.name,)),
        "transform": None if transform is None else list(transform)[:6],
        "centre_lonlat": None,
        "pixel_size": None,
    }
    try:
        size = georeference.pixel_size(height, width)
    except ScaleError:
        return described
    described["pixel_size"] = {
        "width_m": float(size.width_m[height // 2]),
        "height_m": float(size.height_m[height // 2]),
        "area_m2": float(size.area_m2[height // 2]),
        "basis": size.basis,
    }
    if georeference.is_located:
        lon, lat = georeference.to_lonlat(width / 2, height / 2)
        described["centre_lonlat"] = [round(float(lon), 6), round(float(lat), 6)]
    return described


def _doubts(observation: Observation, sensor: Sensor) -> list[str]:
    """Pixels much smaller than the sensor's are rarely that small on the ground, however sure the file is of it."""
    delivered = [
        band.resolution_m
        for band in sensor.spectrum
        if band.name in observation.bands and band.resolution_m is not None
    ]
    described = _describe_grid(observation)["pixel_size"]
    if described is None or not delivered:
        return []
    side = min(described["width_m"], described["height_m"])
    if side >= min(delivered) / 2 or observation.georeference.gsd_m is not None:
        return []
    return [
        f"The file says that its pixels measure {side:.3g} m, but {sensor.name} delivers {min(delivered):g} m; "
        "if they are not that small on the ground, give --gsd."
    ]


def _value_ranges(observation: Observation, progress: Progress | None) -> list[dict[str, float]]:
    """Smallest, mean and largest valid value of each band, gathered part by part."""
    height, width = observation.shape
    num_bands = len(observation.bands)
    low, high, total, count = np.full(num_bands, np.inf), np.full(num_bands, -np.inf), np.zeros(num_bands), 0
    for (rows, columns), pixels in observation.parts():
        valid = observation.valid[rows, columns]
        numbers = pixels.reshape(num_bands, -1) if valid.all() else pixels[:, valid]
        if numbers.size:
            low, high = np.minimum(low, numbers.min(axis=1)), np.maximum(high, numbers.max(axis=1))
            total += numbers.sum(axis=1, dtype=np.float64)
            count += numbers.shape[1]
        if progress is not None and columns.stop == width:
            progress(observation.source, rows.stop, height)
    means = total / count
    return [{"min": float(a), "mean": float(b), "max": float(c)} for a, b, c in zip(low, means, high, strict=True)]


def write_picture(info: SceneInfo, path: Path) -> None:
    """Write a PNG of what the model will see of each image, side by side; pixels that are not valid are black.

    Raises:
        SceneError: the name does not end in `.png`.
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise SceneError(f"{path}: a picture is written as PNG; give a name that ends in .png")
    images = [scene.observations[0] for scene in info.images]
    pictures = [np.rint(render_overview(image, PICTURE_SIDE) * 255).astype(np.uint8) for image in images]
    height, gap = max(picture.shape[1] for picture in pictures), 4
    width = sum(picture.shape[2] + gap for picture in pictures) - gap
    canvas: NDArray[np.uint8] = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        _, rows, columns = picture.shape
        canvas[:rows, left : left + columns] = picture.transpose(1, 2, 0)
        left += columns + gap
    with written_together(path.parent, [path.name]) as folder:
        Image.fromarray(canvas).save(folder / path.name)
