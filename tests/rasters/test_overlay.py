"""The picture of an answer, looked at pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.rasters.masks_of_known_shape import named, square

from terrascope.errors import OutputError
from terrascope.rasters.overlay import draw_overlay, write_overlay


def test_overlay_tints_the_mask_and_dims_the_rest(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    valid = np.ones((64, 64), bool)
    valid[:8, :8] = False
    rgb = np.full((3, 64, 64), 0.5, np.float32)
    write_overlay(
        tmp_path / "overlay.png",
        rgb,
        [named(mask, valid, step=1, text="A lake \u2013 5 km\u00b2. " * 20, coverage=0.25)],
    )
    picture = Image.open(tmp_path / "overlay.png")
    assert picture.format == "PNG"
    assert picture.width == 2 * 384 + 3 * 18
    pixels = np.asarray(picture).astype(int)
    plain, panel = pixels[18 : 18 + 384, 18 : 18 + 384], pixels[18 : 18 + 384, 420 : 420 + 384]
    assert (plain == 128).all()
    np.testing.assert_allclose(panel[192, 192], 0.55 * 128 + 0.45 * np.array([0, 100, 200]), atol=1)
    np.testing.assert_allclose(panel[300, 20], 0.7 * 128, atol=1)
    assert panel[10, 10].tolist() == [110, 110, 110]
    assert (panel[95, 192] == 255).all()
    assert panel[96, 192].tolist() == [0, 80, 160]
    caption = pixels[18 + 384 + 30 :, 420:]
    assert (caption.min(axis=2) < 128).any(axis=1).sum() > 20


def test_overlay_draws_each_step_on_its_image(tmp_path: Path) -> None:
    mask = np.zeros((32, 96), bool)
    images = np.stack([np.full((3, 32, 96), level, np.float32) for level in (0.2, 0.8)])
    write_overlay(tmp_path / "o.png", images, [named(mask, image=2), named(mask, image=1)])
    pixels = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
    assert pixels.shape[1] == 3 * 896 + 4 * 18
    third, below = pixels[100, 18 + 2 * 914 + 448], pixels[-100, 18 + 448]
    assert third.tolist() == [int(0.7 * 204)] * 3
    assert below.tolist() == [int(0.7 * 51)] * 3
    with pytest.raises(OutputError, match="is of image 3, but there are 2"):
        write_overlay(tmp_path / "o.png", images, [named(mask, image=3)])


@pytest.mark.parametrize("height", [1, 40, 3000])
def test_overlay_panels_stay_legible(tmp_path: Path, height: int) -> None:
    write_overlay(tmp_path / "o.png", np.zeros((3, height, 60), np.float32), [named(np.ones((height, 60), bool))])
    picture = Image.open(tmp_path / "o.png")
    assert picture.width >= 2 * 192
    assert picture.height <= 1000


def test_a_mask_beside_the_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not lie on the image"):
        write_overlay(tmp_path / "m.png", np.zeros((3, 9, 9), np.float32), [named(square())])


def test_a_caption_of_any_length_makes_a_picture_of_bounded_height() -> None:
    mask, image = np.zeros((64, 64), bool), np.zeros((1, 3, 64, 64), np.float32)
    heights = [draw_overlay(image, [named(mask, text="lake " * number)]).height for number in (1, 120, 121, 100_000)]
    assert heights[0] < heights[1] <= heights[2] == heights[3] < 1000
