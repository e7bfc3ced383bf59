"""WHU-OPT-SAR: scenes of the exact layout, smaller than the real ones, with known numbers in every chip."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED, WHU_OPT_SAR
from terrascope.sources.chips import ChipError, read_all
from terrascope.sources.places import SPLITS, split_of_place
from terrascope.sources.whu_opt_sar import WhuOptSar

SCENES = tuple(f"NH49E0{number:02d}013" for number in range(1, 41))
CODES = (0, 10, 20, 30, 40, 50, 60, 70)
HEIGHT, WIDTH, SIZE = 37, 55, 16
SCENE = next(scene for scene in SCENES if split_of_place(scene) == "train")


def write(path: Path, layers: np.ndarray, **options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = layers.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=layers.dtype, **options
        ) as target:
            target.write(layers)


def optical() -> np.ndarray:
    """Four bands that tell row, column, their sum and their difference of every pixel."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows + 1, columns + 1, rows + columns, 100 + rows - columns]).astype(np.uint8)


def sar() -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (1 + (7 * rows + 3 * columns) % 255).astype(np.uint8)[None]


def codes() -> np.ndarray:
    """Column c holds CODES[c % 8]."""
    return np.tile(np.resize(np.array(CODES, np.uint8), WIDTH), (HEIGHT, 1))[None]


def write_scene(root: Path, scene: str, **options: str) -> None:
    for folder, layers in (("optical", optical()), ("sar", sar()), ("lbl", codes())):
        write(root / folder / f"{scene}.tif", layers, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_scene(tmp_path, SCENE)
    return tmp_path


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for scene in SCENES:
        for folder in ("optical", "sar"):
            (tmp_path / folder).mkdir(exist_ok=True)
        write(tmp_path / "lbl" / f"{scene}.tif", codes())
    return tmp_path


def test_every_scene_is_of_one_split_and_stays_whole(many: Path) -> None:
    source = WhuOptSar(many, size=SIZE)
    scenes = {split: {entry.place for entry in source.index(split).entries} for split in SPLITS}
    assert set().union(*scenes.values()) == set(SCENES)
    assert sum(len(found) for found in scenes.values()) == len(SCENES), "no scene is in two splits"
    assert len(scenes["train"]) > 20 and scenes["val"] and scenes["test"]
    for split, found in scenes.items():
        assert {split_of_place(scene) for scene in found} == {split}


def test_a_scene_is_cut_into_whole_chips_row_by_row(root: Path) -> None:
    index = WhuOptSar(root, size=SIZE).index("train")
    corners = [(row, column) for row in (0, 16) for column in (0, 16, 32)]
    assert [entry.key for entry in index.entries] == [f"{SCENE}_{row}_{column}" for row, column in corners]
    assert {entry.place for entry in index.entries} == {SCENE} and index.skipped == {}
    assert len(WhuOptSar(root, size=37).index("train").entries) == 1
    assert WhuOptSar(root, size=38).index("train").entries == ()


def test_a_scene_of_the_real_size_has_seventy_chips(root: Path) -> None:
    write(root / "lbl" / f"{SCENE}.tif", np.zeros((1, 3704, 5556), np.uint8), compress="deflate")
    entries = WhuOptSar(root).index("train").entries
    assert len(entries) == 70 and entries[-1].key == f"{SCENE}_3072_4608"


def test_the_order_is_that_of_the_names(many: Path) -> None:
    places = [entry.place for entry in WhuOptSar(many, size=SIZE).index("train").entries]
    assert places == sorted(places)
    assert WhuOptSar(many, size=SIZE).index("train") == WhuOptSar(many, size=SIZE).index("train")


@pytest.mark.parametrize("options", [{}, {"photometric": "rgb", "alpha": "yes"}])
def test_a_chip_is_its_part_of_all_three_files(root: Path, options: dict[str, str]) -> None:
    """Also where the file takes its fourth band, the near infrared, for transparency."""
    write(root / "optical" / f"{SCENE}.tif", optical(), **options)
    chip = WhuOptSar(root, size=SIZE).read(f"{SCENE}_16_32")
    (pair,) = chip.scene.pairs
    assert pair.optical is not None and pair.sar is not None
    assert (pair.optical.sensor, pair.optical.bands) == ("rgb-nir", ("red", "green", "blue", "nir"))
    assert (pair.sar.sensor, pair.sar.bands, pair.sar.modality) == ("sar-8bit", ("backscatter",), "sar")
    part = np.s_[:, 16:32, 32:48]
    np.testing.assert_array_equal(pair.optical.pixels, optical()[part])
    np.testing.assert_array_equal(pair.sar.pixels, sar()[part])
    assert pair.optical.valid.all() and pair.sar.valid.all()
    assert pair.optical.pixels.dtype == np.float32
    assert (chip.key, chip.place, chip.split) == (f"{SCENE}_16_32", SCENE, "train")
    assert chip.country == "China" and chip.lonlat is None and chip.source == "whu-opt-sar"
    assert chip.scene.georeference.pixel_size(SIZE, SIZE).basis == "stated: 5 m"


def test_codes_become_classes_and_others_are_none_of_them(root: Path) -> None:
    (labels,) = WhuOptSar(root, size=SIZE).read(f"{SCENE}_0_16").labels
    row = [UNLABELLED, 0, 1, 2, 3, 4, 5, OTHER]
    np.testing.assert_array_equal(labels.ids, np.tile(row * 2, (SIZE, 1)))
    assert labels.nomenclature is WHU_OPT_SAR and labels.class_ids_known == tuple(range(6))
    assert labels.nomenclature.names == ("farmland", "city", "village", "water", "forest", "road")


def test_the_same_map_in_the_classes_of_terrascope(root: Path) -> None:
    (labels,) = WhuOptSar(root, size=SIZE, nomenclature="terrascope").read(f"{SCENE}_0_0").labels
    names = ("crop", "developed area", "developed area", "water", "tree", "developed area")
    row = [UNLABELLED, *(TERRASCOPE.id_of(name) for name in names), OTHER]
    np.testing.assert_array_equal(labels.ids, np.tile(row * 2, (SIZE, 1)))
    assert labels.class_ids_known == tuple(sorted({TERRASCOPE.id_of(name) for name in names}))


def test_what_is_zero_in_every_band_was_not_measured(root: Path) -> None:
    image, backscatter = optical(), sar()
    image[:, 3, 4], image[:3, 5, 6], backscatter[0, 7, 8] = 0, 0, 0
    write(root / "optical" / f"{SCENE}.tif", image)
    write(root / "sar" / f"{SCENE}.tif", backscatter)
    pair = WhuOptSar(root, size=SIZE).read(f"{SCENE}_0_0").scene.pairs[0]
    assert pair.optical is not None and pair.sar is not None
    assert list(zip(*np.nonzero(~pair.optical.valid), strict=True)) == [(3, 4)]
    assert list(zip(*np.nonzero(~pair.sar.valid), strict=True)) == [(7, 8)]


def test_only_the_part_of_a_scene_is_read(root: Path) -> None:
    """The last strips of the file are cut off: chips above them do not notice."""
    for folder, layers in (("optical", optical()), ("sar", sar()), ("lbl", codes())):
        path = root / folder / f"{SCENE}.tif"
        write(path, layers, blockysize="1", interleave="pixel")
        path.write_bytes(path.read_bytes()[:-300])
    source = WhuOptSar(root, size=SIZE)
    np.testing.assert_array_equal(source.read(f"{SCENE}_0_0").scene.observations[1].pixels, sar()[:, :16, :16])
    lower = WhuOptSar(root, size=37)
    with pytest.raises(ChipError) as caught:
        lower.read(f"{SCENE}_0_0")
    assert caught.value.reason == "unreadable label"


def remove(path: Path) -> None:
    path.unlink()


def spoil(path: Path) -> None:
    path.write_bytes(b"II*\0nonsense")


def shrink(path: Path) -> None:
    with rasterio.open(path) as source:
        layers = source.read()
    write(path, layers[:, :20, :20])


def widen(path: Path) -> None:
    with rasterio.open(path) as source:
        layers = source.read()
    write(path, np.pad(layers, ((0, 0), (0, 0), (0, 1))))


def as_floats(path: Path) -> None:
    with rasterio.open(path) as source:
        layers = source.read()
    write(path, layers.astype(np.float32))


@pytest.mark.parametrize(
    ("damage", "image_reason", "label_reason"),
    [
        (remove, "missing image", "missing label"),
        (spoil, "unreadable image", "unreadable label"),
        (shrink, "image of another size", "label of another size"),
        (widen, "label of another size", "label of another size"),
        (as_floats, "image of another type", "label of another type"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_damaged_scene_is_an_error_that_names_the_file(
    root: Path, damage: Callable[[Path], None], image_reason: str, label_reason: str
) -> None:
    for folder, reason in (("optical", image_reason), ("sar", image_reason), ("lbl", label_reason)):
        path = root / folder / f"{SCENE}.tif"
        kept = path.read_bytes()
        damage(path)
        with pytest.raises(ChipError) as caught:
            WhuOptSar(root, size=SIZE).read(f"{SCENE}_16_32")
        assert caught.value.reason == reason, folder
        assert SCENE in str(caught.value)
        path.write_bytes(kept)
    assert WhuOptSar(root, size=SIZE).read(f"{SCENE}_16_32").key == f"{SCENE}_16_32"


def test_images_of_another_kind(root: Path) -> None:
    for layers in (optical()[:3], optical().astype(np.uint16)):
        write(root / "optical" / f"{SCENE}.tif", layers)
        with pytest.raises(ChipError, match="not red, green, blue, nir as rgb-nir has them") as caught:
            WhuOptSar(root, size=SIZE).read(f"{SCENE}_0_0")
        assert caught.value.reason == "image of another kind"
    write(root / "optical" / f"{SCENE}.tif", optical()[:3])
    chip = WhuOptSar(root, size=SIZE, sensor="rgb").read(f"{SCENE}_0_0")
    assert chip.scene.observations[0].bands == ("red", "green", "blue")


def test_a_chip_of_which_nothing_was_measured(root: Path) -> None:
    write(root / "optical" / f"{SCENE}.tif", np.zeros_like(optical()))
    with pytest.raises(ChipError) as caught:
        WhuOptSar(root, size=SIZE).read(f"{SCENE}_0_0")
    assert caught.value.reason == "nothing measured"


def test_unknown_codes_are_named_with_their_numbers(root: Path) -> None:
    wrong = codes()
    wrong[0, 0, :3] = 77
    write(root / "lbl" / f"{SCENE}.tif", wrong)
    with pytest.raises(ChipError, match=r"class codes 77 \(3 pixels\) are not of whu-opt-sar") as caught:
        WhuOptSar(root, size=SIZE).read(f"{SCENE}_0_0")
    assert caught.value.reason == "unknown class code"
    assert WhuOptSar(root, size=SIZE).read(f"{SCENE}_16_0").key.endswith("_16_0"), "other chips are as they were"


def test_a_scene_whose_label_map_cannot_be_opened_is_counted(root: Path) -> None:
    spoil(root / "lbl" / f"{SCENE}.tif")
    index = WhuOptSar(root, size=SIZE).index("train")
    assert index.entries == () and index.skipped == {"unreadable label": 1}


@pytest.mark.parametrize("key", [SCENE, f"{SCENE}_1", f"{SCENE}_a_0", f"{SCENE}_-1_0", ""])
def test_keys_of_no_chip(root: Path, key: str) -> None:
    with pytest.raises(ChipError) as caught:
        WhuOptSar(root, size=SIZE).read(key)
    assert caught.value.reason in ("unknown chip", "missing label")


def test_folders_and_settings_that_cannot_be_used(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no split 'all'; choose one of train, val, test"):
        WhuOptSar(root).index("all")
    with pytest.raises(SceneError, match="optical: not found; give the folder that holds optical, sar, lbl"):
        WhuOptSar(tmp_path / "elsewhere").index("train")
    with pytest.raises(SceneError, match="no label map in 'satlas'"):
        WhuOptSar(root, nomenclature="satlas")
    with pytest.raises(SceneError, match="chips of 0 pixels"):
        WhuOptSar(root, size=0)
    with pytest.raises(SceneError, match="unknown sensor 'gaofen'"):
        WhuOptSar(root, sensor="gaofen")


def test_all_chips_of_a_split_one_after_another(root: Path) -> None:
    chips = list(read_all(WhuOptSar(root, size=SIZE), "train"))
    assert len(chips) == 6
    for chip in chips:
        row, column = (int(part) for part in chip.key.split("_")[1:])
        assert chip.scene.observations[0].pixels[0, 0, 0] == row + 1
        assert chip.scene.observations[0].pixels[1, 0, 0] == column + 1
