"""The picture that a language model is shown: each date plain, and with its regions in colours over a legend."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.rasters.lettering import draw_line
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import BLIND, to_bytes
from terrascope.rasters.sensors import render_overview
from terrascope.scene import Pair
from terrascope.sources.chips import Chip
from terrascope.tasks.regions import Region
from terrascope.terracot.marks import Marks

MIN_SIDE, MAX_SIDE = 384, 768
"""Bounds of the longest side of a panel, in pixels: small chips are enlarged, large scenes reduced."""

_GAP, _LINE, _LETTERS = 12, 24, 16
_TINT = 0.5
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


def draw_marked(chip: Chip, marks: Marks) -> tuple[bytes, ...]:
    """One PNG for every date: its images, then the first of them with the masks, and the marks with their colours.

    Raises:
        SceneError: an image cannot be shown.
    """
    return tuple(_draw_date(pair, date, marks) for date, pair in enumerate(chip.scene.pairs[: marks.num_dates]))


def _draw_date(pair: Pair, date: int, marks: Marks) -> bytes:
    numbered = [(number, region) for number, region in enumerate(marks.regions, 1) if region.date == date]
    pictures = [to_bytes(render_overview(observation, MAX_SIDE)) for observation in pair.observations]
    tinted = _tint(pictures[0], pair, [region for _, region in numbered])
    titles = [observation.modality for observation in pair.observations] + ["masks"]
    if marks.num_dates > 1:
        titles = [f"Image {date + 1}: {title}" for title in titles]
    panels = [_resize(picture) for picture in (*pictures, tinted)]
    height, width = panels[0].shape[:2]
    sheet = np.empty((_LINE + height + _GAP + _LINE * len(numbered), len(panels) * (width + _GAP) - _GAP, 3), np.uint8)
    sheet[:] = _PAPER
    for column, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = column * (width + _GAP)
        sheet[_LINE : _LINE + height, left : left + width] = panel
        draw_line(sheet, title, left, 0, size=_LETTERS, color=_INK)
    for line, (number, region) in enumerate(numbered):
        top = _LINE + height + _GAP + line * _LINE
        sheet[top + 2 : top + _LINE - 4, : _LINE - 6] = region.land_class.color
        draw_line(sheet, marks.mark(number), _LINE, top, size=_LETTERS, color=_INK)
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, format="PNG")
    return png.getvalue()


def _tint(picture: NDArray[np.uint8], pair: Pair, regions: Sequence[Region]) -> NDArray[np.uint8]:
    """The picture `[h, w, 3]` with the regions in the colours of their classes; unmeasured pixels are gray."""
    pixels = picture.astype(np.float32)
    size = (picture.shape[0], picture.shape[1])
    for region in regions:
        mask = NamedMask(name=region.name, mask=region.mask, valid=pair.valid, color=region.land_class.color)
        inside = mask.reduced(size).inside
        pixels[inside] = (1 - _TINT) * picture[inside] + _TINT * np.asarray(region.land_class.color, np.float32)
    blank = NamedMask(name="", mask=pair.valid, valid=pair.valid, color=_INK).reduced(size)
    pixels[~blank.valid] = BLIND
    return pixels.round().astype(np.uint8)


def _resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(1, -(-MIN_SIDE // max(picture.shape[:2])))
    # Whole pixels: an outline stays where it is.
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
