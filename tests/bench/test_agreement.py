"""Agreement of experts: worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.bench.agreement import measure_agreement


def test_fleiss_own_example() -> None:
    # The worked example of Fleiss' kappa that textbooks give: ten subjects, fourteen raters, five categories.
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    ratings = [[str(kind) for kind, num in enumerate(row) for _ in range(num)] for row in table]
    found = measure_agreement(ratings)
    assert found.pairwise == pytest.approx(0.378, abs=5e-4)
    assert found.fleiss_kappa == pytest.approx(0.210, abs=5e-4)
    assert (found.num_questions, found.unanimous) == (10, pytest.approx(0.1))


def test_few_ratings() -> None:
    found = measure_agreement([["high", "high"], ["high", "low"], ["low", "low", "low"], ["high"], []])
    assert found.num_questions == 3
    assert found.unanimous == pytest.approx(2 / 3)
    assert found.pairwise == pytest.approx(2 / 3)
    # Three of seven are high: 25/49 by chance.
    assert found.fleiss_kappa == pytest.approx((2 / 3 - 25 / 49) / (24 / 49))
    assert (found.num_masks, found.mask_iou) == (0, None)


def test_nothing_to_compare() -> None:
    found = measure_agreement([["high"], []])
    assert (found.num_questions, found.unanimous, found.pairwise, found.fleiss_kappa) == (0, None, None, None)
    found = measure_agreement([["high", "high"], ["high", "high", "high"]])
    assert (found.unanimous, found.pairwise, found.fleiss_kappa) == (1.0, 1.0, None)


def test_overlap_of_masks() -> None:
    def mask(num: int) -> np.ndarray:
        return np.arange(10).reshape(2, 5) < num

    found = measure_agreement([], [[mask(8), mask(4)], [mask(6), mask(6), mask(3)], [mask(2)]])
    assert found.num_masks == 2
    assert found.mask_iou == pytest.approx((0.5 + (1 + 0.5 + 0.5) / 3) / 2)
