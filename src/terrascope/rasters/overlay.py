"""The picture of an answer: the scene beside one panel per step, each with its mask and what the step says."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from terrascope.rasters.named_mask import NamedMask

_MIN_PANEL, _MAX_PANEL = 384, 896
_MAX_COLUMNS = 3
_GAP, _PADDING, _SWATCH = 18, 10, 13
_TITLE_SIZE, _TEXT_SIZE, _LINE = 16, 14, 20
_PAPER, _INK, _PALE_INK = (250, 250, 248), (24, 26, 30), (92, 96, 104)
_BLIND = 110
"""Gray of pixels that were not measured."""

_PLAIN_MARKS = str.maketrans("\u2013\u2014\u2212\u2018\u2019\u201c\u201d", "---''\"\"")


@dataclass(frozen=True, kw_only=True)
class _Panel:
    picture: Image.Image
    title: list[str]
    body: list[str]
    color: tuple[int, int, int] | None


def draw_overlay(images: NDArray[np.float32], masks: Sequence[NamedMask]) -> Image.Image:
    """Draw the plain images and one panel per mask: the mask tinted and outlined, what lies outside of it dimmed.

    Args:
        images: float32 `[T, 3, H, W]` in 0..1, as `sensors.render` makes them, one per date.
        masks: the steps. Each is drawn on the image that its property `image` (from 1) names, else on the first.
    """
    height, width = images.shape[2:]
    size = _panel_size(height, width)
    title_font, text_font = ImageFont.load_default(_TITLE_SIZE), ImageFont.load_default(_TEXT_SIZE)
    panels = []
    for t, image in enumerate(images):
        name = f"Image {t + 1}" if len(images) > 1 else "Scene"
        panels.append(_Panel(picture=_picture(image, size), title=[name], body=[], color=None))
    for mask in masks:
        image_number = int(mask.properties.get("image") or 1)
        picture = _tinted(_picture(images[image_number - 1], size), mask)
        title = _wrap(_title(mask, len(images)), title_font, size[0] - _SWATCH - 8)
        body = _wrap(str(mask.properties.get("text", "")), text_font, size[0])
        panels.append(_Panel(picture=picture, title=title, body=body, color=mask.color))
    return _sheet(panels, size, title_font, text_font)


def _panel_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) of a panel: the short side at least 384 pixels, the long one at most 896 unless that is less."""
    scale = max(1.0, _MIN_PANEL / min(height, width))
    scale = min(scale, max(_MAX_PANEL, _MIN_PANEL) / max(height, width))
    return max(_MIN_PANEL // 2, round(width * scale)), max(1, round(height * scale))


def _picture(image: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    pixels = Image.fromarray((np.clip(image.transpose(1, 2, 0), 0, 1) * 255).round().astype(np.uint8))
    return pixels.resize(size, Image.Resampling.BICUBIC if size[0] > pixels.width else Image.Resampling.BOX)


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 127


def _tinted(picture: Image.Image, mask: NamedMask) -> Image.Image:
    pixels = np.asarray(picture).astype(np.float32)
    inside, valid = _enlarged(mask.inside, picture.size), _enlarged(mask.valid, picture.size)
    color = np.asarray(mask.color, np.float32)
    gray = pixels.mean(axis=2, keepdims=True)
    # Outside, half of the colour goes, so that the tint stands out even where it resembles the ground.
    pixels = np.where(inside[..., None], 0.55 * pixels + 0.45 * color, 0.7 * (0.5 * pixels + 0.5 * gray))
    pixels[~valid] = _BLIND
    outer, inner = _grown(inside) & ~inside, inside & _grown(~inside)
    pixels[outer & valid] = 255
    pixels[inner] = 0.8 * color
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


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
        facts.append(f"{100 * known['coverage']:.1f} %")
    if known.get("area_m2") is not None:
        facts.append(_area(float(known["area_m2"])))
    if num_images > 1:
        facts.append(f"image {int(known.get('image') or 1)}")
    step = f"{known['step']}. " if known.get("step") is not None else ""
    return " - ".join([step + mask.name, *facts])


def _area(area_m2: float) -> str:
    for unit, size in (("km2", 1e6), ("ha", 1e4)):
        if area_m2 >= size:
            return f"{area_m2 / size:.2f} {unit}"
    return f"{area_m2:.0f} m2"


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines that fit, in the letters that Pillow's own font has: it knows neither squares nor accents."""
    lines: list[str] = []
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    for word in plain.translate(_PLAIN_MARKS).encode("ascii", "replace").decode().split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _sheet(
    panels: Sequence[_Panel],
    size: tuple[int, int],
    title_font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text_font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> Image.Image:
    width, height = size
    num_columns = min(_MAX_COLUMNS, len(panels))
    rows = [panels[i : i + num_columns] for i in range(0, len(panels), num_columns)]
    captions = [max((len(p.title) + len(p.body)) * _LINE for p in row) + _PADDING for row in rows]
    sheet = Image.new(
        "RGB",
        (num_columns * (width + _GAP) + _GAP, sum(height + caption + _GAP for caption in captions) + _GAP),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for row, caption in zip(rows, captions, strict=True):
        for column, panel in enumerate(row):
            left = _GAP + column * (width + _GAP)
            sheet.paste(panel.picture, (left, top))
            y = top + height + _PADDING
            indent = 0
            if panel.color is not None:
                draw.rectangle((left, y + 3, left + _SWATCH, y + 3 + _SWATCH), fill=panel.color, outline=_INK)
                indent = _SWATCH + 8
            for line in panel.title:
                draw.text((left + indent, y), line, fill=_INK, font=title_font)
                y += _LINE
            for line in panel.body:
                draw.text((left, y), line, fill=_PALE_INK, font=text_font)
                y += _LINE
        top += height + caption + _GAP
    return sheet
