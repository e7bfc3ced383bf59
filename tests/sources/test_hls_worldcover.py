"""HLS chips with WorldCover labels: a tree of the exact layout with known numbers, and the real one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.sources.chips import read_all, read_split
from terrascope.sources.hls_worldcover import CLASS_IDS, HlsWorldCover

BANDS = ("B01", "B02", "B03", "B04", "B8A", "B11", "B12", "Fmask")
CODES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100, 0)
NAMES = (
    "tree", "shrub", "grass", "crop", "developed area", "bare land", "snow", "water", "wetland", "wetland", "bare land",
)  # fmt: skip


def write(path: Path, layers: np.ndarray, names: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = layers.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=layers.dtype
        ) as target:
            target.write(layers)
            for number, name in enumerate(names, 1):
                target.set_band_description(number, name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four chips of 12 x 12 pixels; column c of the labels has code CODES[c], the lower half is water of the day."""
    for chip in range(4):
        image = np.stack([np.full((12, 12), 1000 * band + 100 * chip, np.int16) for band in range(1, 9)])
        image[7] = 64
        image[:7, 0, 0] = -9999
        image[3, 5, 6] = -40
        write(tmp_path / "images" / f"{chip}.tif", image, BANDS)
        labels = np.stack([np.tile(np.array(CODES, np.uint8), (12, 1)), np.zeros((12, 12), np.uint8)])
        labels[1, 6:] = 1
        write(tmp_path / "labels" / f"{chip}.tif", labels, ("worldcover", "surface_water"))
    (tmp_path / "split.csv").write_text("chip,group,split\n2,7,train\n0,3,val\n3,7,train\n1,5,train\n")
    return tmp_path


def test_chips_come_in_the_order_of_the_split_file(root: Path) -> None:
    assert [(c.key, c.place) for c in read_all(HlsWorldCover(root), "train")] == [("2", "7"), ("3", "7"), ("1", "5")]
    assert [c.key for c in read_all(HlsWorldCover(root), "val")] == ["0"]
    assert list(read_all(HlsWorldCover(root), "test")) == []


def test_a_chip_is_one_optical_image_in_reflectance_at_thirty_metres(root: Path) -> None:
    chip = next(iter(read_all(HlsWorldCover(root), "train")))
    (pair,) = chip.scene.pairs
    assert pair.sar is None and pair.optical is not None
    image = pair.optical
    assert image.bands == BANDS[:7] and image.sensor == "hls" and image.modality == "optical"
    assert image.georeference.gsd_m == 30.0
    for number, name in enumerate(image.bands, 1):
        assert image.band(name)[8, 8] == pytest.approx((1000 * number + 200) / 10_000, abs=1e-7)
    assert image.band("B04")[5, 6] == pytest.approx(-0.004, abs=1e-7), "dark reflectance may be below zero"


def test_fill_is_not_valid_and_everything_else_is(root: Path) -> None:
    image = next(iter(read_all(HlsWorldCover(root), "train"))).scene.observations[0]
    expected = np.ones((12, 12), bool)
    expected[0, 0] = False
    np.testing.assert_array_equal(image.valid, expected)
    assert (image.pixels[:, 0, 0] == 0).all()


def test_codes_become_classes_and_water_of_the_day_wins(root: Path) -> None:
    (label_map,) = next(iter(read_all(HlsWorldCover(root), "train"))).labels
    expected = [TERRASCOPE.id_of(name) for name in NAMES] + [UNLABELLED]
    np.testing.assert_array_equal(label_map.ids[:6], np.tile(expected, (6, 1)))
    assert (label_map.ids[6:] == TERRASCOPE.id_of("water")).all()
    assert label_map.ids.dtype == np.uint8 and label_map.objects is None


def test_the_map_vouches_for_the_nine_classes_of_worldcover(root: Path) -> None:
    (label_map,) = next(iter(read_all(HlsWorldCover(root), "train"))).labels
    assert label_map.class_ids_known == CLASS_IDS == tuple(sorted({TERRASCOPE.id_of(name) for name in NAMES}))
    assert len(CLASS_IDS) == 9


def test_a_folder_without_split_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"split\.csv: not found; give the folder that holds split\.csv"):
        read_split(tmp_path, "train")


def test_real_chips_are_complete_and_groups_stay_together(real_data: Path) -> None:
    root = real_data / "hls-worldcover"
    splits = {split: read_split(root, split) for split in ("train", "val")}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 185, "val": 57}
    train, val = ({row["group"] for row in splits[split]} for split in ("train", "val"))
    assert train and val and not train & val
    names = [row["chip"] for rows in splits.values() for row in rows]
    assert len(set(names)) == 242
    chip = next(read_all(HlsWorldCover(root), "val"))
    assert chip.scene.shape == (128, 128) == chip.labels[0].ids.shape
    assert set(np.unique(chip.labels[0].ids)) <= {*CLASS_IDS, UNLABELLED}
    valid = chip.scene.observations[0].valid
    assert 0 < np.median(chip.scene.observations[0].band("B8A")[valid]) < 0.6
