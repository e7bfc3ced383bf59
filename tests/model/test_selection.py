"""Eq. 3 against a literal reference, and the cap on the number of tokens."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.model.selection import cell_coverage, merge_cells, select_tokens, thin

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 13), st.integers(1, 13)))


def literal_coverage(mask: np.ndarray, rows: int, columns: int) -> list[list[Fraction]]:
    """Exact overlap of every pixel with every cell, in fractions."""
    height, width = mask.shape
    table = []
    for r in range(rows):
        line = []
        for c in range(columns):
            total = Fraction(0)
            for y in range(height):
                for x in range(width):
                    if not mask[y, x]:
                        continue
                    tall = min(Fraction(y + 1), Fraction((r + 1) * height, rows)) - max(
                        Fraction(y), Fraction(r * height, rows)
                    )
                    wide = min(Fraction(x + 1), Fraction((c + 1) * width, columns)) - max(
                        Fraction(x), Fraction(c * width, columns)
                    )
                    if tall > 0 and wide > 0:
                        total += tall * wide
            line.append(total * rows * columns / (height * width))
        table.append(line)
    return table


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(1, 5), st.integers(1, 5))
def test_coverage_and_rule_equal_exact_fractions(mask: np.ndarray, rows: int, columns: int) -> None:
    expected = literal_coverage(mask, rows, columns)
    got = cell_coverage(torch.from_numpy(mask), (rows, columns))
    assert np.allclose(got.numpy(), np.array(expected, dtype=float), atol=1e-12)
    chosen = [r * columns + c for r in range(rows) for c in range(columns) if expected[r][c] > Fraction(1, 2)]
    assert select_tokens(torch.from_numpy(mask), (rows, columns), keep_best=False).tolist() == chosen


def test_exactly_half_is_not_enough() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 0] = True  # half of the two left cells of a 2 x 2 grid
    assert select_tokens(mask, (2, 2), keep_best=False).tolist() == []
    mask[0, 1] = True  # 3 of 4 pixels of the upper left cell
    assert select_tokens(mask, (2, 2)).tolist() == [0]


def test_small_object_gives_its_best_cell_only_when_asked() -> None:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[17, 25] = True
    assert select_tokens(mask, (4, 4), keep_best=True).tolist() == [2 * 4 + 3]
    assert select_tokens(mask, (4, 4), keep_best=False).tolist() == []
    assert select_tokens(torch.zeros(32, 32, dtype=torch.bool), (4, 4), keep_best=True).tolist() == []


@pytest.mark.parametrize("cap", [1, 7, 128])
def test_never_more_than_the_cap_and_spread_over_the_region(cap: int) -> None:
    mask = torch.ones(64, 64, dtype=torch.bool)
    chosen = select_tokens(mask, (16, 16), max_tokens=cap)
    assert len(chosen) == cap
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    if cap == 128:
        rows, columns = np.divmod(chosen.numpy(), 16)
        quadrants = np.bincount((rows // 8) * 2 + columns // 8, minlength=4)
        assert quadrants.min() >= 25, "each quarter of a full mask keeps its share of 128 tokens"


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(bool, (9, 11)), st.integers(1, 20))
def test_thinning_keeps_one_cell_per_field_nearest_to_its_center(cells: np.ndarray, cap: int) -> None:
    rows, columns = np.nonzero(cells)
    kept = thin(rows, columns, cap)
    assert len(kept) <= cap and list(kept) == sorted(set(kept.tolist()))
    if len(rows) <= cap:
        assert list(kept) == list(range(len(rows)))
        return
    fields = math.ceil(math.sqrt(cap))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    best: dict[tuple[int, int], tuple[Fraction, int]] = {}
    for i, (r, c) in enumerate(zip(rows - rows.min(), columns - columns.min(), strict=True)):
        y, x = Fraction(int(2 * r + 1) * fields, 2 * int(height)), Fraction(int(2 * c + 1) * fields, 2 * int(width))
        # A cell belongs to the field in which its upper left corner lies.
        field = (int(r) * fields // int(height), int(c) * fields // int(width))
        gap = (y - field[0] - Fraction(1, 2)) ** 2 + (x - field[1] - Fraction(1, 2)) ** 2
        if field not in best or gap < best[field][0]:
            best[field] = (gap, i)
    winners = sorted(i for _, i in best.values())
    assert set(kept.tolist()) <= set(winners)
    assert len(kept) == min(cap, len(winners))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.data())
def test_cells_of_a_block_stand_together_in_the_order_of_the_first(
    rows: int, columns: int, side: int, data: st.DataObject
) -> None:
    cells = data.draw(st.lists(st.integers(0, rows * columns - 1), unique=True))
    blocks: dict[tuple[int, int], list[int]] = {}
    for cell in cells:
        blocks.setdefault((cell // columns // side, cell % columns // side), []).append(cell)
    first, block_of = merge_cells(torch.tensor(cells, dtype=torch.int64), (rows, columns), side)
    assert first.tolist() == [members[0] for members in blocks.values()]
    assert [[c for c, b in zip(cells, block_of.tolist(), strict=True) if b == n] for n in range(len(blocks))] == [
        *blocks.values()
    ]
    if side == 1:
        assert first.tolist() == cells
