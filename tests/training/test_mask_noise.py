"""Perturbed masks: each kind against masks drawn by hand or by definition, and how far they may differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.errors import SampleError
from terrascope.training.mask_noise import Mask, drop_parts, inner_radius, move_border, perturb_mask, shift_mask


def block(rows: tuple[int, int], columns: tuple[int, int]) -> Mask:
    mask = np.zeros((40, 50), bool)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


def distances(mask: Mask) -> np.ndarray:
    """From every pixel to the nearest of the mask."""
    rows, columns = np.nonzero(mask)
    row, column = np.indices(mask.shape)
    return np.sqrt((row[..., None] - rows) ** 2 + (column[..., None] - columns) ** 2).min(-1)


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.3, 5.0])
def test_a_border_moves_by_a_distance(distance: float) -> None:
    mask = block((10, 22), (5, 20)) | block((30, 33), (30, 48))
    assert np.array_equal(move_border(mask, distance), distances(mask) <= distance)
    assert np.array_equal(move_border(mask, -distance), distances(~mask) > distance)


def test_a_border_that_does_not_move_or_is_not_there_stays() -> None:
    mask = block((10, 22), (5, 20))
    assert np.array_equal(move_border(mask, 0.0), mask)
    for same in (np.ones((4, 4), bool), np.zeros((4, 4), bool)):
        assert np.array_equal(move_border(same, 2.0), same) and np.array_equal(move_border(same, -2.0), same)


def test_the_inner_radius_is_that_of_the_largest_part() -> None:
    assert inner_radius(block((10, 21), (5, 30)) | block((30, 31), (0, 50))) == 6.0
    assert inner_radius(block((30, 31), (0, 50))) == 1.0
    assert inner_radius(np.ones((40, 50), bool)) == 25.0


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (0, 0, block((10, 20), (30, 50))),
        (3, -4, block((13, 23), (26, 46))),
        (-12, 5, block((0, 8), (35, 50))),
        (60, -70, block((0, 0), (0, 0))),
    ],
)
def test_a_shifted_mask_lies_so_many_pixels_away(rows: int, columns: int, expected: Mask) -> None:
    assert np.array_equal(shift_mask(block((10, 20), (30, 50)), rows, columns), expected)


def test_whole_parts_are_dropped_and_the_largest_stays() -> None:
    large, others = block((0, 10), (0, 10)), [block((20, 22), (c, c + 2)) for c in range(0, 40, 4)]
    mask = np.logical_or.reduce([large, *others])
    rng = np.random.default_rng(0)
    assert np.array_equal(drop_parts(mask, 0.0, rng), mask)
    assert np.array_equal(drop_parts(mask, 1.0, rng), large)
    num_kept = []
    for _ in range(200):
        left = drop_parts(mask, 0.3, rng)
        assert left[large].all() and not left[~mask].any()
        kept = [bool(left[other].all()) for other in others]
        assert kept == [bool(left[other].any()) for other in others], "a part stays or goes as a whole"
        num_kept.append(sum(kept))
    assert 6.5 < np.mean(num_kept) < 7.5


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0, 1))
def test_a_mask_differs_by_no_more_than_the_noise_allows(seed: int, noise: float) -> None:
    mask = block((8, 30), (10, 40)) | block((34, 36), (45, 48))
    before = mask.copy()
    changed = perturb_mask(mask, noise, np.random.default_rng(seed))
    assert np.array_equal(mask, before) and changed.dtype == bool and changed.shape == mask.shape
    assert not np.shares_memory(changed, mask)
    # Half a pixel: a shift is by whole pixels.
    reach = noise * inner_radius(mask) + 0.75
    away = distances(mask)
    assert not (changed & (away > reach)).any()
    again = perturb_mask(mask, noise, np.random.default_rng(seed))
    assert np.array_equal(changed, again)


def test_all_kinds_of_noise_occur_and_none_without_noise() -> None:
    mask = block((8, 30), (10, 40)) | block((34, 36), (45, 48))
    rng = np.random.default_rng(0)
    assert all(np.array_equal(perturb_mask(mask, 0.0, rng), mask) for _ in range(20))
    grown = shrunk = shifted = dropped = 0
    for _ in range(200):
        changed = perturb_mask(mask, 0.6, rng)
        more, less = bool((changed & ~mask).any()), bool((mask & ~changed).any())
        part = bool(changed[34:36, 45:48].any())
        grown += more and not less
        shifted += more and less
        dropped += not more and not part and bool(changed[8:30, 10:40].all())
        shrunk += not more and less and not changed[8:30, 10:40].all()
    assert min(grown, shrunk, shifted) > 25 and dropped > 15


def test_an_empty_mask_stays_empty_and_draws_as_many_numbers() -> None:
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    assert not perturb_mask(np.zeros((5, 5), bool), 0.5, one).any()
    perturb_mask(block((8, 30), (10, 40)), 0.5, other)
    assert one.random() == other.random()


def test_noise_is_a_share() -> None:
    with pytest.raises(SampleError, match=r"mask_noise is 1\.5"):
        perturb_mask(np.ones((2, 2), bool), 1.5, np.random.default_rng(0))
