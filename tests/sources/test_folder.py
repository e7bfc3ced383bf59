"""Folders of images, label rasters and a legend: trees with known numbers, and the real ones."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.sources.chips import Chip, ChipError, read_all
from terrascope.sources.folder import Folder
from terrascope.sources.places import SPLITS, split_of_place

ROWS, COLUMNS = 6, 8
LEGEND = "code,name\n0,unlabelled\n1,water\n2,forest\n9,background\n"
CODES = np.tile(np.array([0, 1, 2, 9, 1, 2, 1, 1], np.uint8), (ROWS, 1))
WATER, TREE = TERRASCOPE.id_of("water"), TERRASCOPE.id_of("tree")
IDS = np.tile(np.array([UNLABELLED, WATER, TREE, OTHER, WATER, TREE, WATER, WATER], np.uint8), (ROWS, 1))


def write(path: Path, layers: np.ndarray, *, corner: tuple[float, float] | None = None, **profile: Any) -> None:
    """A GeoTIFF of `[layers, H, W]`; with a corner (x, y) on 10 m pixels of UTM 32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if corner is not None:
        profile = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, corner[0], 0, -10, corner[1]), **profile}
    count, height, width = layers.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=layers.dtype, **profile
        ) as target:
            target.write(layers)


def write_picture(path: Path, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((ROWS, COLUMNS, 3), level, np.uint8)).save(path)


def read(folder: Folder, key: str) -> Chip:
    return folder.read(key)


def entries(folder: Folder) -> dict[str, tuple[str, str]]:
    """Chip -> place and split, of all splits."""
    return {e.key: (e.place, split) for split in SPLITS for e in folder.index(split).entries}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, chip in enumerate(("a", "b")):
        write_picture(tmp_path / "images" / f"{chip}.png", 100 + number)
        write(tmp_path / "labels" / f"{chip}.tif", CODES[None])
    (tmp_path / "legend.csv").write_text(LEGEND)
    return tmp_path


def test_an_image_its_labels_and_a_legend_are_a_chip(root: Path) -> None:
    chip = read(Folder(root, gsd_m=3), "b")
    (image,) = chip.scene.observations
    assert (image.sensor, image.modality, float(image.pixels.min()), float(image.pixels.max())) == (
        "rgb", "optical", 101, 101,
    )  # fmt: skip
    (label,) = chip.labels
    np.testing.assert_array_equal(label.ids, IDS)
    assert label.nomenclature is TERRASCOPE and label.class_ids_known == (WATER, TREE)
    assert chip.labelled.pixel_size is not None and (chip.labelled.pixel_size.area_m2 == 9).all()
    assert (chip.source, chip.key, chip.place, chip.split) == ("folder", "b", "b", split_of_place("b"))
    assert read(Folder(root), "b").labelled.pixel_size is None, "a scale is never assumed"


def test_the_split_is_that_of_the_table_if_there_is_one(root: Path) -> None:
    assert entries(Folder(root)) == {chip: (chip, split_of_place(chip)) for chip in ("a", "b")}
    write_picture(root / "images" / "c.png")
    write(root / "labels" / "c.tif", CODES[None])
    (root / "split.csv").write_text("chip,group,split\na,coast,test\nb,,val\nz,coast,test\n")
    assert entries(Folder(root)) == {"a": ("coast", "test"), "b": ("b", "val")}
    assert Folder(root).index("train").skipped == {"not in split.csv": 1, "in split.csv, but no such chip": 1}
    assert (read(Folder(root), "a").place, read(Folder(root), "a").split) == ("coast", "test")
    with pytest.raises(ChipError, match="no chip c"):
        read(Folder(root), "c")
    (root / "split.csv").write_text("chip,group,split\na,coast,holdout\n")
    with pytest.raises(SceneError, match=r"split\.csv, row 1: .* one of train, val, test"):
        Folder(root).index("train")


def test_chips_that_overlap_on_the_ground_are_one_place(tmp_path: Path) -> None:
    picture = np.full((3, ROWS, COLUMNS), 9, np.uint8)
    for chip, column in (("a", 0), ("b", 8), ("c", 4), ("d", 16), ("e", 400)):
        write(
            tmp_path / "images" / f"{chip}.tif", picture, corner=(500_000 + 10 * column, 5_000_000), photometric="RGB"
        )
    found = entries(Folder(tmp_path))
    assert {chip: place for chip, (place, _) in found.items()} == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e"}
    assert len({found[chip] for chip in "abc"}) == 1 and found["a"][1] == split_of_place("a")
    write(tmp_path / "labels" / "b.tif", CODES[None])
    assert entries(Folder(tmp_path, legend="0=void,1=water,2=tree,9=other")) == {"b": found["b"]}, "labelled or not"
    chip = read(Folder(tmp_path, labels=""), "c")
    assert chip.labels == () and chip.place == "a" and chip.lonlat == pytest.approx((9.001, 45.153), abs=2e-3)


def test_optical_and_sar_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    bands = np.stack([np.full((ROWS, COLUMNS), 1000 * n, np.int16) for n in range(1, 13)])
    power = np.stack([np.full((ROWS, COLUMNS), level, np.float32) for level in (-12.5, -19.0)])
    for chip in ("a", "b"):
        write(tmp_path / "optical" / f"{chip}.tif", bands, corner=(500_000, 5_000_000))
        write(tmp_path / "labels" / f"{chip}.tif", CODES[None], corner=(500_000, 5_000_000))
    write(tmp_path / "sar" / "a.tif", power, corner=(500_000, 5_000_000))
    folder = Folder(
        tmp_path, legend="0=unlabelled,1=water,2=tree,9=other", sensor="sentinel-2", sar_sensor="sentinel-1"
    )
    assert list(entries(folder)) == ["a"] and folder.index("val").skipped == {"no optical or no SAR image": 1}
    (pair,) = read(folder, "a").scene.pairs
    assert pair.optical is not None and pair.sar is not None
    assert pair.optical.band("B04") == pytest.approx(0.4) and (pair.sar.band("VH") == -19).all()
    np.testing.assert_array_equal(read(folder, "a").labels[0].ids, IDS)
    only_sar = Folder(tmp_path, sar="sar", labels="", sar_sensor="sentinel-1")
    assert read(only_sar, "a").scene.pairs[0].optical is None
    with pytest.raises(
        ChipError, match=r"sar/a\.tif: nothing says what its bands .* or give sar_sensor= \(one of sent"
    ):
        Folder(tmp_path, sar="sar", labels="").read("a")


def test_names_may_be_patterns(tmp_path: Path) -> None:
    write_picture(tmp_path / "Spain_7_S2Hand.png", 55)
    write_picture(tmp_path / "Spain_7_Preview.png", 66)
    write(tmp_path / "Spain_7_LabelHand.tif", np.where(CODES == 9, -1, CODES.astype(np.int16))[None])
    legend = "-1=no data,0=other,1=water,2=tree"
    for optical in ("*_S2Hand.png", "*_S2Hand"):
        chip = read(Folder(tmp_path, optical=optical, labels="*_LabelHand.tif", legend=legend), "Spain_7")
        assert (chip.scene.observations[0].pixels == 55).all()
        assert chip.labels[0].ids[0].tolist() == [OTHER, WATER, TREE, UNLABELLED, WATER, TREE, WATER, WATER]
    with pytest.raises(SceneError, match="give a folder, or a pattern with one"):
        Folder(tmp_path, optical="*/*_S2Hand.png").index("train")


def test_dates_follow_two_underscores_and_a_date_without_labels_is_unknown(tmp_path: Path) -> None:
    for stamp, level in (("20240701", 30), ("2023-05-01", 10), ("20240102", 20)):
        write_picture(tmp_path / "images" / f"lake__{stamp}.png", level)
    for number, level in ((10, 80), (2, 70)):
        write_picture(tmp_path / "images" / f"sea__{number}.png", level)
    write(tmp_path / "labels" / "lake__2023-05-01.tif", CODES[None])
    write(tmp_path / "labels" / "lake__20240701.tif", CODES[None, :, ::-1])
    write(tmp_path / "labels" / "sea.tif", CODES[None])
    (tmp_path / "legend.csv").write_text(LEGEND)
    folder = Folder(tmp_path)
    assert list(entries(folder)) == ["lake"]
    assert folder.index("train").skipped == {"no label raster": 1, "label raster without an image": 1}
    chip = read(folder, "lake")
    assert chip.scene.dates == tuple(datetime.date(*day) for day in ((2023, 5, 1), (2024, 1, 2), (2024, 7, 1)))
    assert [int(image.pixels.max()) for image in chip.scene.observations] == [10, 20, 30]
    np.testing.assert_array_equal(chip.labels[0].ids, IDS)
    assert (chip.labels[1].ids == UNLABELLED).all() and chip.labels[1].class_ids_known == ()
    np.testing.assert_array_equal(chip.labels[2].ids, IDS[:, ::-1])
    bare = read(Folder(tmp_path, labels=""), "sea")
    assert [int(image.pixels.max()) for image in bare.scene.observations] == [70, 80]
    assert bare.scene.dates == (None, None)


def test_labels_stay_with_their_images_when_these_know_their_days(tmp_path: Path) -> None:
    for number, day in ((1, "2024:07:01"), (2, "2023:05:01")):
        path = tmp_path / "images" / f"lake__{number}.tif"
        write(path, np.full((3, ROWS, COLUMNS), number, np.uint8), corner=(500_000, 5_000_000), photometric="RGB")
        with rasterio.open(path, "r+") as image:
            image.update_tags(TIFFTAG_DATETIME=f"{day} 10:00:00")
        write(tmp_path / "labels" / f"lake__{number}.tif", np.full((1, ROWS, COLUMNS), number, np.uint8))
    chip = read(Folder(tmp_path, legend="1=water,2=tree"), "lake")
    assert chip.scene.dates == (datetime.date(2023, 5, 1), datetime.date(2024, 7, 1))
    assert [int(image.pixels.max()) for image in chip.scene.observations] == [2, 1]
    assert [int(label.ids[0, 0]) for label in chip.labels] == [TREE, WATER]


@pytest.mark.parametrize(
    ("layers", "options", "reason", "sentence"),
    [
        (CODES[None, :, :-1], {}, "label of another size", r"7 x 6 pixels, but the image has 8 x 6"),
        (
            np.full((1, ROWS, COLUMNS), 7, np.uint8),
            {},
            "unknown class code",
            r"code 7 is not in the legend .*\(0, 1, 2",
        ),
        (np.full((1, ROWS, COLUMNS), 1.5, np.float32), {}, "no class codes", "holds fractions"),
        (np.ones((2, ROWS, COLUMNS), np.uint8), {}, "label with several layers", "2 layers; a label raster has one"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_a_reason(
    root: Path, layers: np.ndarray, options: dict[str, Any], reason: str, sentence: str
) -> None:
    write(root / "labels" / "a.tif", layers, **options)
    with pytest.raises(ChipError, match=rf"a\.tif: {sentence}") as caught:
        read(Folder(root), "a")
    assert caught.value.reason == reason


def test_labels_on_the_ground_must_lie_where_the_image_lies(tmp_path: Path) -> None:
    write(
        tmp_path / "images" / "a.tif", np.ones((3, ROWS, COLUMNS), np.uint8), corner=(500_000, 5e6), photometric="RGB"
    )
    (tmp_path / "legend.csv").write_text(LEGEND)
    wide = np.pad(CODES, ((1, 2), (3, 1)), constant_values=9)
    write(tmp_path / "labels" / "a.tif", wide[None], corner=(500_000 - 30, 5e6 + 10))
    np.testing.assert_array_equal(read(Folder(tmp_path), "a").labels[0].ids, IDS)
    for corner, crs, reason in (
        ((500_000, 5e6), "EPSG:32633", "label in another CRS"), ((500_004, 5e6), "EPSG:32632", "label on another grid"),
        ((500_010, 5e6), "EPSG:32632", "label on another grid"),
    ):  # fmt: skip
        write(tmp_path / "labels" / "a.tif", CODES[None], corner=corner, crs=crs)
        with pytest.raises(ChipError) as caught:
            read(Folder(tmp_path), "a")
        assert caught.value.reason == reason


def test_corrupt_files_are_chip_errors(root: Path) -> None:
    (root / "labels" / "a.tif").write_bytes(b"II*\0nothing")
    (root / "images" / "b.png").write_bytes((root / "images" / "b.png").read_bytes()[:50])
    for key, reason in (("a", "unreadable label"), ("b", "unreadable image"), ("c", "unknown chip")):
        with pytest.raises(ChipError) as caught:
            read(Folder(root), key)
        assert caught.value.reason == reason
    assert set(entries(Folder(root))) == {"a", "b"}, "listing them reads no pixel"


def test_a_nodata_tag_counts_where_the_legend_does_not_know_its_number(root: Path) -> None:
    write(root / "labels" / "a.tif", np.where(CODES == 9, 77, CODES)[None].astype(np.uint8), nodata=77)
    assert (read(Folder(root), "a").labels[0].ids[:, 3] == UNLABELLED).all()
    write(root / "labels" / "a.tif", CODES[None], nodata=1)
    np.testing.assert_array_equal(read(Folder(root), "a").labels[0].ids, IDS)
    holes = CODES[None].astype(np.float32)
    holes[0, 2, 1] = np.nan
    write(root / "labels" / "a.tif", holes)
    expected = IDS.copy()
    expected[2, 1] = UNLABELLED
    np.testing.assert_array_equal(read(Folder(root), "a").labels[0].ids, expected)


def test_empty_folders_and_missing_parts_are_one_sentence(tmp_path: Path) -> None:
    for sentence, prepare in (
        (r"images: no such folder; name it with optical=", lambda: None),
        (r"no chip to use \(optical .*; nothing there\)", lambda: (tmp_path / "images").mkdir()),
        (r"no chip to use .*no label raster: 1", lambda: (
            (tmp_path / "labels").mkdir(), write_picture(tmp_path / "images" / "a.png"))),
        (r"legend\.csv: no such legend; .* one of worldcover", lambda: write(
            tmp_path / "labels" / "a.tif", CODES[None])),
    ):  # fmt: skip
        prepare()
        with pytest.raises(SceneError, match=sentence):
            Folder(tmp_path).index("train")
    with pytest.raises(SceneError, match="no split 'dev'; choose one of train, val, test"):
        Folder(tmp_path).index("dev")
    with pytest.raises(SceneError, match="masks: no such folder"):
        Folder(tmp_path, labels="masks").index("train")


def test_new_files_are_seen(root: Path) -> None:
    assert set(entries(Folder(root))) == {"a", "b"}
    write_picture(root / "images" / "c.png")
    assert set(entries(Folder(root, labels=""))) == {"a", "b", "c"}


REAL = [
    ("terramind", {"optical": "S2L2A", "sar": "S1RTC", "labels": "LULC", "legend": "terramind", "sensor": "sentinel-2",
                   "sar_sensor": "sentinel-1"}, 2, (224, 224), {0, 1, 3, 4, 6}),
    ("korea-s2", {"legend": "10=developed area,30=road,50=crop,70=forest,100=unlabelled"}, 24, (512, 512), {1, 4, 5}),
    ("sen1floods11", {"optical": "*_S2Hand", "sar": "*_S1Hand", "labels": "*_LabelHand",
                      "legend": "-1=unlabelled,0=other,1=water"}, 1, (512, 512), {0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "num", "shape", "ids"), REAL, ids=[case[0] for case in REAL])
def test_real_folders_are_read_with_options(
    real_data: Path, name: str, options: dict[str, str], num: int, shape: tuple[int, int], ids: set[int]
) -> None:
    source = Folder(real_data / name, **options)  # type: ignore[arg-type]
    chips = [chip for split in SPLITS for chip in read_all(source, split)]
    assert len(chips) == num and {chip.scene.shape for chip in chips} == {shape}
    found = {int(i) for chip in chips for i in np.unique(chip.labels[0].ids)} - {OTHER, UNLABELLED}
    assert found == ids
    for chip in chips:
        assert chip.labelled.pixel_size is not None and chip.lonlat is not None
        assert 78 < chip.labelled.pixel_size.area_m2.mean() < 101
