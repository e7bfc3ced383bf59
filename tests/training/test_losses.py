"""Eq. 6 against formulas written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from terrascope.training.losses import LossWeights, language_loss, segmentation_loss


def random_masks(num: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(num, 5, 6) * 2
    target = (torch.rand(num, 5, 6) > 0.5).float()
    weight = torch.rand(num, 5, 6)
    weight[:, 0] = 0
    return logits, target, weight


def by_hand(logits: Tensor, target: Tensor, weight: Tensor, settings: LossWeights) -> float:
    entropies, dices = [], []
    for x, y, w in zip(logits.double().numpy(), target.double().numpy(), weight.double().numpy(), strict=True):
        p = 1 / (1 + np.exp(-x))
        entropies.append((-w * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum() / w.sum())
        if (y * w).sum() > 0:
            dices.append(1 - (2 * (p * w * y * w).sum() + 1) / ((p * w).sum() + (y * w).sum() + 1))
    return settings.cross_entropy * np.mean(entropies) + settings.dice * (np.mean(dices) if dices else 0.0)


def test_the_paper_names_the_weight_of_the_masks() -> None:
    assert LossWeights() == LossWeights(seg_loss_weight=0.5, cross_entropy=2.0, dice=0.5)


@pytest.mark.parametrize("settings", [LossWeights(), LossWeights(cross_entropy=0.3, dice=1.7)])
def test_segmentation_loss_equals_the_formula(settings: LossWeights) -> None:
    logits, target, weight = random_masks()
    assert float(segmentation_loss(logits, target, weight, settings)) == pytest.approx(
        by_hand(logits, target, weight, settings), rel=1e-5
    )


def test_values_of_a_mask_of_two_pixels() -> None:
    # Logits 0: every probability is 1/2. Cross-entropy ln 2; dice 1 - (2 * 0.5 + 1) / (1 + 1 + 1) = 1/3.
    loss = segmentation_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2), LossWeights())
    assert float(loss) == pytest.approx(2 * math.log(2) + 0.5 / 3, rel=1e-6)


def test_absent_masks_add_cross_entropy_but_no_dice() -> None:
    logits, target, weight = random_masks(2)
    target[1] = 0
    only_entropy, only_dice = LossWeights(cross_entropy=1, dice=0), LossWeights(cross_entropy=0, dice=1)
    assert float(segmentation_loss(logits, target, weight, only_dice)) == pytest.approx(
        float(segmentation_loss(logits[:1], target[:1], weight[:1], only_dice)), rel=1e-6
    )
    both = [
        float(segmentation_loss(logits[i : i + 1], target[i : i + 1], weight[i : i + 1], only_entropy)) for i in (0, 1)
    ]
    assert float(segmentation_loss(logits, target, weight, only_entropy)) == pytest.approx(np.mean(both), rel=1e-6)
    assert float(segmentation_loss(logits[1:], target[1:], weight[1:], only_dice)) == 0.0


def test_pixels_without_weight_do_not_matter() -> None:
    logits, target, weight = random_masks()
    changed_logits, changed_target = logits.clone(), target.clone()
    changed_logits[weight == 0] = 50.0
    changed_target[weight == 0] = 1 - changed_target[weight == 0]
    before = segmentation_loss(logits, target, weight, LossWeights())
    assert torch.equal(before, segmentation_loss(changed_logits, changed_target, weight, LossWeights()))
    leaf = logits.clone().requires_grad_(True)
    segmentation_loss(leaf, target, weight, LossWeights()).backward()
    assert leaf.grad is not None
    assert (leaf.grad[weight == 0] == 0).all() and (leaf.grad[weight > 0] != 0).all()


def test_masks_without_any_known_pixel_are_no_trouble() -> None:
    logits, target, _ = random_masks()
    loss = segmentation_loss(logits, target, torch.zeros_like(logits), LossWeights())
    assert float(loss) == 0.0


def test_half_precision_logits_are_summed_in_full() -> None:
    logits, target, weight = random_masks()
    loss = segmentation_loss(logits.bfloat16(), target, weight, LossWeights())
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(by_hand(logits.bfloat16().float(), target, weight, LossWeights()), rel=1e-5)


def test_language_loss_is_the_mean_surprise() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    loss = language_loss(logits, torch.tensor([1, 0]))
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)
