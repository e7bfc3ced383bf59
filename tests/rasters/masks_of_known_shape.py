"""Masks of known shape, and where they lie."""

from __future__ import annotations

import numpy as np
from affine import Affine
from pyproj import CRS

from terrascope.georeference import Georeference
from terrascope.rasters.named_mask import NamedMask

UTM = Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 500_000, 0, -10, 5_000_000))


def named(mask: np.ndarray, valid: np.ndarray | None = None, **properties) -> NamedMask:
    valid = np.ones_like(mask) if valid is None else valid
    return NamedMask(
        name=properties.pop("name", "water"), mask=mask, valid=valid, color=(0, 100, 200), properties=properties
    )


def square(height: int = 20, width: int = 30) -> np.ndarray:
    """10 x 10 pixels with a hole of 2 x 2, and a single pixel that touches its corner."""
    mask = np.zeros((height, width), bool)
    mask[5:15, 5:15] = True
    mask[9:11, 9:11] = False
    mask[15, 15] = True
    return mask
