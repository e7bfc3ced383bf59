"""Small pictures of one color each, so that a test can tell which one was read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def png(color: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> bytes:
    """A PNG of this (width, height) in one color."""
    data = io.BytesIO()
    Image.new("RGB", size, color).save(data, format="PNG")
    return data.getvalue()


def save(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(color, size))


def color_of(observation) -> tuple[float, ...]:
    """The one color of an observation."""
    pixels = np.asarray(observation.pixels)
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(float(value) for value in pixels[:, 0, 0])
