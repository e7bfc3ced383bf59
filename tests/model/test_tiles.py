"""InternVL's tiling, and the map from the token grid to the tiles."""

from __future__ import annotations

import pytest
import torch

from terrascope.model.tiles import TileLayout, choose_layout, cut_tiles


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((256, 256), (1, 1)), ((512, 512), (1, 1)), ((1024, 1024), (3, 3)), ((448, 896), (1, 2)), ((1344, 448), (3, 1))],
)
def test_layouts_known_from_internvl(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    layout = choose_layout(shape, min_tiles=1, max_tiles=12, tile_size=448, grid=16)
    assert (layout.rows, layout.columns) == expected
    assert layout.num_tiles == (expected[0] * expected[1] + 1 if expected != (1, 1) else 1)


def test_the_papers_four_tiles_and_thumbnail() -> None:
    layout = choose_layout((512, 512), min_tiles=4, max_tiles=4, tile_size=448, grid=16)
    assert (layout.rows, layout.columns, layout.num_tiles * 256) == (2, 2, 1280)


def test_order_puts_every_tile_token_at_its_place_in_the_image() -> None:
    layout = TileLayout(2, 3, 4)
    # Each token carries the coordinates of its cell; tiles are stacked as the vision encoder would.
    tokens = [(r * 4 + i, c * 4 + j) for r in range(2) for c in range(3) for i in range(4) for j in range(4)]
    on_grid = [tokens[k] for k in layout.order.tolist()]
    assert on_grid == [(row, column) for row in range(8) for column in range(12)]
    assert layout.token_grid == (8, 12)


def test_tiles_are_cut_row_by_row_with_the_thumbnail_last() -> None:
    image = torch.zeros(3, 8, 12)
    image[0] = torch.arange(8)[:, None] // 4 * 3 + torch.arange(12)[None] // 4
    image = image / 5
    tiles = cut_tiles(image, TileLayout(2, 3, 2), 4)
    assert tiles.shape == (7, 3, 4, 4)
    assert torch.allclose(tiles[:6, 0], torch.arange(6.0)[:, None, None].expand(6, 4, 4) / 5)
    assert torch.allclose(tiles[6, 0].mean(), torch.tensor(0.5), atol=0.02)
