"""OMBRIA: a tree of the exact layout with known numbers, and the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.landcover import OTHER, TERRASCOPE
from terrascope.sources.chips import read_all, read_split
from terrascope.sources.ombria import FLOOD, Ombria

FLOODED = np.s_[2:5, 1:7]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three chips of 8 x 8 pixels, every image a constant of its own; the flood is 3 x 6 pixels."""
    for number, chip in enumerate(("test_0002.png", "train_0001.png", "test_0001.png")):
        mask = np.zeros((8, 8), np.uint8)
        mask[FLOODED] = 255
        images = {
            "mask": mask,
            "s1_before": np.full((8, 8), 100 + number, np.uint8),
            "s1_after": np.full((8, 8), 30 + number, np.uint8),
            "s2_before": np.full((8, 8, 3), (90 + number, 120, 60), np.uint8),
            "s2_after": np.full((8, 8, 3), (20 + number, 25, 50), np.uint8),
        }
        for folder, pixels in images.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / chip)
    (tmp_path / "split.csv").write_text(
        "chip,scene,split\ntest_0002.png,65,train\ntrain_0001.png,2,val\ntest_0001.png,64,train\n"
    )
    return tmp_path


def test_chips_come_in_the_order_of_the_split_file(root: Path) -> None:
    named = [(c.key, c.place) for c in read_all(Ombria(root), "train")]
    assert named == [("test_0002.png", "65"), ("test_0001.png", "64")]
    assert [(c.key, c.place) for c in read_all(Ombria(root), "val")] == [("train_0001.png", "2")]


def test_a_chip_has_two_dates_each_with_false_colour_and_radar(root: Path) -> None:
    chip = next(read_all(Ombria(root), "train"))
    assert len(chip.scene.pairs) == 2
    colors, brightness = [(90, 120, 60), (20, 25, 50)], [100, 30]
    for pair, color, bright in zip(chip.scene.pairs, colors, brightness, strict=True):
        assert pair.optical is not None and pair.sar is not None
        assert (pair.optical.modality, pair.sar.modality) == ("optical", "sar")
        assert (pair.optical.sensor, pair.sar.sensor) == ("false-color", "sar-8bit")
        assert pair.optical.bands == ("swir", "nir", "red") and pair.sar.bands == ("backscatter",)
        for channel, value in enumerate(color):
            assert (pair.optical.pixels[channel] == value).all()
        assert (pair.sar.pixels == bright).all()
        assert pair.optical.valid.all() and pair.sar.valid.all()
    assert {o.georeference.gsd_m for o in chip.scene.observations} == {10.0}


def test_the_flood_is_on_the_second_date_and_everything_else_is_another_class(root: Path) -> None:
    before, after = next(read_all(Ombria(root), "train")).labels
    assert TERRASCOPE.id_of("flood") == FLOOD
    assert (before.ids == OTHER).all()
    expected = np.full((8, 8), OTHER, np.uint8)
    expected[FLOODED] = FLOOD
    np.testing.assert_array_equal(after.ids, expected)
    assert after.mask(FLOOD).sum() == 18
    for label_map in (before, after):
        assert label_map.class_ids_known == (FLOOD,), "of trees or permanent water the map says nothing"
        assert label_map.ids.dtype == np.uint8


def test_real_chips_are_complete_and_scenes_stay_together(real_data: Path) -> None:
    root = real_data / "ombria"
    splits = {split: read_split(root, split) for split in ("train", "val")}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 240, "val": 45}
    train, val = ({row["scene"] for row in splits[split]} for split in ("train", "val"))
    assert train and val and not train & val
    chip = next(read_all(Ombria(root), "val"))
    assert chip.scene.shape == (256, 256)
    assert set(np.unique(chip.labels[1].ids)) <= {FLOOD, OTHER}
    assert (chip.labels[0].ids == OTHER).all()
