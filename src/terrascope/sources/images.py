"""The images and scenes of chips: read as everywhere else, but what fails is the chip's error, with a reason."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from terrascope.errors import ScaleError, SceneError
from terrascope.rasters.read import read_observation
from terrascope.scene import Modality, Observation, Scene
from terrascope.sources.chips import ChipError


def read_image(
    path: Path,
    *,
    sensor: str | None,
    modality: Modality = "optical",
    date: datetime.date | None = None,
    gsd_m: float | None = None,
) -> Observation:
    """One image of a chip.

    Raises:
        ChipError: the file is missing or cannot be read.
    """
    if not path.exists():
        raise ChipError(f"{path}: no such image", reason="missing image")
    try:
        return read_observation(path, sensor=sensor, modality=modality, date=date, gsd_m=gsd_m)
    except SceneError as error:
        raise ChipError(str(error), reason="unreadable image") from error


def join(name: str, *, optical: Sequence[Observation] = (), sar: Sequence[Observation] = ()) -> Scene:
    """The scene of a chip's images.

    Args:
        name: of the chip, for messages.

    Raises:
        ChipError: the images do not form one scene.
    """
    try:
        return Scene.of(optical=optical, sar=sar)
    except SceneError as error:
        raise ChipError(f"{name}: {error}", reason="images of no one grid") from error


def find_center(scene: Scene) -> tuple[float, float] | None:
    """Longitude and latitude in degrees of a scene's centre; None where it does not know where it lies."""
    if not scene.georeference.is_located:
        return None
    height, width = scene.shape
    try:
        lon, lat = scene.georeference.to_lonlat(width / 2, height / 2)
    except ScaleError:
        return None
    return float(lon), float(lat)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A label picture as it is stored: uint8 `[H, W]` if it is grey, else its colours uint8 `[H, W, 3]`.

    Raises:
        ChipError: the file is missing or cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"), np.uint8)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ChipError(f"{path}: not a readable label picture ({error})", reason="unreadable label") from error
