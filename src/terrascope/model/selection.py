"""Eq. 3: which visual tokens a mask selects, and the cap on their number (paper, Sec. 3.2 and Appendix C)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def thin_evenly(rows: NDArray[np.int64], columns: NDArray[np.int64], max_tokens: int) -> NDArray[np.int64]:
    """Spatially uniform sampling of at most `max_tokens` cells (Appendix C).

    The bounding box of the cells is divided into ceil(sqrt(max_tokens)) squared fields; each field keeps its cell
    closest to the field's centre, the first on a tie. That may still be more than the cap (144 fields for 128), so the
    fields are then thinned at even steps in reading order. docs/decisions.md gives the reason.

    Returns:
        Increasing positions into `rows` and `columns`.
    """
    if len(rows) <= max_tokens:
        return np.arange(len(rows))
    fields = math.ceil(math.sqrt(max_tokens))
    top, left = rows.min(), columns.min()
    height, width = rows.max() - top + 1, columns.max() - left + 1
    field_row = (rows - top) * fields // height
    field_column = (columns - left) * fields // width
    # Distances to the field's centre in whole numbers (times 2 * height and 2 * width), so that ties are ties.
    off_row = (2 * (rows - top) + 1) * fields - (2 * field_row + 1) * height
    off_column = (2 * (columns - left) + 1) * fields - (2 * field_column + 1) * width
    distance = (off_row * width) ** 2 + (off_column * height) ** 2
    field = field_row * fields + field_column
    order = np.lexsort((np.arange(len(rows)), distance, field))
    first = np.unique(field[order], return_index=True)[1]
    kept = np.sort(order[first])
    if len(kept) > max_tokens:
        kept = kept[np.arange(max_tokens) * len(kept) // max_tokens]
    return kept


def select_tokens(
    mask: Tensor,
    token_grid: tuple[int, int],
    *,
    threshold: float = 0.5,
    max_tokens: int = 128,
    keep_best: bool = True,
) -> Tensor:
    """The cells of a token grid that a mask selects (Eq. 3).

    Args:
        mask: bool `[H, W]` on the image's pixel grid.
        token_grid: (rows, columns).
        threshold: a cell is selected if the mask covers more than this share of it.
        max_tokens: the cap; beyond it the selection is thinned by `thin_evenly`.
        keep_best: a mask with at least one pixel that passes the threshold nowhere selects its best-covered cell.

    Returns:
        Increasing int64 indices into the flattened grid; empty for an empty mask.
    """
    coverage = cell_coverage(mask, token_grid)
    # Sums of fractions: exactly half a cell must not pass because of rounding.
    chosen = (coverage > threshold + 1e-9).flatten().nonzero()[:, 0]
    if len(chosen) == 0 and keep_best and bool(mask.any()):
        chosen = coverage.flatten().argmax()[None]
    indices = chosen.numpy()
    rows, columns = np.divmod(indices, token_grid[1])
    return torch.from_numpy(indices[thin_evenly(rows, columns, max_tokens)])
