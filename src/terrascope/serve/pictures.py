"""Pictures of a scene and of masks, as they stand in JSON: data URIs that a page shows on each other."""

from __future__ import annotations

from typing import Any

from terrascope.rasters.named_mask import NamedMask
from terrascope.reduction import reduced_size
from terrascope.report import Picture, data_uri, drawn, is_small, label, layer, take_pictures
from terrascope.scene import OVERVIEW_SIDE, Scene

SIDE = 1024
"""Longest side of a picture, in pixels."""

_QUALITY = 85


def pictures_of(scene: Scene) -> list[dict[str, Any]]:
    """One picture for every image of a scene, in order: optical before SAR at each date."""
    pictures = take_pictures(scene, SIDE)
    return [{**_shown(picture), "label": label(picture, pictures)} for picture in pictures]


def layer_of(mask: NamedMask) -> str:
    """A mask in its colour on transparent ground, at the size of the pictures."""
    return layer(mask.reduced(_size(mask.mask.shape)))


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of a picture of a scene, which is made of its overview."""
    height, width = shape
    return reduced_size(reduced_size((height, width), OVERVIEW_SIDE), SIDE)


def _shown(picture: Picture) -> dict[str, Any]:
    height, width = picture.valid.shape
    image = drawn(picture)
    return {
        "image": picture.image,
        "modality": picture.modality,
        "date": picture.date.isoformat() if picture.date else None,
        "width": width,
        "height": height,
        "data": data_uri(image, "PNG") if is_small(picture) else data_uri(image, "WEBP", quality=_QUALITY),
    }
