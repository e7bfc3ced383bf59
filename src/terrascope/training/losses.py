"""The training objective (paper, Eq. 6): language loss + lambda * segmentation loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """`seg_loss_weight` is the lambda of Eq. 6; the ratio of the two mask terms is open there (docs/decisions.md)."""

    seg_loss_weight: float = 0.5
    cross_entropy: float = 2.0
    dice: float = 0.5


ENTROPY_FIRST = LossWeights()
"""The ratio of the paper's predecessors: a steady start, since cross-entropy has a gradient at every pixel."""

OVERLAP_FIRST = LossWeights(cross_entropy=1.0, dice=1.5)
"""For the last stretch: cross-entropy draws a mask only where the class is likelier than not, Dice wherever drawing it
makes the overlap larger. Classes that look alike (grass, crop, shrub) stay without a mask otherwise."""


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor, settings: LossWeights) -> Tensor:
    """Pixel cross-entropy and Dice of masks.

    Args:
        logits, target: `[M, H, W]`; the target is 0 or 1.
        weight: `[M, H, W]`, 0 where nothing is known.
        settings: the weights of the terms.

    Returns:
        One number: the mean over masks. Dice counts only for masks that are not empty, since the Dice of an empty
        target is the same for every prediction that is not exactly empty.
    """
    logits = logits.float()
    area = weight.sum((1, 2)).clamp_min(1.0)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="none").sum((1, 2)) / area
    share = torch.sigmoid(logits) * weight
    truth = target * weight
    overlap = (share * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (share.sum((1, 2)) + truth.sum((1, 2)) + 1)
    present = (truth.sum((1, 2)) > 0).float()
    return settings.cross_entropy * entropy.mean() + settings.dice * (dice * present).sum() / present.sum().clamp_min(1)


def language_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the tokens that count: logits `[M, V]` at the positions that predict labels `[M]`."""
    return functional.cross_entropy(logits.float(), labels)
