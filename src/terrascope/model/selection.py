"""Eq. 3: which visual tokens a mask selects, and the cap on their number (paper, Sec. 3.2 and Appendix C).

And what it is compared with in Tables 2 and A: a mask's bounding box, chance, and likeness to words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from terrascope.model.profiles import Thinning, TokenRule

_STRIP_ROWS = 512


def _overlaps(num_pixels: int, num_cells: int) -> Tensor:
    """float64 `[num_cells, num_pixels]`: the share of a cell's extent that each pixel takes. Rows sum to 1."""
    edges = torch.linspace(0, num_pixels, num_cells + 1, dtype=torch.float64)
    pixels = torch.arange(num_pixels, dtype=torch.float64)
    low = torch.maximum(edges[:-1, None], pixels[None])
    high = torch.minimum(edges[1:, None], pixels[None] + 1)
    return (high - low).clamp_min(0) * num_cells / num_pixels


def cell_coverage(mask: Tensor, token_grid: tuple[int, int]) -> Tensor:
    """The share of each cell of a token grid that a mask covers.

    Args:
        mask: bool `[H, W]`; the grid need not divide it.
        token_grid: (rows, columns).

    Returns:
        float64 `[rows, columns]` in 0..1, exact: a pixel that lies on a cell's border counts with the part inside.
    """
    height, width = mask.shape
    across = _overlaps(width, token_grid[1]).T
    along = _overlaps(height, token_grid[0])
    coverage = torch.zeros(token_grid, dtype=torch.float64)
    # By strips: the mask of a whole scene would take a gigabyte in float64.
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        coverage += along[:, rows] @ (mask[rows].double() @ across)
    return coverage


def center_hits(mask: Tensor, token_grid: tuple[int, int]) -> Tensor:
    """bool `[rows, columns]`: whether the mask holds the pixel at each cell's centre (the release's rule)."""
    rows, columns = (
        ((torch.arange(cells, dtype=torch.float64) + 0.5) * pixels / cells).long().clamp(max=pixels - 1)
        for pixels, cells in zip(mask.shape, token_grid, strict=True)
    )
    return mask[rows][:, columns]


def thin(
    rows: NDArray[np.int64], columns: NDArray[np.int64], max_tokens: int, thinning: Thinning = "even"
) -> NDArray[np.int64]:
    """Spatially uniform sampling of at most `max_tokens` cells (Appendix C).

    The bounding box of the cells is divided into ceil(sqrt(max_tokens)) squared fields; each field keeps its cell
    closest to the field's centre, the first on a tie. That may still be more than the cap (144 fields for 128).
    `even` then thins the cells at even steps in reading order; docs/decisions.md gives the reason. `first` does as the
    released code: it takes a cell for its upper left corner, goes through the fields row by row, and stops at the cap.

    Returns:
        Positions into `rows` and `columns`: increasing for `even`, in the order of their fields for `first`.
    """
    if len(rows) <= max_tokens:
        return np.arange(len(rows))
    fields = math.ceil(math.sqrt(max_tokens))
    top, left = rows.min(), columns.min()
    height, width = rows.max() - top + 1, columns.max() - left + 1
    field_row = (rows - top) * fields // height
    field_column = (columns - left) * fields // width
    # Distances to the field's centre in whole numbers (times 2 * height and 2 * width), so that ties are ties.
    half_cell = 1 if thinning == "even" else 0
    off_row = (2 * (rows - top) + half_cell) * fields - (2 * field_row + 1) * height
    off_column = (2 * (columns - left) + half_cell) * fields - (2 * field_column + 1) * width
    distance = (off_row * width) ** 2 + (off_column * height) ** 2 if thinning == "even" else off_row**2 + off_column**2
    field = field_row * fields + field_column
    order = np.lexsort((np.arange(len(rows)), distance, field))
    first = np.unique(field[order], return_index=True)[1]
    if thinning == "first":
        return order[first][:max_tokens]
    kept = np.sort(order[first])
    if len(kept) > max_tokens:
        kept = kept[np.arange(max_tokens) * len(kept) // max_tokens]
    return kept


def merge_cells(cells: Tensor, token_grid: tuple[int, int], side: int) -> tuple[Tensor, Tensor]:
    """Cells put together by the square block of the grid that they lie in, so that fewer tokens stand for a mask.

    Args:
        cells: int64 `[k]`, selected cells, in the order in which they are fed back.
        token_grid: (rows, columns).
        side: cells along the edge of a block; blocks at the right and lower border may be smaller.

    Returns:
        int64 `[m]`, the first cell of every block that has one, in their order; and int64 `[k]`, for each cell the
        number (from 0) of its block among these.
    """
    rows, columns = cells // token_grid[1] // side, cells % token_grid[1] // side
    blocks = (rows * math.ceil(token_grid[1] / side) + columns).numpy()
    _, first, block_of = np.unique(blocks, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return cells[torch.from_numpy(first[order])], torch.from_numpy(rank[block_of])


def select_tokens(
    mask: Tensor,
    token_grid: tuple[int, int],
    *,
    rule: TokenRule = "coverage",
    threshold: float = 0.5,
    max_tokens: int = 128,
    thinning: Thinning = "even",
    keep_best: bool = True,
    first_if_empty: bool = False,
) -> Tensor:
    """The cells of a token grid that a mask selects (Eq. 3).

    Args:
        mask: bool `[H, W]` on the image's pixel grid.
        token_grid: (rows, columns).
        rule: `coverage`, the paper's, or `center`, the release's.
        threshold: by the rule `coverage`, a cell is selected if the mask covers more than this share of it.
        max_tokens: the cap; beyond it the selection is thinned by `thin`.
        thinning: how.
        keep_best: a mask with at least one pixel that selects nothing selects its best-covered cell.
        first_if_empty: a mask that selects nothing otherwise selects the first cell.

    Returns:
        int64 indices into the flattened grid, in the order in which they are fed back.
    """
    coverage = None
    if rule == "center":
        chosen = center_hits(mask, token_grid).flatten().nonzero()[:, 0]
    else:
        coverage = cell_coverage(mask, token_grid)
        # Sums of fractions: exactly half a cell must not pass because of rounding.
        chosen = (coverage > threshold + 1e-9).flatten().nonzero()[:, 0]
    if len(chosen) == 0 and keep_best and bool(mask.any()):
        coverage = cell_coverage(mask, token_grid) if coverage is None else coverage
        chosen = coverage.flatten().argmax()[None]
    if len(chosen) == 0 and first_if_empty:
        chosen = torch.zeros(1, dtype=torch.int64)
    indices = chosen.numpy()
    rows, columns = np.divmod(indices, token_grid[1])
    return torch.from_numpy(indices[thin(rows, columns, max_tokens, thinning)])


def bounding_box(mask: Tensor) -> Tensor:
    """The smallest upright rectangle around a mask bool `[H, W]`, as a mask; an empty mask stays empty (Box CoT)."""
    box = torch.zeros_like(mask)
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def draw_tokens(num: int, token_grid: tuple[int, int], entropy: Sequence[int]) -> Tensor:
    """`num` different cells of a token grid at random (Random-Mask CoT).

    The same numbers give the same cells everywhere: of what numpy draws, only the raw bits are promised to stay.

    Args:
        num: of cells; all where the grid has fewer.
        token_grid: (rows, columns).
        entropy: whole numbers from 0 on.

    Returns:
        int64 indices into the flattened grid, increasing.
    """
    bits = np.random.PCG64(np.random.SeedSequence(list(entropy))).random_raw(token_grid[0] * token_grid[1])
    return torch.from_numpy(np.sort(np.argsort(bits, kind="stable")[:num]))


def select_similar(tokens: Tensor, words: Tensor, *, threshold: float, max_tokens: int) -> Tensor:
    """The cells whose visual tokens are like the words of a step: an implicit choice, without a mask (Table A).

    The similarity is the cosine between a visual token and the mean of the words. The mean of the image's tokens is
    taken off every token first: what all have in common says nothing about the place, and 0 then means no more like the
    words than the image on the whole.

    Args:
        tokens: `[M, N, D]`, M visual tokens for each of N cells; the more similar one counts.
        words: `[L, D]`, embedded; without any, nothing is selected.
        threshold: a cell is selected if its similarity is above this.
        max_tokens: beyond this cap the most similar cells are kept, the first on a tie.

    Returns:
        int64 indices, increasing.
    """
    if not len(words):
        return torch.zeros(0, dtype=torch.int64)
    tokens = tokens.detach().float()
    own = functional.normalize(tokens - tokens.mean(1, keepdim=True), dim=-1)
    asked = functional.normalize(words.detach().float().mean(0), dim=-1)
    # Products and a sum, no matrix product: training would compute that in a short format.
    similarity = (own * asked).sum(-1).amax(0).cpu()
    order = similarity.argsort(descending=True, stable=True)
    return order[similarity[order] > threshold][:max_tokens].sort().values
