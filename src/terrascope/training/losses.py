"""The training objective (paper, Eq. 6): language loss + lambda * segmentation loss, as sums, means and terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

Weight: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""What a term counts; recipes are checked by it."""

_OVERSAMPLING = 3
_UNCERTAIN_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """What each term of L_seg counts; the ratio of the paper's two is open there (docs/decisions.md).

    Attributes:
        seg_loss_weight: the lambda of Eq. 6.
        cross_entropy: of pixels.
        dice: of masks that are not empty.
        focal: cross-entropy in which pixels that are right already count little.
        boundary: cross-entropy of the pixels near an edge of the true mask.
        focusing: exponent of the focal term.
        edge_pixels: how far "near" reaches, in pixels of the grid on which masks are compared.
    """

    seg_loss_weight: Weight = 0.5
    cross_entropy: Weight = 2.0
    dice: Weight = 0.5
    focal: Weight = 0.0
    boundary: Weight = 0.0
    focusing: Weight = 2.0
    edge_pixels: Annotated[int, Field(ge=0)] = 2


ENTROPY_FIRST = LossWeights()
"""The ratio of the paper's predecessors: a steady start, since cross-entropy has a gradient at every pixel."""

OVERLAP_FIRST = LossWeights(cross_entropy=1.0, dice=1.5)
"""For the last stretch: cross-entropy draws a mask only where the class is likelier than not, Dice wherever drawing it
makes the overlap larger. Classes that look alike (grass, crop, shrub) stay without a mask otherwise."""


@dataclass(frozen=True, eq=False)
class MaskTerms:
    """The terms of each of M masks, all `[M]`; `present` is 1 where the true mask is not empty, else 0."""

    cross_entropy: Tensor
    dice: Tensor
    focal: Tensor
    boundary: Tensor
    present: Tensor

    def weighted(self, settings: LossWeights) -> Tensor:
        """The loss of each mask `[M]`. The Dice of an empty true mask counts zero: it is the same for every prediction
        that is not exactly empty."""
        return (
            settings.cross_entropy * self.cross_entropy
            + settings.dice * self.dice * self.present
            + settings.focal * self.focal
            + settings.boundary * self.boundary
        )


def mask_terms(
    logits: Tensor, target: Tensor, weight: Tensor, settings: LossWeights, near: Tensor | None = None
) -> MaskTerms:
    """Every term of L_seg, mask by mask; each is a mean over the pixels of its mask that count.

    Args:
        logits, target: `[M, ...]`; the target is a share in 0..1.
        weight: `[M, ...]`, 0 where nothing is known.
        settings: the weights of the terms, and how the last two are computed.
        near: `[M, ...]` in 0..1, how near an edge a pixel is; without it there is no boundary term.
    """
    logits, target, weight = logits.flatten(1).float(), target.flatten(1), weight.flatten(1)
    entropy = weight * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    area = weight.sum(1).clamp_min(1.0)
    probability = torch.sigmoid(logits)
    share, truth = probability * weight, target * weight
    dice = 1 - (2 * (share * truth).sum(1) + 1) / (share.sum(1) + truth.sum(1) + 1)
    zero = torch.zeros_like(dice)
    focal = boundary = zero
    if settings.focal:
        wrong = probability * (1 - target) + (1 - probability) * target
        focal = (wrong**settings.focusing * entropy).sum(1) / area
    if settings.boundary and near is not None:
        near = near.flatten(1)
        boundary = (near * entropy).sum(1) / (near * weight).sum(1).clamp_min(1.0)
    return MaskTerms(entropy.sum(1) / area, dice, focal, boundary, (truth.sum(1) > 0).float())


def nearness(target: Tensor, weight: Tensor, edge_pixels: int) -> Tensor:
    """How near an edge of the true mask each pixel is, `[M, H, W]` in 0..1.

    One within `edge_pixels` (in the larger of both directions) of pixels of both kinds, zero elsewhere. Where nothing
    is known there is no edge.

    Args:
        target, weight: `[M, H, W]`.
    """
    known = weight > 0
    window = 2 * edge_pixels + 1
    highest = functional.max_pool2d(target.where(known, target.new_tensor(0.0)), window, 1, edge_pixels)
    lowest = 1 - functional.max_pool2d((1 - target).where(known, target.new_tensor(0.0)), window, 1, edge_pixels)
    return (highest - lowest).clamp_min(0)


def sample_points(logits: Tensor, num_points: int, generator: torch.Generator | None = None) -> Tensor:
    """Points `[M, num_points, 2]` (x, y in -1..1) at which masks are compared, as PointRend chooses them.

    Of three times as many random points, the three quarters whose logits are nearest to zero; the rest anywhere.

    Args:
        logits: `[M, H, W]`.
        generator: on the CPU, for points that can be drawn again.
    """
    num_masks = len(logits)
    drawn = torch.rand(num_masks, _OVERSAMPLING * num_points, 2, generator=generator).to(logits.device) * 2 - 1
    num_uncertain = int(_UNCERTAIN_SHARE * num_points)
    certainty = read_points(logits.detach().float(), drawn).abs()
    places = certainty.topk(num_uncertain, dim=1, largest=False).indices
    chosen = drawn.take_along_dim(places[..., None], dim=1)
    anywhere = torch.rand(num_masks, num_points - num_uncertain, 2, generator=generator).to(logits.device) * 2 - 1
    return torch.cat([chosen, anywhere], dim=1)


def read_points(maps: Tensor, points: Tensor) -> Tensor:
    """Values `[M, N]` of maps `[M, H, W]` at points `[M, N, 2]` (x, y in -1..1), bilinear between pixel centres."""
    sampled = functional.grid_sample(
        maps[:, None], points[:, None].to(maps.dtype), align_corners=False, padding_mode="border"
    )
    return sampled[:, 0, 0]


def mask_losses(
    logits: Tensor, target: Tensor, weight: Tensor, settings: LossWeights, num_points: int | None = None
) -> Tensor:
    """The segmentation loss of each mask, `[M]`.

    Args:
        logits, target, weight: `[M, H, W]`, as in `mask_terms`.
        settings: the weights of the terms.
        num_points: compare the masks at so many points (`sample_points`) instead of at every pixel.
    """
    if not len(logits):
        return logits.float().sum((1, 2))
    near = nearness(target, weight, settings.edge_pixels) if settings.boundary else None
    if num_points is not None:
        points = sample_points(logits, num_points)
        sure = read_points(weight, points)
        # Read with its weight: an unknown pixel beside a known one must not change what is true there.
        target = read_points(target * weight, points) / sure.clamp_min(1e-6)
        logits, weight = read_points(logits.float(), points), sure
        near = None if near is None else read_points(near, points)
    return mask_terms(logits, target.clamp(0, 1), weight, settings, near).weighted(settings)


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor, settings: LossWeights) -> Tensor:
    """Pixel cross-entropy and Dice of masks.

    Args:
        logits, target: `[M, H, W]`; the target is 0 or 1.
        weight: `[M, H, W]`, 0 where nothing is known.
        settings: the weights of the terms.

    Returns:
        One number: the mean over masks, of Dice over the masks that are not empty.
    """
    terms = mask_terms(logits, target, weight, settings)
    dice = (terms.dice * terms.present).sum() / terms.present.sum().clamp_min(1)
    return settings.cross_entropy * terms.cross_entropy.mean() + settings.dice * dice


def language_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the tokens that count, summed: logits `[M, V]` at the positions that predict labels `[M]`."""
    return functional.cross_entropy(logits.float(), labels, reduction="sum")
