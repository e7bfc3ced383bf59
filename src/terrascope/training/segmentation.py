"""From [SEG] states to L_seg: masks on every image that they are drawn on, fused and compared as in use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.drawing import drawn_on
from terrascope.model.grounding import ImageEmbedding
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import SceneInputs
from terrascope.training.batch import Batch
from terrascope.training.encoders import place_images
from terrascope.training.losses import LossWeights, mask_losses


def segmentation_sum(
    model: TerraScopeForConditionalGeneration,
    batch: Batch,
    states: Tensor,
    drawn: Sequence[int],
    embedding: ImageEmbedding | None,
    weights: LossWeights,
    size: int,
    num_points: int | None,
) -> tuple[Tensor, int]:
    """L_seg as a sum over [SEG]s, and how many of them have a truth that is known somewhere.

    A mask is drawn on every image that inference draws it on. Of a pair, both and their fusion count, each with the
    pixels that it could see, and the [SEG] has their mean. Masks of one text may overlap: each is compared alone.

    Args:
        states: `[M, D]` of all [SEG]s of the batch, in order.
        drawn: the scenes of the batch that masks are drawn on.
        embedding: of all their images, one after the other; None where there are none.
        weights: of the terms.
        size: masks are compared on a grid of so many pixels along each edge.
        num_points: or at so many points of it.
    """

    def compare(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return mask_losses(logits, truth, weight, weights, num_points)

    if embedding is None:
        return idle(model.seg_projection, model.sam.mask_decoder, model.mask_fusion), 0
    starts = first_images([batch.scenes[n] for n in drawn])
    first_image = dict(zip(drawn, starts, strict=False))
    images: list[int] = []
    segs: list[int] = []
    valid: list[Tensor] = []
    truth: list[Tensor] = []
    known: list[Tensor] = []
    for owner, example in zip(batch.owners, batch.examples, strict=True):
        scene, target = batch.scenes[owner], example.target
        places = place_images(scene)
        for mask, sure, pair in zip(target.masks, target.known, target.pairs, strict=True):
            for kind in drawn_on(model.config, tuple(places[pair])):
                images.append(first_image[owner] + places[pair][kind])
                segs.append(len(truth))
                valid.append(scene.valid[places[pair][kind]])
            truth.append(mask & sure)
            known.append(sure)
    device = states.device
    weight, measured = _shrink(known, size, device), _shrink(valid, size, device) >= 0.5
    target_share = _shrink(truth, size, device) / weight.clamp_min(1e-6)
    rows, owned = torch.tensor(images, device=device), torch.tensor(segs, device=device)
    # One row per image and [SEG]: the decoder repeats an image for each of its prompts anyway.
    logits, _ = model.decode_masks(embedding[rows], states[owned, None])
    logits = model.resize_logits(logits, (size, size))[:, 0]
    per_mask = [compare(logits, target_share[owned], weight[owned] * measured)]
    owners = [owned]
    second = (owned[1:] == owned[:-1]).nonzero()[:, 0] + 1
    if len(second):
        both = torch.stack([logits[second - 1], logits[second]])
        fused = fuse(model, both, torch.stack([measured[second - 1], measured[second]]))
        per_mask.append(compare(fused, target_share[owned[second]], weight[owned[second]]))
        owners.append(owned[second])
    else:
        per_mask[0] = per_mask[0] + idle(model.mask_fusion)
    losses, belongs = torch.cat(per_mask), torch.cat(owners)
    counts = torch.bincount(belongs, minlength=len(truth))
    return (losses / counts[belongs]).sum(), sum(bool(sure.any()) for sure in known)


def fuse(model: TerraScopeForConditionalGeneration, logits: Tensor, valid: Tensor) -> Tensor:
    """`model.fuse_logits` of pairs, where they are: logits float `[2, M, H, W]` and valid bool `[2, M, H, W]`."""
    with torch.autocast(logits.device.type, enabled=False):
        both = model.mask_fusion(logits[0], logits[1])
    return torch.where(valid.all(0), both, torch.where(valid[0], logits[0], logits[1]))


def _shrink(masks: Sequence[Tensor], size: int, device: torch.device) -> Tensor:
    """Masks bool `[H, W]`, of any sizes, as shares of the pixels of one grid: float `[M, size, size]`."""
    return torch.cat(
        [functional.interpolate(m.to(device)[None, None].float(), (size, size), mode="area")[0] for m in masks]
    )


def first_images(scenes: Sequence[SceneInputs]) -> list[int]:
    """Where the images of each scene begin among those of all, and where they end."""
    return torch.tensor([0, *(len(scene.sam_images) for scene in scenes)]).cumsum(0).tolist()


def idle(*modules: nn.Module) -> Tensor:
    """Zero, with a gradient of zero for what would move here: processes that train together expect one from each."""
    moving = [p for module in modules for p in module.parameters() if p.requires_grad]
    place = next(modules[0].parameters()).device
    return sum((0.0 * p.float().sum() for p in moving), torch.zeros((), device=place))
