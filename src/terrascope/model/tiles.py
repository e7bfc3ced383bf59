"""InternVL's dynamic tiling, and where on the image each visual token lies (paper, Sec. 3.2 and Appendix C)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from terrascope.model.profiles import Resampling


@dataclass(frozen=True)
class TileLayout:
    """An image cut into `rows` x `columns` tiles of `grid` x `grid` visual tokens each, plus a thumbnail if several.

    Tiles come row by row, the thumbnail last. The token grid of the image, `(rows * grid) x (columns * grid)`, is made
    of the tiles; the thumbnail's tokens are on no grid and are never selected by a mask.
    """

    rows: int
    columns: int
    grid: int

    @property
    def num_tiles(self) -> int:
        """Tiles that the vision encoder sees, the thumbnail included."""
        tiles = self.rows * self.columns
        return tiles + 1 if tiles > 1 else tiles

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of the image's token grid."""
        return self.rows * self.grid, self.columns * self.grid

    @cached_property
    def order(self) -> Tensor:
        """int64 `[rows * grid * columns * grid]`: for each cell of the token grid, row by row, its visual token."""
        height, width = self.token_grid
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        tile = row // self.grid * self.columns + column // self.grid
        return (tile * self.grid**2 + row % self.grid * self.grid + column % self.grid).flatten()


def choose_layout(shape: tuple[int, int], *, min_tiles: int, max_tiles: int, tile_size: int, grid: int) -> TileLayout:
    """The layout whose aspect ratio is nearest to the image's, by InternVL's rule.

    Among layouts of equal aspect ratio the larger wins only if the image has more than half of the pixels that the
    layout would show.
    """
    height, width = shape
    layouts = sorted(
        ((r, c) for r in range(1, max_tiles + 1) for c in range(1, max_tiles + 1) if min_tiles <= r * c <= max_tiles),
        key=lambda layout: layout[0] * layout[1],
    )
    best, best_gap = (1, 1), float("inf")
    for rows, columns in layouts:
        gap = abs(width / height - columns / rows)
        larger = height * width > 0.5 * tile_size**2 * rows * columns
        if gap < best_gap or (gap == best_gap and larger):
            best, best_gap = (rows, columns), gap
    return TileLayout(best[0], best[1], grid)


def resize_image(image: Tensor, shape: tuple[int, int], resampling: Resampling = "float") -> Tensor:
    """Resize an image `[3, H, W]` in 0..1 with antialiased bicubic interpolation.

    `pillow` brings the image to 8 bits first and lets Pillow resize it, as the released code does; its results differ
    from those in floating point by up to one 255th.
    """
    if resampling == "pillow":
        pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        resized = Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255
    if image.shape[-2:] == shape:
        return image
    enlarged = functional.interpolate(image[None].float(), size=shape, mode="bicubic", antialias=True)
    return enlarged[0].clamp(0, 1)


def cut_tiles(image: Tensor, layout: TileLayout, tile_size: int, resampling: Resampling = "float") -> Tensor:
    """Cut an image `[3, H, W]` in 0..1 into tiles `[num_tiles, 3, tile_size, tile_size]`, the thumbnail last."""
    resized = resize_image(image, (layout.rows * tile_size, layout.columns * tile_size), resampling)
    tiles = resized.unflatten(2, (layout.columns, tile_size)).unflatten(1, (layout.rows, tile_size))
    tiles = tiles.permute(1, 3, 0, 2, 4).flatten(0, 1)
    if layout.num_tiles > len(tiles):
        tiles = torch.cat([tiles, resize_image(image, (tile_size, tile_size), resampling)[None]])
    return tiles
