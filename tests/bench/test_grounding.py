"""Which mask belongs to which true one, and how well it lies on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from terrascope import masks
from terrascope.bench.grounding import GroundedQuestion, ground, summarize_grounding
from terrascope.errors import SampleError
from terrascope.sample import SampleMask
from tests.bench.made_runs import columns, make_question, mask_of

WATER, TREE = mask_of(0, 4), mask_of(4, 8, "tree")


def ious(truths: list[SampleMask], predicted: list[SampleMask]) -> list[float]:
    return [mask.iou for mask in ground(make_question(0, true_masks=truths), predicted).masks]


def test_a_mask_is_compared_with_the_true_one_of_its_name() -> None:
    # 2 of the columns 0 to 5 are shared; the tree is as it should be. The order does not matter.
    moved = mask_of(2, 6)
    assert ious([WATER, TREE], [moved, TREE]) == [pytest.approx(2 / 6), 1.0]
    assert ious([WATER, TREE], [TREE, moved]) == [pytest.approx(2 / 6), 1.0]
    assert ious([WATER, TREE], [replace(TREE, class_name="The Trees"), WATER]) == [1.0, 1.0]


def test_masks_of_one_class_are_compared_in_the_order_of_seg() -> None:
    first, second = mask_of(0, 2), mask_of(5, 9)
    assert ious([first, second], [first, second]) == [1.0, 1.0]
    assert ious([first, second], [second, first]) == [0.0, 0.0]


def test_a_missing_mask_counts_nothing_even_where_nothing_is_true() -> None:
    empty = mask_of(0, 0)
    assert ious([WATER, TREE], [WATER]) == [1.0, 0.0]
    assert ious([empty], [empty]) == [1.0]
    assert ious([empty], [WATER]) == [0.0]
    assert ious([empty], []) == [0.0]
    grounded = ground(make_question(0, true_masks=[WATER, TREE]), [WATER])
    assert grounded.iou == 0.5
    assert [mask.found for mask in grounded.masks] == [0, None]


def test_masks_of_foreign_names_go_where_they_fit_best() -> None:
    lake, wood = mask_of(0, 3, "the big lake"), mask_of(4, 9, "some wood")
    grounded = ground(make_question(0, true_masks=[WATER, TREE]), [wood, lake])
    assert [(mask.found, mask.by_name) for mask in grounded.masks] == [(1, False), (0, False)]
    assert [mask.iou for mask in grounded.masks] == [pytest.approx(3 / 4), pytest.approx(4 / 5)]
    # One true mask is found by name, so that only the other is left.
    assert ious([WATER, TREE], [WATER, lake]) == [1.0, 0.0]


def test_a_surplus_mask_of_a_true_class_does_not_stand_in_for_another() -> None:
    grounded = ground(make_question(0, true_masks=[WATER, TREE]), [WATER, mask_of(4, 8)])
    assert [mask.iou for mask in grounded.masks] == [1.0, 0.0]
    assert grounded.num_surplus == 1


def test_a_mask_on_another_date_is_not_that_mask() -> None:
    later = mask_of(0, 4, image=2)
    assert ious([WATER], [later]) == [0.0]
    assert ious([WATER, later], [later, WATER]) == [1.0, 1.0]
    assert ious([WATER], [replace(later, class_name="lake no. 7")]) == [0.0]


def test_a_damaged_mask_counts_as_missing_and_a_damaged_truth_is_refused() -> None:
    sample = make_question(0, true_masks=[WATER])
    for counts in ("", "9", "\x01", "ü"):
        grounded = ground(sample, [SampleMask(counts=counts, image=1, class_name="water")])
        assert (grounded.iou, grounded.num_damaged, grounded.num_surplus) == (0.0, 1, 0)
    grounded = ground(sample, [SampleMask(counts="9", image=1, class_name="water"), WATER])
    assert (grounded.iou, grounded.masks[0].found) == (1.0, 1)
    with pytest.raises(SampleError, match=r"q0.*12 x 10"):
        ground(make_question(0, true_masks=[SampleMask(counts="9", image=1, class_name="water")]), [WATER])


def test_random_masks_as_arrays_and_by_brute_force() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        truth, found = (rng.random((12, 10)) < rng.random() for _ in range(2))
        true_mask, found_mask = (
            SampleMask(counts=masks.encode_rle(mask)["counts"], image=1, class_name="water") for mask in (truth, found)
        )
        either = (truth | found).sum()
        (score,) = ground(make_question(0, true_masks=[true_mask]), [found_mask]).masks
        assert score.iou == pytest.approx((truth & found).sum() / either if either else 1.0)
        assert score.share == pytest.approx(truth.mean())


def test_means_over_questions_and_masks() -> None:
    def question(number: int, truths: list[SampleMask], found: list[SampleMask], right: bool) -> GroundedQuestion:
        grounded = ground(make_question(number, true_masks=truths), found)
        return GroundedQuestion(
            grounded=grounded, right=right, task="area" if number else "coverage", place=str(number)
        )

    found = summarize_grounding(
        [
            question(0, [WATER, TREE], [WATER, mask_of(6, 10, "tree")], True),
            question(1, [mask_of(0, 1)], [mask_of(0, 2)], False),
            question(2, [mask_of(0, 2)], [mask_of(0, 2), mask_of(0, 1)], True),
            question(3, [WATER], [], False),
        ]
    )
    # By question (1 + 1/3) / 2, 1/2, 1, 0; by mask 1, 1/3, 1/2, 1, 0.
    assert found.iou.mean == pytest.approx((2 / 3 + 1 / 2 + 1 + 0) / 4)
    assert found.mask_iou.mean == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 + 0) / 5)
    assert (found.right_iou.mean, found.wrong_iou.mean) == (pytest.approx(5 / 6), 0.25)
    assert (found.num_questions, found.num_masks, found.num_missing, found.num_surplus) == (4, 5, 1, 1)
    assert found.correlation.r == pytest.approx(np.corrcoef([2 / 3, 1 / 2, 1, 0], [1, 0, 1, 0])[0, 1])
    assert found.by_task["area"].r == pytest.approx(np.corrcoef([1 / 2, 1, 0], [0, 1, 0])[0, 1])
    assert found.by_task["coverage"].r is None
    assert found.tasks["area"].mean == pytest.approx(0.5)
    # Masks of a tenth, which is the bound, and a fifth of the scene; then of four tenths.
    assert [share.num for share in found.by_share] == [0, 0, 0, 2, 3]
    assert found.by_share[3].mean == pytest.approx((1 / 2 + 1) / 2)
    assert found.by_share[4].mean == pytest.approx((1 + 1 / 3 + 0) / 3)


def test_columns_are_tenths() -> None:
    assert columns(2, 5).mean() == pytest.approx(0.3)
