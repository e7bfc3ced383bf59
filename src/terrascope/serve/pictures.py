"""Pictures of a scene and of masks, as they stand in JSON: data URIs that a page shows on each other."""

from __future__ import annotations

from typing import Any

from PIL import Image

from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import BLIND, to_bytes
from terrascope.rasters.sensors import render, shown_overview
from terrascope.reduction import reduced_size
from terrascope.report import data_uri, layer
from terrascope.scene import OVERVIEW_SIDE, Observation, Scene

SIDE = 1024
"""Longest side of a picture, in pixels."""

_WITHOUT_LOSS_SIDE = 320
_QUALITY = 85
_NAMES = {"optical": "optical", "sar": "SAR"}


def pictures_of(scene: Scene) -> list[dict[str, Any]]:
    """One picture for every image of a scene, in order: optical before SAR at each date."""
    several = len(scene.pairs) > 1
    return [
        _picture(number, observation, several)
        for number, pair in enumerate(scene.pairs, 1)
        for observation in pair.observations
    ]


def layer_of(mask: NamedMask) -> str:
    """A mask in its colour on transparent ground, at the size of the pictures."""
    return layer(mask.reduced(_size(mask.mask.shape)))


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of a picture of a scene, which is made of its overview."""
    height, width = shape
    return reduced_size(reduced_size((height, width), OVERVIEW_SIDE), SIDE)


def _picture(number: int, observation: Observation, several: bool) -> dict[str, Any]:
    small = shown_overview(observation, SIDE)
    pixels = to_bytes(render(small))
    pixels[~small.valid] = BLIND
    height, width = small.shape
    date = observation.date.isoformat() if observation.date else None
    parts = [f"Image {number}"] if several else []
    parts += [date] if date else []
    image = Image.fromarray(pixels)
    is_small = max(height, width) <= _WITHOUT_LOSS_SIDE
    return {
        "image": number,
        "modality": observation.modality,
        "date": date,
        "label": " · ".join([*parts, _NAMES[observation.modality]]),
        "width": width,
        "height": height,
        "data": data_uri(image, "PNG") if is_small else data_uri(image, "WEBP", quality=_QUALITY),
    }
