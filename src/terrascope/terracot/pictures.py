"""The pictures of scenes that exported records name: 8 bits, each written once, whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.output import written_whole
from terrascope.rasters.overlay import to_bytes
from terrascope.rasters.sensors import render
from terrascope.sample import Sample
from terrascope.scene import Observation
from terrascope.sources.chips import Chip, ChipError
from terrascope.sources.record_scenes import OPTICAL, SAR
from terrascope.terracot.conversations import Format, ImageNames

Read = Callable[[str, str], Chip]
"""What reads a scene again: gives the chip of a source's name and a key."""

IMAGES = "images"
"""Folder of the pictures; those of the authors' optical and SAR pairs lie where they want them."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SAR = "_sar"
_AT = "@"
"""Before the number of a date: no other name has it, so that date 1 of `a` is not called like a scene `a_1`."""

_LONGEST_NAME = 100


def name_images(sample: Sample) -> ImageNames:
    """Names of the pictures of a sample's scene: equal for all samples that show the same of it.

    SAR without an optical image has another name than the optical image that another sample shows of the scene.
    """
    stem = f"{_safe(sample.source)}/{_safe(sample.key)}"
    if len(sample.images) == 1:
        images = [f"{stem}{_SAR}.png" if sample.images[0].modality == "sar" else f"{stem}.png"]
    else:
        images = [f"{stem}{_AT}{image.number}_{image.modality}.png" for image in sample.images]
    seen = {image.number for image in sample.images if image.modality == "optical"}
    numbers = range(1, sample.num_dates + 1)
    dates = [f"{stem}{f'{_AT}{n}' if sample.num_dates > 1 else ''}{'' if n in seen else _SAR}.png" for n in numbers]
    return ImageNames(images=tuple(images), dates=tuple(dates))


def picture_files(sample: Sample, file_format: Format, root: Path) -> dict[Path, tuple[int, str, int | None]]:
    """The files that a record in a format names, each with what it shows.

    Returns:
        path -> number of the date (from 1), modality, and the one channel shown; None for three.
    """
    names = name_images(sample)
    shown = {(image.number, image.modality) for image in sample.images}
    if file_format != "terrascope":
        pictures = zip(names.images, sample.images, strict=True)
        return {root / IMAGES / name: (image.number, image.modality, None) for name, image in pictures}
    files: dict[Path, tuple[int, str, int | None]] = {}
    for number, name in enumerate(names.dates, 1):
        if {(number, "optical"), (number, "sar")} <= shown:
            files[root / OPTICAL / name] = (number, "optical", None)
            for channel, polarisation in enumerate(("vv", "vh")):
                files[root / SAR / polarisation / name] = (number, "sar", channel)
        else:
            modality = "optical" if (number, "optical") in shown else "sar"
            files[root / IMAGES / name] = (number, modality, None)
    return files


def write_pictures(chip: Chip, sample: Sample, files: dict[Path, tuple[int, str, int | None]]) -> None:
    """Write the files of `picture_files`.

    SAR is shown as the authors' training shows it, VH, VV and their mean; a picture of one channel is gray.

    Raises:
        ChipError: the scene is of another size than the sample, or has not its images.
        SceneError: an image cannot be shown.
        OutputError: a file cannot be written.
    """
    check_size(chip, sample)
    for path, (number, modality, channel) in files.items():
        observation = observation_of(chip, number, modality)
        pixels = to_bytes(render(observation))
        if channel is not None:
            pixels = pixels[..., channel]
        elif modality == "sar":
            pixels = pixels[..., [1, 0, 2]]
        _write_png(path, pixels)


def check_size(chip: Chip, sample: Sample) -> None:
    """Refuse a chip on which the masks of a sample do not lie.

    Raises:
        ChipError: the scene is of another size than the sample.
    """
    if chip.scene.shape != (sample.height, sample.width):
        raise ChipError(
            f"{sample.source} {sample.key}: the scene is {chip.scene.shape}, its sample {sample.height, sample.width}",
            reason="scene of another size",
        )


def observation_of(chip: Chip, number: int, modality: str) -> Observation:
    """The image of a date (from 1) and a modality.

    Raises:
        ChipError: the scene has none.
    """
    pair = chip.scene.pairs[number - 1] if number <= len(chip.scene.pairs) else None
    observation = None if pair is None else pair.sar if modality == "sar" else pair.optical
    if observation is None:
        raise ChipError(
            f"{chip.source} {chip.key}: no {modality} image of date {number}", reason="scene without that image"
        )
    return observation


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        Image.fromarray(pixels).save(unfinished, format="PNG")


def _safe(name: str) -> str:
    """The name as a file may be called everywhere; where it cannot stay, its digest keeps it apart from others."""
    safe = _UNSAFE.sub("-", name).strip(".-")[:_LONGEST_NAME]
    return (
        safe
        if safe == name and not name.endswith(_SAR)
        else f"{safe}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
    )
