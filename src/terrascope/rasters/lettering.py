"""Words on pictures, in the typeface that comes with OpenCV: Latin, Greek, Cyrillic, Chinese, Japanese, Korean."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from terrascope.rasters.named_mask import printable

Color = tuple[int, int, int]


def draw_line(picture: NDArray[np.uint8], text: str, left: int, top: int, *, size: int, color: Color) -> None:
    """Draw one line of text, in place, with its upper left corner at (`left`, `top`).

    Args:
        picture: uint8 `[H, W, 3]`, contiguous.
        size: height of the letters in pixels. Letters that the typeface lacks become `?`.
    """
    cv2.putText(picture, printable(text), (left, top + size), color, _typeface(), size, _WEIGHT)


def wrap_lines(text: str, *, size: int, width: int) -> list[str]:
    """The text in lines of at most `width` pixels, broken between words, and within a word that is too long for one."""
    lines: list[str] = []
    for word in printable(text).split():
        if lines and _length(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
            continue
        while _length(word, size) > width and len(word) > 1:
            # Searched by halves: a model may write thousands of letters without a space.
            head = max(1, bisect_right(range(1, len(word)), width, key=lambda n: _length(word[:n], size)))
            lines.append(word[:head])
            word = word[head:]
        lines.append(word)
    return lines


_WEIGHT = 400
"""Regular, on OpenCV's scale from 100 (thin) to 1000 (black)."""


@cache
def _typeface() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _length(text: str, size: int) -> int:
    return int(cv2.getTextSize((0, 0), text, (0, 0), _typeface(), size, _WEIGHT)[2])
