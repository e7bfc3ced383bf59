"""Eq. 6 against formulas written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terrascope.training.losses import (
    LossWeights,
    language_sum,
    mask_losses,
    mask_terms,
    nearness,
    read_points,
    sample_points,
    segmentation_loss,
)


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


EVERY_TERM = LossWeights(cross_entropy=0.7, dice=0.9, focal=1.3, boundary=1.1, focusing=1.5, edge_pixels=1)


def near_by_hand(target: Tensor, weight: Tensor, edge_pixels: int) -> Tensor:
    near = torch.zeros_like(target)
    for mask, row, column in np.ndindex(*target.shape):
        around = [
            float(target[mask, y, x])
            for y in range(max(row - edge_pixels, 0), min(row + edge_pixels + 1, target.shape[1]))
            for x in range(max(column - edge_pixels, 0), min(column + edge_pixels + 1, target.shape[2]))
            if weight[mask, y, x] > 0
        ]
        near[mask, row, column] = max(around) - min(around) if around else 0
    return near


def each_by_hand(logits: Tensor, target: Tensor, weight: Tensor, settings: LossWeights) -> list[float]:
    """Every term of every mask, pixel by pixel."""
    near = near_by_hand(target, weight, settings.edge_pixels)
    losses = []
    for mask in range(len(logits)):
        entropy = focal = boundary = area = edge = overlap = drawn = true = 0.0
        for row, column in np.ndindex(*logits.shape[1:]):
            x, y, w, n = (float(values[mask, row, column]) for values in (logits, target, weight, near))
            p = 1 / (1 + math.exp(-x))
            surprise = -(y * math.log(p) + (1 - y) * math.log(1 - p))
            entropy += w * surprise
            focal += w * (p * (1 - y) + (1 - p) * y) ** settings.focusing * surprise
            boundary += w * n * surprise
            area, edge = area + w, edge + w * n
            overlap, drawn, true = overlap + w * p * w * y, drawn + w * p, true + w * y
        dice = 1 - (2 * overlap + 1) / (drawn + true + 1) if true else 0.0
        area, edge = max(area, 1), max(edge, 1)
        losses.append(
            settings.cross_entropy * entropy / area
            + settings.dice * dice
            + settings.focal * focal / area
            + settings.boundary * boundary / edge
        )
    return losses


def test_every_term_of_every_mask_equals_the_formula() -> None:
    logits, target, weight = random_masks(4)
    target[1] = 0
    weight[2] = 0
    # A block, so that some pixels are far from every edge.
    target[3] = 0
    target[3, 1:3] = 1
    found = mask_losses(logits, target, weight, EVERY_TERM)
    assert found.tolist() == pytest.approx(each_by_hand(logits, target, weight, EVERY_TERM), rel=1e-5)
    assert float(found[2]) == 0.0


def test_the_dice_of_an_empty_truth_is_zero() -> None:
    logits, target, weight = random_masks(2)
    target[1] = 0
    found = mask_losses(logits, target, weight, LossWeights(cross_entropy=0, dice=1))
    assert float(found[1]) == 0.0 and float(found[0]) > 0.1


def test_the_mean_over_masks_is_the_loss_of_dense_pretraining() -> None:
    logits, target, weight = random_masks()
    each = mask_losses(logits, target, weight, LossWeights())
    assert float(each.mean()) == pytest.approx(float(segmentation_loss(logits, target, weight, LossWeights())))


@given(edge_pixels=st.integers(1, 3), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_nearness_equals_brute_force(edge_pixels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(2, 7, 6, generator=generator) > 0.8).float()
    weight = (torch.rand(2, 7, 6, generator=generator) > 0.3).float()
    assert torch.equal(nearness(target, weight, edge_pixels), near_by_hand(target, weight, edge_pixels))


def test_pixels_at_the_edge_weigh_more() -> None:
    target = torch.zeros(1, 9, 9)
    target[0, :, 5:] = 1
    at_edge, inside = torch.zeros(1, 9, 9), torch.zeros(1, 9, 9)
    # One pixel that is wrong, the others undecided: once beside the edge, once far from it.
    at_edge[0, 4, 4] = inside[0, 4, 0] = 3.0
    plain, bounded = LossWeights(), LossWeights(boundary=1.0, edge_pixels=1)
    weight = torch.ones(1, 9, 9)

    def loss(logits: Tensor, weights: LossWeights) -> float:
        return float(mask_losses(logits, target, weight, weights))

    assert loss(at_edge, plain) == pytest.approx(loss(inside, plain))
    # Two columns of nine pixels are near; the wrong one costs ln(1 + e^3) instead of ln 2.
    gap = (math.log1p(math.exp(3.0)) - math.log(2)) / 18
    assert loss(at_edge, bounded) - loss(inside, bounded) == pytest.approx(gap, rel=1e-4)


def read_by_hand(plane: Tensor, x: float, y: float) -> float:
    """Bilinear, pixel centres at (i + 0.5) / size, clamped to the outermost centres."""
    height, width = plane.shape
    column = min(max((x + 1) / 2 * width - 0.5, 0), width - 1)
    row = min(max((y + 1) / 2 * height - 0.5, 0), height - 1)
    top, left = min(int(row), height - 2), min(int(column), width - 2)
    down, right = row - top, column - left
    return float(
        (1 - down) * ((1 - right) * plane[top, left] + right * plane[top, left + 1])
        + down * ((1 - right) * plane[top + 1, left] + right * plane[top + 1, left + 1])
    )


def test_values_at_points_equal_bilinear_interpolation_by_hand() -> None:
    maps, points = torch.randn(2, 5, 7), torch.rand(2, 30, 2) * 2 - 1
    found = read_points(maps, points)
    for mask, point in np.ndindex(2, 30):
        x, y = points[mask, point].tolist()
        assert float(found[mask, point]) == pytest.approx(read_by_hand(maps[mask], x, y), abs=1e-5)


def test_three_quarters_of_the_points_are_the_least_certain_of_three_times_as_many() -> None:
    logits = torch.linspace(-8, 8, 64).expand(2, 64, 64).contiguous()
    points = sample_points(logits, 400, torch.Generator().manual_seed(3))
    assert points.shape == (2, 400, 2)
    drawn = torch.rand(2, 1200, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
    for mask in range(2):
        certainty = sorted(abs(read_by_hand(logits[mask], *point)) for point in drawn[mask].tolist())
        chosen = sorted(abs(read_by_hand(logits[mask], *point)) for point in points[mask, :300].tolist())
        assert chosen == pytest.approx(certainty[:300], abs=1e-4)
    # The last quarter lies anywhere: most of it beyond the columns where the first three quarters are.
    assert points[:, :300, 0].abs().max() < 0.3 < points[:, 300:, 0].abs().median()


def test_the_loss_at_points_equals_the_terms_of_their_values() -> None:
    torch.manual_seed(5)
    logits, target, weight = torch.randn(3, 16, 16), torch.zeros(3, 16, 16), torch.ones(3, 16, 16)
    target[:, 4:12, 4:12] = 1
    weight[:, :2] = 0
    torch.manual_seed(7)
    found = mask_losses(logits, target, weight, EVERY_TERM, num_points=50)
    torch.manual_seed(7)
    points = sample_points(logits, 50)
    near = near_by_hand(target, weight, EVERY_TERM.edge_pixels)
    for mask in range(3):
        rows = {
            name: torch.tensor([[read_by_hand(plane[mask], *point) for point in points[mask].tolist()]])
            for name, plane in (("x", logits), ("wy", weight * target), ("w", weight), ("n", near))
        }
        terms = mask_terms(rows["x"], rows["wy"] / rows["w"].clamp_min(1e-6), rows["w"], EVERY_TERM, rows["n"])
        assert float(found[mask]) == pytest.approx(float(terms.weighted(EVERY_TERM)), rel=1e-4)


def test_many_points_come_near_the_loss_of_all_pixels_where_nothing_is_certain() -> None:
    # All logits alike: the uncertain points are any points, so their mean is that of all pixels.
    target = torch.zeros(1, 32, 32)
    target[0, :, :16] = 1
    logits, weight = torch.full((1, 32, 32), 0.5), torch.ones(1, 32, 32)
    torch.manual_seed(0)
    found = mask_losses(logits, target, weight, LossWeights(), num_points=112 * 112)
    assert float(found) == pytest.approx(float(mask_losses(logits, target, weight, LossWeights())), rel=0.01)


def test_no_masks_are_no_trouble() -> None:
    empty = torch.zeros(0, 4, 4)
    for num_points in (None, 10):
        assert mask_losses(empty, empty, empty, EVERY_TERM, num_points).shape == (0,)


def test_language_is_summed_over_tokens() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    assert float(language_sum(logits, torch.tensor([1, 0]))) == pytest.approx(math.log(4 / 3) + math.log(2), rel=1e-6)
    assert float(language_sum(torch.zeros(0, 7), torch.zeros(0, dtype=torch.long))) == 0.0
