"""The picture of an answer: the scene beside one panel per step, each with its mask and what the step says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.errors import OutputError
from terrascope.output import written_whole
from terrascope.quantities import format_area, format_coverage
from terrascope.rasters.lettering import Color, draw_line, wrap_lines
from terrascope.rasters.named_mask import NamedMask

PICTURE_SIDE = 896
"""Longest side, in pixels, of a scene in a picture for people."""

_MIN_PANEL = 384
_MAX_COLUMNS = 3
_GAP, _PADDING, _SWATCH = 18, 10, 13
_TITLE_SIZE, _TEXT_SIZE, _LINE = 15, 13, 20
_PAPER: Color = (250, 250, 248)
_INK: Color = (24, 26, 30)
_PALE_INK: Color = (92, 96, 104)

_LONGEST_CAPTION = 600
"""Characters of a caption; what is longer stands whole in the other files."""

BLIND = 110
"""Gray of pixels that were not measured."""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    picture: NDArray[np.uint8]
    title: list[str]
    body: list[str]
    color: Color | None


def write_overlay(path: str | os.PathLike[str], rgb: NDArray[np.float32], masks: Sequence[NamedMask]) -> None:
    """Write a PNG of the plain scene and one panel per mask with its caption.

    Args:
        rgb: float32 `[3, H, W]` in 0..1, or `[T, 3, H, W]` for several dates; a mask's property `image` (from 1)
            then says on which of them it is drawn.
        masks: on the grid of `rgb`; those of a large scene are reduced with it (`NamedMask.reduced`).

    Raises:
        OutputError: a mask does not lie on the grid of the picture, names an image that is not there, or the file
            cannot be written.
    """
    path = Path(path)
    images = rgb if rgb.ndim == 4 else rgb[None]
    for mask in masks:
        if mask.mask.shape != images.shape[2:]:
            raise OutputError(
                f"{path}: mask {mask.name!r} {mask.mask.shape} does not lie on the image {images.shape[2:]}"
            )
        image_number = int(mask.properties.get("image") or 1)
        if rgb.ndim == 4 and not 1 <= image_number <= len(images):
            raise OutputError(f"{path}: mask {mask.name!r} is of image {image_number}, but there are {len(images)}")
    picture = draw_overlay(images, masks)
    with written_whole(path) as unfinished:
        picture.save(unfinished, format="PNG")


def draw_overlay(images: NDArray[np.float32], masks: Sequence[NamedMask]) -> Image.Image:
    """Draw the plain images and one panel per mask: the mask tinted and outlined, what lies outside of it dimmed.

    Args:
        images: float32 `[T, 3, H, W]` in 0..1, as `sensors.render` makes them, one per date.
        masks: the steps. Each is drawn on the image that its property `image` (from 1) names, else on the first.
    """
    height, width = images.shape[2:]
    size = _panel_size(height, width)
    panels = []
    for t, image in enumerate(images):
        name = f"Image {t + 1}" if len(images) > 1 else "Scene"
        panels.append(_Panel(picture=_picture(image, size), title=[name], body=[], color=None))
    for mask in masks:
        image_number = int(mask.properties.get("image") or 1)
        picture = _tinted(_picture(images[image_number - 1], size), mask)
        title = wrap_lines(_shortened(_title(mask, len(images))), size=_TITLE_SIZE, width=size[0] - _SWATCH - 8)
        body = wrap_lines(_shortened(str(mask.properties.get("text", ""))), size=_TEXT_SIZE, width=size[0])
        panels.append(_Panel(picture=picture, title=title, body=body, color=mask.color))
    return Image.fromarray(_sheet(panels, size))


def _shortened(caption: str) -> str:
    return caption if len(caption) <= _LONGEST_CAPTION else f"{caption[:_LONGEST_CAPTION].rstrip()} …"


def to_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture float32 `[3, H, W]` in 0..1 as uint8 `[H, W, 3]`."""
    return (np.clip(picture.transpose(1, 2, 0), 0, 1) * 255).round().astype(np.uint8)


def _panel_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) of a panel: the short side at least 384 pixels, the long one at most 896 unless that is less."""
    scale = max(1.0, _MIN_PANEL / min(height, width))
    scale = min(scale, PICTURE_SIDE / max(height, width))
    return max(_MIN_PANEL // 2, round(width * scale)), max(1, round(height * scale))


def _picture(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    pixels = Image.fromarray(to_bytes(image))
    return np.array(pixels.resize(size, Image.Resampling.BICUBIC if size[0] > pixels.width else Image.Resampling.BOX))


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 127


def _tinted(picture: NDArray[np.uint8], mask: NamedMask) -> NDArray[np.uint8]:
    size = (picture.shape[1], picture.shape[0])
    inside, valid = _enlarged(mask.inside, size), _enlarged(mask.valid, size)
    color = np.asarray(mask.color, np.float32)
    pixels = picture.astype(np.float32)
    gray = pixels.mean(axis=2, keepdims=True)
    # Outside, half of the colour goes, so that the tint stands out even where it resembles the ground.
    pixels = np.where(inside[..., None], 0.55 * pixels + 0.45 * color, 0.7 * (0.5 * pixels + 0.5 * gray))
    pixels[~valid] = BLIND
    outer, inner = _grown(inside) & ~inside, inside & _grown(~inside)
    pixels[outer & valid] = 255
    pixels[inner] = 0.8 * color
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its four neighbours; the rim of the picture is no edge."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _title(mask: NamedMask, num_images: int) -> str:
    known = mask.properties
    facts = []
    if known.get("coverage") is not None:
        facts.append(format_coverage(float(known["coverage"])))
    if known.get("area_m2") is not None:
        facts.append(format_area(float(known["area_m2"])))
    if num_images > 1:
        facts.append(f"image {int(known.get('image') or 1)}")
    step = f"{known['step']}. " if known.get("step") is not None else ""
    return " – ".join([step + mask.name, *facts])


def _sheet(panels: Sequence[_Panel], size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    num_columns = min(_MAX_COLUMNS, len(panels))
    rows = [panels[i : i + num_columns] for i in range(0, len(panels), num_columns)]
    captions = [max((len(p.title) + len(p.body)) * _LINE for p in row) + _PADDING for row in rows]
    sheet_height = sum(height + caption + _GAP for caption in captions) + _GAP
    sheet = np.empty((sheet_height, num_columns * (width + _GAP) + _GAP, 3), np.uint8)
    sheet[:] = _PAPER
    top = _GAP
    for row, caption in zip(rows, captions, strict=True):
        for column, panel in enumerate(row):
            left = _GAP + column * (width + _GAP)
            sheet[top : top + height, left : left + width] = panel.picture
            y = top + height + _PADDING
            indent = 0
            if panel.color is not None:
                sheet[y + 3 : y + 3 + _SWATCH, left : left + _SWATCH] = panel.color
                indent = _SWATCH + 8
            for line in panel.title:
                draw_line(sheet, line, left + indent, y, size=_TITLE_SIZE, color=_INK)
                y += _LINE
            for line in panel.body:
                draw_line(sheet, line, left, y, size=_TEXT_SIZE, color=_PALE_INK)
                y += _LINE
        top += height + caption + _GAP
    return sheet
