"""An answer as one page that needs nothing else: the scene with a layer for every step, numbers, warnings."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.output import written_whole
from terrascope.quantities import format_area, format_coverage, format_distance, format_objects, format_share
from terrascope.question import LETTERS
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import BLIND, to_bytes
from terrascope.rasters.sensors import render, shown_overview
from terrascope.scene import Modality, Scene

_SHARP_SIDE = 320
"""A smaller picture is shown enlarged, pixel by pixel, and kept without loss."""

_PICTURE_BUDGET = 2
"""Pictures of full size that a page may hold; of more, each is smaller."""

LOSSY_QUALITY = 80

_MODALITY_NAMES = {"optical": "optical", "sar": "SAR"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One image of the scene as people see it.

    Attributes:
        image: number of its pair, from 1. modality, date: of the image.
        pixels: float32 `[3, h, w]` in 0..1. valid: bool `[h, w]`, True where the scene was measured.
    """

    image: int
    modality: Modality
    date: datetime.date | None
    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]


def take_pictures(scene: Scene, max_side: int) -> list[Picture]:
    """A picture of every image of a scene, in order, no side longer than `max_side`.

    Raises:
        SceneError: an image cannot be read, or its sensor is unknown.
    """
    pictures = []
    for number, pair in enumerate(scene.pairs, 1):
        for observation in pair.observations:
            small = shown_overview(observation, max_side)
            pictures.append(
                Picture(
                    image=number,
                    modality=observation.modality,
                    date=observation.date,
                    pixels=render(small),
                    valid=small.valid,
                )
            )
    return pictures


def first_of_pairs(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """The first picture of every pair, float32 `[T, 3, h, w]`."""
    first = {picture.image: picture.pixels for picture in reversed(pictures)}
    return np.stack([first[image] for image in sorted(first)])


def write_report(
    path: str | os.PathLike[str],
    answer: Mapping[str, Any],
    *,
    pictures: Sequence[Picture],
    masks: Sequence[NamedMask],
    files: Mapping[str, str],
) -> None:
    """Write the page. It loads nothing, and a policy in it forbids that: all text in it is the scene's or the model's.

    Args:
        answer: as `Answer.to_dict` tells it.
        pictures: at least one for every image of the scene.
        masks: one per step, on the grid of the pictures.
        files: names of files beside the page, to what they hold.

    Raises:
        OutputError: the file cannot be written.
    """
    script = asset("report.js")
    page = fill_in(
        "report.html.jinja",
        answer=answer,
        letters=LETTERS,
        style=asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        pictures=[_shown_picture(picture, pictures) for picture in pictures],
        layers=[layer(mask) for mask in masks],
        colors=[color(mask) for mask in masks],
        first=first_shown(pictures, masks),
        files=files,
    )
    with written_whole(Path(path)) as unfinished:
        unfinished.write_text(page, encoding="utf-8", errors="replace")


def asset(name: str) -> str:
    """A text file that comes with the package."""
    return (resources.files("terrascope") / "assets" / name).read_text(encoding="utf-8")


def fill_in(template: str, **values: Any) -> str:
    """A template that comes with the package, with its values escaped."""
    # Jinja is imported by the model anyway, but not by all who ask.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    formats: dict[str, Callable[..., str]] = {
        "area": format_area,
        "distance": format_distance,
        "coverage": lambda percent: format_coverage(percent / 100),
        "objects": format_objects,
        "share": format_share,
    }
    environment.filters |= formats
    return environment.from_string(asset(template)).render(values)


def first_shown(pictures: Sequence[Picture], masks: Sequence[NamedMask]) -> int:
    """Index of the picture to begin with: that of the first step."""
    image = masks[0].properties["image"] if masks else pictures[0].image
    return next(index for index, picture in enumerate(pictures) if picture.image == image)


def label(picture: Picture, pictures: Sequence[Picture]) -> str:
    """What a picture is called among others: `Image 2 · 2024-05-02 · optical`."""
    parts = [f"Image {picture.image}"] if pictures[-1].image > 1 else []
    parts += [picture.date.isoformat()] if picture.date is not None else []
    return " · ".join([*parts, _MODALITY_NAMES[picture.modality]])


def drawn(picture: Picture) -> Image.Image:
    """The picture with gray where nothing was measured."""
    pixels = to_bytes(picture.pixels)
    pixels[~picture.valid] = BLIND
    return Image.fromarray(pixels)


def is_small(picture: Picture) -> bool:
    """Whether a picture is to be shown pixel by pixel."""
    return max(picture.valid.shape) <= _SHARP_SIDE


def color(mask: NamedMask) -> str:
    """The colour of a mask as CSS knows it."""
    return "#{:02x}{:02x}{:02x}".format(*mask.color)


def layer(mask: NamedMask) -> str:
    """The mask in its colour, the rest transparent, as the address of an image."""
    image = Image.fromarray(mask.inside.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *mask.color])
    return data_uri(image, "PNG", transparency=0, bits=1, optimize=True)


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """An image as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shown_picture(picture: Picture, pictures: Sequence[Picture]) -> dict[str, Any]:
    height, width = picture.valid.shape
    image = drawn(picture)
    share = (_PICTURE_BUDGET / len(pictures)) ** 0.5
    small = is_small(picture)
    if share < 1 and not small:
        image = image.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    return {
        "image": picture.image,
        "label": label(picture, pictures),
        "width": width,
        "height": height,
        "is_small": small,
        "data": data_uri(image, "PNG") if small else data_uri(image, "WEBP", quality=LOSSY_QUALITY),
    }
