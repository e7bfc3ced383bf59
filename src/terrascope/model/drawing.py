"""[SEG] states to masks of an encoded scene, several in one pass of the mask decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from terrascope.masks import drop_specks
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.encoding import EncodedScene
from terrascope.model.engine.requests import Ground
from terrascope.model.grounding import ImageEmbedding
from terrascope.model.modeling import TerraScopeForConditionalGeneration


def ground(
    model: TerraScopeForConditionalGeneration, encoded: EncodedScene, pair: int, seg_state: Tensor
) -> tuple[Tensor, float]:
    """The mask bool `[H, W]` of a [SEG] state `[D]` on a pair, and its confidence: `read_mask` of `mask_logits`,
    without specks."""
    return ground_all(model, [Ground(encoded, pair, seg_state)])[0]


def ground_all(model: TerraScopeForConditionalGeneration, asked: Sequence[Ground]) -> list[tuple[Tensor, float]]:
    """The masks of several [SEG] states, with their confidences, in the order in which they are asked for.

    The confidence is that of all that was drawn: specks that are dropped (`min_object_cells`) count in it.
    """
    temperature = model.config.mask_temperature
    found = [read_mask(logits, seen, temperature) for logits, seen in mask_logits(model, asked)]
    return [(_without_specks(mask, model.config), confidence) for mask, confidence in found]


def _without_specks(mask: Tensor, config: TerraScopeConfig) -> Tensor:
    height, width = mask.shape
    return torch.from_numpy(drop_specks(mask.numpy(), config.min_object_pixels((height, width))))


def mask_logits(model: TerraScopeForConditionalGeneration, asked: Sequence[Ground]) -> list[tuple[Tensor, Tensor]]:
    """What [SEG] states point at.

    With an optical and a SAR image, a mask is decoded on both and their logits are fused where both were measured;
    elsewhere the one that was measured decides.

    Returns:
        for each, float32 logits `[H, W]` on the scene's grid, and bool `[H, W]`: where anything was measured.
    """
    return [(model.fuse_logits(on_grid, valid), valid.any(0)) for on_grid, valid in logits_of_images(model, asked)]


def logits_of_images(model: TerraScopeForConditionalGeneration, asked: Sequence[Ground]) -> list[tuple[Tensor, Tensor]]:
    """For each [SEG] state the logits float32 `[images, H, W]` of every image that its mask is drawn on, on the scene's
    grid, and bool `[images, H, W]`: where each was measured."""
    places = [[one.scene.pairs[one.pair][kind] for kind in _kinds(model, one)] for one in asked]
    embeddings = [
        one.scene.embeddings[torch.tensor(mine, device=model.device)] for one, mine in zip(asked, places, strict=True)
    ]
    states = torch.cat([one.state.expand(len(mine), 1, -1) for one, mine in zip(asked, places, strict=True)])
    decoded, _ = model.decode_masks(ImageEmbedding.cat(embeddings), states)
    found = []
    for one, mine, logits in zip(asked, places, decoded.split([len(mine) for mine in places]), strict=True):
        valid = torch.stack([one.scene.inputs.valid[place] for place in mine])
        height, width = valid.shape[1:]
        on_grid = model.resize_logits(logits, (height, width))[:, 0]
        found.append((on_grid, valid))
    return found


def _kinds(model: TerraScopeForConditionalGeneration, one: Ground) -> tuple[str, ...]:
    return drawn_on(model.config, tuple(one.scene.pairs[one.pair]))


def read_mask(logits: Tensor, seen: Tensor, temperature: float) -> tuple[Tensor, float]:
    """The mask bool `[H, W]` that logits `[H, W]` draw where something was measured, and its confidence.

    The confidence is the mean probability inside the mask; for an empty mask, one minus the highest probability
    anywhere. The probability is that of the logits divided by the temperature, which the mask does not depend on.
    """
    mask = (logits > 0) & seen
    probability = torch.sigmoid(logits / temperature)
    return mask, float(probability[mask].mean() if mask.any() else 1 - probability[seen].max())


def drawn_on(config: TerraScopeConfig, kinds: Sequence[str]) -> tuple[str, ...]:
    """Of the kinds of image that a pair has, those on which masks are drawn, the optical one first."""
    if config.mask_images == "optical" and "optical" in kinds:
        return ("optical",)
    return tuple(kind for kind in ("optical", "sar") if kind in kinds)
