"""The picture that a model is shown."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from terracot.known_chip import IDS, LATER_IDS, make_chip
from terrascope.landcover import TERRASCOPE
from terrascope.sources.generated import Generated
from terrascope.terracot.marked_picture import MAX_SIDE, draw_marked
from terrascope.terracot.marks import number_regions


def pixels_of(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_regions_lie_in_their_colours_over_the_image() -> None:
    chip = make_chip(IDS, LATER_IDS)
    marks = number_regions(chip.labelled, min_share=0.01, max_per_date=8)
    pictures = draw_marked(chip, marks)
    assert len(pictures) == 2
    for png, ids in zip(pictures, (IDS, LATER_IDS), strict=True):
        sheet = pixels_of(png)
        side = 20 * 20  # 20 pixels, each drawn 20 x 20, under a line of 24
        plain, tinted = sheet[24 : 24 + side, :side], sheet[24 : 24 + side, side + 12 :]
        assert tinted.shape == plain.shape == (side, side, 3)
        colors = np.array([land_class.color for land_class in TERRASCOPE.classes])[ids].repeat(20, 0).repeat(20, 1)
        expected = (plain.astype(float) + colors) / 2
        assert np.abs(tinted - expected).max() <= 0.5
        assert (plain[..., 2] == 90).all()


def test_the_legend_shows_every_colour() -> None:
    chip = make_chip()
    marks = number_regions(chip.labelled, min_share=0.01, max_per_date=8)
    legend = pixels_of(draw_marked(chip, marks)[0])[24 + 400 + 12 :]
    for line, region in enumerate(marks.regions):
        assert tuple(legend[line * 24 + 10, 5]) == region.land_class.color


def test_every_image_of_a_pair_is_shown_and_large_ones_reduced() -> None:
    chip = Generated(num=5, size=1024).read("3")
    marks = number_regions(chip.labelled, min_share=0.01, max_per_date=8)
    sheet = pixels_of(draw_marked(chip, marks)[0])
    num_panels = len(chip.scene.pairs[0].observations) + 1
    assert sheet.shape == (24 + MAX_SIDE + 12 + 24 * len(marks.regions), num_panels * (MAX_SIDE + 12) - 12, 3)
