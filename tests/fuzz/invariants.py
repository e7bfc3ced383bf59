"""What must hold of every scene that is read and of every refusal."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from terrascope.errors import ScaleError, TerraScopeError
from terrascope.rasters.read import open_scene, read_observation
from terrascope.rasters.registry import SENSORS
from terrascope.rasters.sensors import render_overview
from terrascope.scene import Modality, Observation

MAX_MESSAGE = 500
"""Characters of a refusal: one sentence, with room for a path."""


MODALITIES: tuple[Modality, ...] = ("optical", "sar")


class Broken(AssertionError):
    """An invariant does not hold."""


def read(paths: list[Path], random: Random) -> str:
    """Read files as the images of one scene, optical and then as SAR, by options drawn at random.

    Returns `read` if they were read as either, or `refused` if both were refused with one sentence.

    Raises:
        Broken: what was read, or what was said, is not as it must be. Any other exception is a defect as well.
    """
    outcomes = {_read_as(modality, paths, random) for modality in MODALITIES}
    return "read" if "read" in outcomes else "refused"


def _read_as(modality: Modality, paths: list[Path], random: Random) -> str:
    try:
        # A warning of numpy is a number that nobody meant; on the command line it would stand beside the answer.
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            scene = open_scene(
                **{modality: [str(path) for path in paths]}, **_draw_options(modality, len(paths), random)
            )
            for observation in scene.observations:
                check_observation(observation, random)
    except TerraScopeError as error:
        check_refusal(error)
        return "refused"
    return "read"


def read_cut(whole: Path, cut: Path) -> str:
    """Where a file that was cut short is still read, it holds the pixels of the whole file: `read` or `refused`.

    What said which were not measured, or what its bands are called, may have been cut off.
    """
    try:
        image = read_observation(cut)
        expected = read_observation(whole)
    except TerraScopeError as error:
        check_refusal(error)
        return "refused"
    if image.bands != expected.bands:
        return "read"
    both = image.valid & expected.valid
    same = np.array_equal(np.asarray(image.pixels)[:, both], np.asarray(expected.pixels)[:, both])
    demand(same, "pixels that were cut off are made up")
    return "read"


def check_observation(observation: Observation, random: Random) -> None:
    """Finite float32 pixels, 0 outside of a bool mask that is somewhere True; a scale in metres, or its refusal."""
    height, width = observation.shape
    whole = observation.window(slice(0, height), slice(0, width))
    pixels, valid = np.asarray(whole.pixels), observation.valid
    demand(pixels.dtype == np.float32, f"pixels are {pixels.dtype}")
    demand(pixels.shape == (len(observation.bands), height, width), f"pixels have shape {pixels.shape}")
    demand(valid.dtype == np.bool_ and valid.any(), "the valid mask is not boolean, or nowhere True")
    demand(bool(np.isfinite(pixels).all()), "pixels are not finite")
    demand(not pixels[:, ~valid].any(), "pixels outside of the valid mask are not 0")
    top, left = random.randrange(height), random.randrange(width)
    part = slice(top, random.randint(top, height - 1) + 1), slice(left, random.randint(left, width - 1) + 1)
    same = np.array_equal(np.asarray(observation.window(*part).pixels), pixels[:, *part])
    demand(same, f"the window {part} is not that part of the whole")
    demand(len(set(observation.bands)) == len(observation.bands), f"bands {observation.bands} repeat")
    picture = render_overview(observation, 16)
    demand(picture.ndim == 3 and picture.shape[0] == 3, f"the picture has shape {picture.shape}")
    demand(bool(((picture >= 0) & (picture <= 1)).all()), "the picture leaves 0..1")
    try:
        size = observation.georeference.pixel_size(height, width)
    except ScaleError as error:
        check_refusal(error)
        return
    for name in ("width_m", "height_m", "area_m2"):
        numbers = getattr(size, name)
        demand(bool((np.isfinite(numbers) & (numbers > 0)).all()), f"{name} is not positive: {numbers[:2]}")


def check_refusal(error: TerraScopeError) -> None:
    """One line of text that is short enough to read."""
    message = str(error)
    demand(0 < len(message) <= MAX_MESSAGE, f"a refusal of {len(message)} characters: {message[:200]!r}")
    demand("\n" not in message and "\r" not in message, f"a refusal of several lines: {message!r}")
    demand("Traceback" not in message and "0x7f" not in message, f"a refusal that shows the program: {message!r}")


def _draw_options(modality: Modality, num_images: int, random: Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    name = "sensor" if modality == "optical" else "sar_sensor"
    if random.random() < 0.15:
        fitting = [sensor.name for sensor in SENSORS.values() if sensor.modality == modality]
        options[name] = random.choice(fitting)
    if random.random() < 0.1:
        options["gsd_m"] = random.choice((10.0, 0.3, 0.0, -1.0, float("nan"), float("inf"), 1e-300))
    if random.random() < 0.3:
        options["in_memory_pixels"] = random.choice((0, 100))
    if random.random() < 0.05:
        options["bbox"] = random.choice(((9, 46, 16, 48), (-180, -90, 180, 90), (16, 0, 9, 1), (0, 0, 0, float("nan"))))
    if random.random() < 0.05:
        days = ("2020-01-02", "2020-01-01", "2020-01-01", "yesterday", "0000-00-00", "9999-12-31")
        options["dates"] = [random.choice(days) for _ in range(num_images)]
    return options


def demand(holds: bool, otherwise: str) -> None:
    """Raise `Broken`, saying so, unless it holds."""
    if not holds:
        raise Broken(otherwise)
