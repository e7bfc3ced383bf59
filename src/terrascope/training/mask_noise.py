"""Masks as a model might draw them: true ones with another border, out of place, or without some of their parts."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SampleError

Mask = NDArray[np.bool_]


def perturb_mask(mask: Mask, noise: float, rng: np.random.Generator) -> Mask:
    """The mask grown, shrunk, shifted, or without some of its parts, each as likely.

    Args:
        mask: bool `[H, W]`; it is not changed.
        noise: from 0 to 1. A border or the whole mask moves by up to this share of the radius of the largest disc that
            fits into the mask, so that rivers are not lost where lakes are hardly touched; a part is dropped with this
            probability. The largest part stays.
        rng: decides; the same numbers are drawn of it whatever the mask.
    """
    if not 0 <= noise <= 1:
        raise SampleError(f"mask_noise is {noise}; give a number from 0 to 1")
    kind, extent, angle = rng.integers(4), rng.random() * noise, rng.random() * 2 * np.pi
    part_seed = rng.integers(2**32)
    if not mask.any():
        return mask.copy()
    if kind == 3:
        return drop_parts(mask, noise, np.random.default_rng(part_seed))
    distance = extent * inner_radius(mask)
    if kind == 2:
        return shift_mask(mask, round(distance * np.sin(angle)), round(distance * np.cos(angle)))
    return move_border(mask, distance if kind == 0 else -distance)


def inner_radius(mask: Mask) -> float:
    """The largest distance, in pixels, from a pixel of the mask to one outside; the image's edge is no outside."""
    if mask.all():
        return max(mask.shape) / 2
    return float(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())


def move_border(mask: Mask, distance: float) -> Mask:
    """The mask grown by a distance in pixels, or shrunk where that is negative: all within so far, or nearer, of it."""
    if mask.all() or not mask.any():
        return mask.copy()
    side = ~mask if distance > 0 else mask
    away = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return away <= distance if distance > 0 else away > -distance


def shift_mask(mask: Mask, rows: int, columns: int) -> Mask:
    """The mask moved down and to the right; what leaves the image is lost, and what enters it is False."""
    height, width = mask.shape
    rows, columns = int(np.clip(rows, -height, height)), int(np.clip(columns, -width, width))
    shifted = np.zeros_like(mask)
    target = shifted[max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)]
    target[:] = mask[max(-rows, 0) : height - max(rows, 0), max(-columns, 0) : width - max(columns, 0)]
    return shifted


def drop_parts(mask: Mask, share: float, rng: np.random.Generator) -> Mask:
    """The mask without each of its connected parts with a probability; the largest stays."""
    num, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = rng.random(num) >= share
    kept[0] = False
    if num > 1:
        kept[1 + stats[1:, cv2.CC_STAT_AREA].argmax()] = True
    return np.asarray(kept[parts])
