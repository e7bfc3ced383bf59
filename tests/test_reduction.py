"""Means over cells, gathered from parts that cut through the cells anywhere."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from terrascope.reduction import Reduction, reduced_size


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**16), st.data())
def test_parts_in_any_order_give_the_mean_of_the_valid_pixels(
    height: int, width: int, max_side: int, seed: int, data
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(-50, 50, (2, height, width)).astype(np.float32)
    valid = rng.random((height, width)) < data.draw(st.sampled_from([0.2, 0.9, 1.0]))
    size = reduced_size((height, width), max_side)
    assert max(size) == min(max_side, max(height, width))

    def edges(side: int) -> list[slice]:
        inner = data.draw(st.lists(st.integers(1, side - 1), unique=True, max_size=4)) if side > 1 else []
        bounds = [0, *sorted(inner), side]
        return [slice(start, stop) for start, stop in pairwise(bounds)]

    parts = [(rows, columns) for rows in edges(height) for columns in edges(width)]
    reduction = Reduction(2, (height, width), size)
    for part in data.draw(st.permutations(parts)):
        reduction.add(*reduction.summed(part, pixels[:, *part], valid[part]))
    reduced = reduction.result([3, 5], valid)
    for row in range(size[0]):
        for column in range(size[1]):
            rows = slice(row * height // size[0], (row + 1) * height // size[0])
            columns = slice(column * width // size[1], (column + 1) * width // size[1])
            inside = pixels[:, rows, columns][:, valid[rows, columns]]
            assert reduced.valid[row, column] == (inside.size > 0)
            expected = inside.mean(axis=1) if inside.size else [0, 0]
            np.testing.assert_allclose(reduced.pixels[:, row, column], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(reduced.pixels_of([5], size, valid), reduced.pixels[1:])
    assert reduced.pixels_of([5, 4], size, valid) is None
    assert reduced.pixels_of([5], size, valid.copy()) is None
