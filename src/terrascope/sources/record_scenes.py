"""The images that records of conversations name: where they lie, and the scene that they make."""

from __future__ import annotations

import datetime
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.read import read_observation
from terrascope.rasters.sensors import SENSORS
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Observation, Scene
from terrascope.sources.chips import ChipError

OPTICAL, SAR = "s2_images", "s1_images"
"""Folders of the images of scenes with SAR; below the second there is one for each polarisation."""

POLARISATIONS = ("vv", "vh")

_FOLDERS = ("", "images", OPTICAL)


def find_image(root: Path, name: str) -> Path:
    """The file of an image that a record names.

    Raises:
        ChipError: it does not exist, or would lie outside of the folder.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise ChipError(f"{name}: names a file outside of {root}", reason="image outside of the folder")
    for folder in _FOLDERS:
        path = root / folder / relative
        if path.is_file():
            return path
    raise ChipError(f"{root / relative}: no such image", reason="missing image")


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image, by its header.

    Raises:
        ChipError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise ChipError(f"{path}: not a readable image ({error})", reason="unreadable image") from None


def _sar_files(root: Path, name: str) -> list[Path]:
    """The files of both polarisations of a scene, VV first; empty where there are none."""
    files = [root / SAR / polarisation / name for polarisation in POLARISATIONS]
    return files if all(path.is_file() for path in files) else []


def images_of(root: Path | None, names: tuple[str, ...]) -> tuple[SampleImage, ...]:
    images = []
    for number, name in enumerate(names, 1):
        images.append(SampleImage(number=number, modality="optical", sensor="rgb", file=name))
        if root is not None and _sar_files(root, name):
            images.append(SampleImage(number=number, modality="sar", sensor="sentinel-1", file=name))
    return tuple(images)


def read_scene(root: Path, names: list[str], sample: Sample | None) -> Scene:
    """The scene of a record: of an image for every name as the sample tells of it, else of a date for every name."""
    gsd_m = sample.gsd_m if sample else None
    told = sample.images if sample and len(sample.images) == len(names) else ()
    kinds = [image.modality for image in told] or ["optical"] * len(names)
    day_of = {image.number: image.day for image in sample.images} if sample else {}
    days = [image.day for image in told] or [day_of.get(number) for number in range(1, len(names) + 1)]
    paths = [find_image(root, name) for name in names]
    optical, sar = [], []
    for name, path, kind, day in zip(names, paths, kinds, days, strict=True):
        date = datetime.date.fromisoformat(day) if day else None
        if kind == "sar":
            # As the export shows it: VH, VV and their mean.
            vh, vv, _ = np.moveaxis(_read_picture(path, "RGB"), 2, 0)
            sar.append(_backscatter(vv, vh, path, gsd_m, date))
            continue
        try:
            optical.append(read_observation(path, sensor="rgb", gsd_m=gsd_m, date=date))
        except SceneError as error:
            raise ChipError(str(error), reason="unreadable image") from error
        files = _sar_files(root, name)
        if files and not told:
            vv, vh = (_read_picture(file, "L") for file in files)
            sar.append(_backscatter(vv, vh, files[0], gsd_m, date))
    try:
        return Scene.of(optical=optical, sar=sar)
    except SceneError as error:
        raise ChipError(f"{paths[0]}: {error}", reason="images do not fit together") from error


def _read_picture(path: Path, mode: str) -> NDArray[np.float32]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode), np.float32)
    except OSError as error:
        raise ChipError(f"{path}: not a readable image ({error})", reason="unreadable image") from None


def _backscatter(
    vv: NDArray[np.float32], vh: NDArray[np.float32], path: Path, gsd_m: float | None, date: datetime.date | None
) -> Observation:
    """Both polarisations as decibels: 8-bit pictures are taken for the fixed stretch in which SAR images are shown."""
    sensor = SENSORS["sentinel-1"]
    if vv.shape != vh.shape:
        raise ChipError(f"{path}: VV and VH differ in size", reason="images do not fit together")
    stretch = dict(zip(sensor.bands, sensor.stretch, strict=False))
    pixels = [low + (high - low) * gray / 255 for gray, (low, high) in zip((vv, vh), stretch.values(), strict=True)]
    told = " and ".join(f"{low:g} to {high:g} dB ({band})" for band, (low, high) in stretch.items())
    return Observation(
        pixels=np.stack(pixels).astype(np.float32),
        bands=sensor.bands,
        modality="sar",
        sensor=sensor.name,
        valid=np.ones(vv.shape, bool),
        georeference=Georeference(gsd_m=gsd_m),
        date=date,
        source=str(path),
        assumptions=(f"8-bit backscatter is taken for {told}.",),
    )
