"""An answer as one page that needs nothing else: the scene with a layer for every step, numbers, warnings."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.output import written_whole
from terrascope.quantities import format_area, format_coverage, format_distance, format_objects
from terrascope.question import LETTERS
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import BLIND, to_bytes
from terrascope.scene import Modality

_SHARP_SIDE = 320
"""A smaller picture is shown enlarged, pixel by pixel, and kept without loss."""

_PICTURE_BUDGET = 2
"""Pictures of full size that a page may hold; of more, each is smaller."""

_LOSSY_QUALITY = 80

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
    # Jinja is imported by the model anyway, but not by all who ask.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "area": format_area,
        "distance": format_distance,
        "coverage": lambda percent: format_coverage(percent / 100),
        "objects": format_objects,
    }
    template, style, script = (_text(name) for name in ("report.html.jinja", "report.css", "report.js"))
    image = masks[0].properties["image"] if masks else pictures[0].image
    first = next(index for index, picture in enumerate(pictures) if picture.image == image)
    page = environment.from_string(template).render(
        answer=answer,
        letters=LETTERS,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        pictures=[_shown_picture(picture, pictures) for picture in pictures],
        layers=[_shown_layer(mask) for mask in masks],
        colors=["#{:02x}{:02x}{:02x}".format(*mask.color) for mask in masks],
        first=first,
        files=files,
    )
    with written_whole(Path(path)) as unfinished:
        unfinished.write_text(page, encoding="utf-8", errors="replace")


def _text(name: str) -> str:
    return (resources.files("terrascope") / "assets" / name).read_text(encoding="utf-8")


def _shown_picture(picture: Picture, pictures: Sequence[Picture]) -> dict[str, Any]:
    pixels = to_bytes(picture.pixels)
    pixels[~picture.valid] = BLIND
    parts = [f"Image {picture.image}"] if pictures[-1].image > 1 else []
    parts += [picture.date.isoformat()] if picture.date is not None else []
    parts += [_MODALITY_NAMES[picture.modality]]
    height, width = picture.valid.shape
    image = Image.fromarray(pixels)
    share = (_PICTURE_BUDGET / len(pictures)) ** 0.5
    is_small = max(height, width) <= _SHARP_SIDE
    if share < 1 and not is_small:
        image = image.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    return {
        "image": picture.image,
        "label": " · ".join(parts),
        "width": width,
        "height": height,
        "is_small": is_small,
        "data": _data_uri(image, "PNG") if is_small else _data_uri(image, "WEBP", quality=_LOSSY_QUALITY),
    }


def _shown_layer(mask: NamedMask) -> str:
    """The mask in its colour, the rest transparent."""
    layer = Image.fromarray(mask.inside.astype(np.uint8)).convert("P")
    layer.putpalette([0, 0, 0, *mask.color])
    return _data_uri(layer, "PNG", transparency=0, bits=1, optimize=True)


def _data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
