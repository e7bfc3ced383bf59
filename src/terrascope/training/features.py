"""Features of a frozen vision tower for every view of the pool, so that training never encodes an image twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.tiles import resize_image
from terrascope.training.pool import Pool


def shuffle_patches(model: TerraScopeForConditionalGeneration, pixel_values: Tensor) -> Tensor:
    """The vision tower's patches after pixel shuffle, `[B, N, 4 * width]`: what the projector takes."""
    patches = model.vlm.model.vision_tower(pixel_values=pixel_values).last_hidden_state[:, 1:]
    edge = round(patches.shape[1] ** 0.5)
    shuffled = model.vlm.model.pixel_shuffle(patches.unflatten(1, (edge, edge)), scale_factor=0.5)
    return shuffled.flatten(1, 2)


@torch.no_grad()
def build_features(
    model: TerraScopeForConditionalGeneration, pool: Pool, path: Path, normalize: object, *, batch_size: int = 32
) -> NDArray[np.float16]:
    """Features float16 `[frames, views, N, 4 * width]`, memory-mapped; views that a frame lacks stay zero.

    Args:
        model: whose vision tower is frozen.
        pool: the frames.
        path: the `.npy` file; kept if it is there.
        normalize: the image processor that the model is used with.
        batch_size: images per pass.
    """
    if path.exists():
        return np.load(path, mmap_mode="r")
    config = model.config
    shape = (*pool.views.shape[:2], config.token_grid**2, 4 * config.vlm_config.vision_config.hidden_size)
    part = path.with_suffix(".part.npy")
    features = np.lib.format.open_memmap(part, "w+", np.float16, shape)
    wanted = [(i, view) for i, frame in enumerate(pool.frames) for view in frame.views]
    for start in range(0, len(wanted), batch_size):
        chunk = wanted[start : start + batch_size]
        images = torch.from_numpy(np.stack([pool.views[i, view] for i, view in chunk]).astype(np.float32) / 255)
        size = (config.tile_size, config.tile_size)
        pixels = normalize.normalize_pixels(torch.stack([resize_image(image, size) for image in images]))  # type: ignore[attr-defined]
        with torch.autocast("cpu", torch.bfloat16):
            values = shuffle_patches(model, pixels)
        for (i, view), value in zip(chunk, values, strict=True):
            features[i, view] = value.half().numpy()
    features.flush()
    part.replace(path)
    return np.load(path, mmap_mode="r")
