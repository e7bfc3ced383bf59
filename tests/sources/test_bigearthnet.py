"""BigEarthNet v2: trees and LMDBs of the exact layout with known numbers."""

from __future__ import annotations

import datetime
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import safetensors.numpy
from affine import Affine

from terrascope.errors import SceneError
from terrascope.landcover import CORINE_19, CORINE_CODES, CORINE_IGNORED, TERRASCOPE, UNLABELLED
from terrascope.rasters.read import read_observation
from terrascope.sources.bigearthnet import LEFT_OUT, METADATA, BigEarthNet, place_of
from terrascope.sources.chips import ChipError

RESOLUTIONS = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B11": 20, "B12": 20,
}  # fmt: skip
ALL_BANDS = tuple(RESOLUTIONS)
PATCH = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
S1_NAME = "S1A_IW_GRDH_1SDV_20170615T165043_33UUP_26_57"
S1_SCENE = "S1A_IW_GRDH_1SDV_20170615T165043"
LATER = "S2B_MSIL2A_20170801T101031_N9999_R022_T33UUP_26_57"
OTHERS = ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_58", "S2A_MSIL2A_20180205T100211_N9999_R122_T35VLJ_01_02")
SNOWY, CLOUDY = (
    "S2A_MSIL2A_20180228T101021_N9999_R022_T34WFS_30_44",
    "S2A_MSIL2A_20180228T101021_N9999_R022_T34WFS_30_45",
)
CODES = (*CORINE_CODES, *sorted(CORINE_IGNORED))
EAST, NORTH = 331_200.0, 5_731_620.0


def write(path: Path, numbers: np.ndarray, metres: float, *, nodata: float | None = None, east: float = EAST) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = numbers.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=height, width=width, dtype=numbers.dtype, crs="EPSG:32633",
        transform=Affine(metres, 0, east, 0, -metres, NORTH), nodata=nodata,
    ) as target:  # fmt: skip
        target.write(numbers, 1)


def optical(band: str) -> np.ndarray:
    """Smooth numbers, other in every band, as a scene has them: 1000 and more."""
    side = 1200 // RESOLUTIONS[band]
    rows, columns = np.mgrid[:side, :side] * RESOLUTIONS[band] / 10
    return (1000 + 100 * ALL_BANDS.index(band) + 3 * rows + 5 * columns).astype(np.uint16)


def backscatter(band: str) -> np.ndarray:
    rows, columns = np.mgrid[:120, :120]
    return (-12.345 - 6.5 * (band == "VH") - 0.01 * rows + 0.003 * columns).astype(np.float32)


def codes() -> np.ndarray:
    """Column c holds CODES[c % len(CODES)]: every code that there is, in 120 columns."""
    return np.tile(np.resize(np.array(CODES, np.uint16), 120), (120, 1))


def s2(root: Path, band: str) -> Path:
    return root / "BigEarthNet-S2" / TILE / PATCH / f"{PATCH}_{band}.tif"


def s1(root: Path, band: str) -> Path:
    return root / "BigEarthNet-S1" / S1_SCENE / S1_NAME / f"{S1_NAME}_{band}.tif"


def reference_map(root: Path) -> Path:
    return root / "Reference_Maps" / TILE / PATCH / f"{PATCH}_reference_map.tif"


def row(patch: str, split: str, **values: object) -> dict[str, object]:
    return {
        "patch_id": patch, "labels": ["Arable land"], "split": split, "country": "Austria", "s1_name": S1_NAME,
        "s2v1_name": "S2A_MSIL2A_20170613T101031_0_45", "contains_seasonal_snow": False,
        "contains_cloud_or_shadow": False,
    } | values  # fmt: skip


def write_tables(root: Path) -> None:
    rows = [row(OTHERS[0], "train"), row(PATCH, "train"), row(OTHERS[1], "validation"), row(LATER, "train")]
    pq.write_table(pa.Table.from_pylist(rows), root / METADATA)
    left_out = [
        row(SNOWY, "train", contains_seasonal_snow=True, contains_cloud_or_shadow=True),
        row(CLOUDY, "train", contains_cloud_or_shadow=True),
        row(CLOUDY[:-2] + "46", "test", contains_cloud_or_shadow=True),
    ]
    pq.write_table(pa.Table.from_pylist(left_out), root / LEFT_OUT)


def write_tree(root: Path) -> Path:
    for band, metres in RESOLUTIONS.items():
        write(s2(root, band), optical(band), metres, nodata=0)
    for band in ("VV", "VH"):
        write(s1(root, band), backscatter(band), 10)
    write(reference_map(root), codes(), 10, nodata=0)
    write_tables(root)
    return root


def write_lmdb(root: Path, folder: str = "BENv2.lmdb") -> Path:
    values = {
        PATCH: {band: optical(band) for band in ALL_BANDS},
        S1_NAME: {band: backscatter(band) for band in ("VV", "VH")},
        f"{PATCH}_reference_map": {"Data": codes()},
    }
    (root / folder).mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(root / folder), map_size=2**24) as database, database.begin(write=True) as transaction:
        for key, arrays in values.items():
            transaction.put(key.encode(), safetensors.numpy.save(arrays))
    write_tables(root)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lmdb(tmp_path_factory.mktemp("lmdb"))


@pytest.fixture
def broken(tree: Path, tmp_path: Path) -> Path:
    """A copy of the tree, to be damaged."""
    return Path(shutil.copytree(tree, tmp_path / "broken"))


def test_patches_come_in_the_order_of_the_table_and_what_is_hidden_is_counted(tree: Path) -> None:
    source = BigEarthNet(tree)
    train = source.index("train")
    assert [entry.key for entry in train.entries] == [OTHERS[0], PATCH, LATER]
    assert train.skipped == {"seasonal snow": 1, "cloud or shadow": 1}, "a patch with both is counted once"
    assert [entry.key for entry in source.index("val").entries] == [OTHERS[1]]
    assert source.index("val").skipped == {}
    assert source.index("test").entries == () and source.index("test").skipped == {"cloud or shadow": 1}


def test_flags_in_the_main_table_count_as_well(tmp_path: Path) -> None:
    rows = [
        row(PATCH, "train"),
        row(SNOWY, "train", contains_seasonal_snow=True),
        row(LATER, "train", contains_cloud_or_shadow=None),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / METADATA)
    index = BigEarthNet(tmp_path).index("train")
    assert [entry.key for entry in index.entries] == [PATCH, LATER]
    assert index.skipped == {"seasonal snow": 1}


def test_the_index_opens_no_image(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert len(BigEarthNet(tmp_path).index("train").entries) == 3


def test_a_place_is_the_ground_whatever_the_day(tree: Path) -> None:
    places = {entry.key: entry.place for entry in BigEarthNet(tree).index("train").entries}
    assert places[PATCH] == places[LATER] == "T33UUP_26_57" == place_of(PATCH)
    assert places[OTHERS[0]] == "T33UUP_26_58"
    assert BigEarthNet(tree).read(PATCH).place == "T33UUP_26_57"


def test_reflectance_of_the_ten_metre_bands(tree: Path) -> None:
    chip = BigEarthNet(tree).read(PATCH)
    (pair,) = chip.scene.pairs
    image = pair.optical
    assert image is not None
    assert (image.bands, image.sensor, image.modality) == (("B02", "B03", "B04", "B08"), "sentinel-2", "optical")
    assert image.valid.all() and image.shape == (120, 120)
    for band in image.bands:
        np.testing.assert_allclose(image.band(band), optical(band) / 10_000, rtol=0, atol=1e-7)
    assert image.date == datetime.date(2017, 6, 13)


def test_backscatter_stays_in_decibels_with_its_fractions(tree: Path) -> None:
    sar = BigEarthNet(tree).read(PATCH).scene.pairs[0].sar
    assert sar is not None
    assert (sar.bands, sar.sensor, sar.modality) == (("VV", "VH"), "sentinel-1", "sar")
    for band in sar.bands:
        np.testing.assert_array_equal(sar.band(band), backscatter(band))
    assert sar.date == datetime.date(2017, 6, 15)


def test_what_else_is_known_of_a_patch(tree: Path) -> None:
    chip = BigEarthNet(tree).read(PATCH)
    assert (chip.source, chip.key, chip.split, chip.country) == ("bigearthnet", PATCH, "train", "Austria")
    assert chip.lonlat is not None
    # From the series of the transverse Mercator projection: 168.2 km west of 15 degrees east, 5731 km of the equator.
    np.testing.assert_allclose(chip.lonlat, (12.565, 51.705), atol=0.0015)
    assert chip.scene.notes == ("Image 1 pairs an optical image of 2017-06-13 with a SAR image of 2017-06-15.",)
    size = chip.scene.georeference.pixel_size(120, 120)
    np.testing.assert_allclose(size.area_m2, 100, rtol=2e-3)
    assert not chip.questions and not chip.captions


def test_every_corine_code_becomes_its_class_and_the_others_nothing(tree: Path) -> None:
    (labels,) = BigEarthNet(tree).read(PATCH).labels
    expected = [CORINE_19.id_of(CORINE_CODES[code]) if code in CORINE_CODES else UNLABELLED for code in CODES]
    np.testing.assert_array_equal(labels.ids, np.tile(np.resize(expected, 120), (120, 1)))
    assert labels.nomenclature is CORINE_19 and labels.class_ids_known == tuple(range(19))
    assert labels.ids[0, CODES.index(111)] == 0 and labels.ids[0, CODES.index(523)] == 18
    assert labels.ids[0, CODES.index(333)] == 11 and labels.ids[0, CODES.index(241)] == 3
    assert labels.ids.dtype == np.uint8


def test_the_same_map_in_the_classes_of_terrascope(tree: Path) -> None:
    (labels,) = BigEarthNet(tree, nomenclature="terrascope").read(PATCH).labels
    named = {111: "developed area", 122: "developed area", 211: "crop", 244: "crop", 231: "grass", 311: "tree",
             324: "shrub", 333: "bare land", 335: "snow", 421: "wetland", 523: "water"}  # fmt: skip
    for code, name in named.items():
        assert labels.ids[7, CODES.index(code)] == TERRASCOPE.id_of(name), code
    for code in (0, 131, 133, 141, 334, 423, 999):
        assert labels.ids[7, CODES.index(code)] == UNLABELLED, code
    known = {TERRASCOPE.names[class_id] for class_id in labels.class_ids_known}
    assert known == set(TERRASCOPE.names) - {"cloud", "flood", "building", "destroyed building"}


def test_all_twelve_bands_are_what_the_reader_of_files_makes_of_them(tree: Path) -> None:
    ours = BigEarthNet(tree, bands=ALL_BANDS).read(PATCH).scene.pairs[0].optical
    theirs = read_observation([s2(tree, band) for band in ALL_BANDS], sensor="sentinel-2")
    assert ours is not None and ours.bands == theirs.bands == ALL_BANDS
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    np.testing.assert_array_equal(ours.valid, theirs.valid)
    assert ours.georeference == theirs.georeference
    # Between their pixels the coarse bands are straight lines, so away from the rim the plane comes back.
    inner = np.s_[6:-6, 6:-6]
    rows, columns = np.mgrid[:120, :120]
    for band in ("B05", "B09"):
        factor = RESOLUTIONS[band] / 10
        fine = 1000 + 100 * ALL_BANDS.index(band) + 3 * (rows - (factor - 1) / 2) + 5 * (columns - (factor - 1) / 2)
        np.testing.assert_allclose(ours.band(band)[inner], fine[inner] / 10_000, atol=1e-4)


def test_zero_is_unmeasured_in_any_band_as_the_files_say(broken: Path) -> None:
    numbers = {band: optical(band) for band in ("B03", "B11")}
    numbers["B03"][3, 4] = 0
    numbers["B11"][20, 30] = 0
    for band, stored in numbers.items():
        write(s2(broken, band), stored, RESOLUTIONS[band], nodata=0)
    image = BigEarthNet(broken, bands=ALL_BANDS).read(PATCH).scene.pairs[0].optical
    theirs = read_observation([s2(broken, band) for band in ALL_BANDS], sensor="sentinel-2")
    assert image is not None
    np.testing.assert_array_equal(image.valid, theirs.valid)
    np.testing.assert_array_equal(image.pixels, theirs.pixels)
    assert not image.valid[3, 4] and not image.valid[40:42, 60:62].any()
    assert (image.pixels[:, 3, 4] == 0).all() and (~image.valid).sum() <= 1 + 16
    ten_metres = BigEarthNet(broken).read(PATCH).scene.pairs[0].optical
    assert ten_metres is not None and (~ten_metres.valid).sum() == 1


def test_backscatter_is_unmeasured_where_it_is_not_finite_or_zero_in_both(broken: Path) -> None:
    vv, vh = backscatter("VV"), backscatter("VH")
    vv[0, 0], vh[1, 1], vv[2, 2], vv[3, 3], vh[3, 3] = np.nan, -np.inf, 0, 0, 0
    write(s1(broken, "VV"), vv, 10)
    write(s1(broken, "VH"), vh, 10)
    sar = BigEarthNet(broken).read(PATCH).scene.pairs[0].sar
    assert sar is not None
    assert sorted(zip(*np.nonzero(~sar.valid), strict=True)) == [(0, 0), (1, 1), (3, 3)]
    assert sar.band("VV")[2, 2] == 0, "0 dB in one polarisation is a strong echo"
    assert (sar.pixels[:, 0, 0] == 0).all()


def test_backscatter_on_a_shifted_grid_is_brought_over_as_power(broken: Path) -> None:
    steps = np.where(np.arange(120) % 2, -5.0, -25.0).astype(np.float32) * np.ones((120, 1), np.float32)
    for band in ("VV", "VH"):
        write(s1(broken, band), steps, 10, east=EAST - 5)
    sar = BigEarthNet(broken).read(PATCH).scene.pairs[0].sar
    assert sar is not None
    middle = 10 * np.log10((10**-0.5 + 10**-2.5) / 2)
    np.testing.assert_allclose(sar.band("VV")[:, 1:-1], middle, atol=1e-3)


def test_without_radar(tree: Path) -> None:
    chip = BigEarthNet(tree, sar=False).read(PATCH)
    assert chip.scene.pairs[0].sar is None and chip.scene.notes == ()


@pytest.mark.parametrize("bands", [("B02", "B03", "B04", "B08"), ALL_BANDS])
def test_the_database_gives_what_the_tree_gives_but_the_place(
    tree: Path, database: Path, bands: tuple[str, ...]
) -> None:
    from_tree, from_database = (BigEarthNet(root, bands=bands).read(PATCH) for root in (tree, database))
    assert BigEarthNet(database).index("train") == BigEarthNet(tree).index("train")
    for ours, theirs in zip(from_database.scene.observations, from_tree.scene.observations, strict=True):
        assert (ours.bands, ours.sensor, ours.date) == (theirs.bands, theirs.sensor, theirs.date)
        np.testing.assert_array_equal(ours.valid, theirs.valid)
        np.testing.assert_allclose(ours.pixels, theirs.pixels, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(from_database.labels[0].ids, from_tree.labels[0].ids)
    assert from_database.lonlat is None
    assert from_database.scene.georeference.pixel_size(120, 120).basis == "stated: 10 m"


def test_a_database_may_be_the_folder_itself(tmp_path: Path) -> None:
    root = write_lmdb(tmp_path, folder=".")
    assert BigEarthNet(root).read(PATCH).scene.shape == (120, 120)


def test_a_source_can_be_sent_to_another_process(database: Path) -> None:
    source = BigEarthNet(database)
    first = source.read(PATCH)
    again = pickle.loads(pickle.dumps(source)).read(PATCH)
    np.testing.assert_array_equal(first.labels[0].ids, again.labels[0].ids)


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_size(path: Path) -> None:
    with rasterio.open(path) as source:
        numbers, metres = source.read(1), source.transform.a
    write(path, numbers[:-1], metres)


def other_type(path: Path) -> None:
    with rasterio.open(path) as source:
        numbers, metres = source.read(1), source.transform.a
    write(path, numbers.astype(np.int16 if np.issubdtype(numbers.dtype, np.floating) else np.float32), metres)


@pytest.mark.parametrize(
    ("damage", "image_reason", "label_reason"),
    [
        (remove, "missing image", "missing label"),
        (cut_short, "unreadable image", "unreadable label"),
        (empty, "unreadable image", "unreadable label"),
        (other_size, "image of another size", "label of another size"),
        (other_type, "image of another type", "label of another type"),
    ],
)
def test_a_damaged_patch_is_an_error_that_names_the_file(
    broken: Path, damage: Callable[[Path], None], image_reason: str, label_reason: str
) -> None:
    for path, reason in (
        (s2(broken, "B03"), image_reason), (s1(broken, "VH"), image_reason), (reference_map(broken), label_reason)
    ):  # fmt: skip
        kept = path.read_bytes()
        damage(path)
        with pytest.raises(ChipError) as caught:
            BigEarthNet(broken).read(PATCH)
        assert caught.value.reason == reason and str(path) in str(caught.value)
        path.write_bytes(kept)
    assert BigEarthNet(broken).read(PATCH).key == PATCH


def test_a_coarse_band_of_another_size_is_refused(broken: Path) -> None:
    write(s2(broken, "B05"), optical("B01"), 20, nodata=0)
    with pytest.raises(ChipError, match=r"B05\.tif: has 20 x 20 pixels, not 60 x 60") as caught:
        BigEarthNet(broken, bands=("B02", "B03", "B04", "B05")).read(PATCH)
    assert caught.value.reason == "image of another size"


def test_unknown_codes_are_named_with_their_numbers(broken: Path) -> None:
    wrong = codes()
    wrong[5, 5:8] = 777
    wrong[6, 0] = 65535
    write(reference_map(broken), wrong, 10, nodata=0)
    with pytest.raises(
        ChipError, match=r"class codes 777 \(3 pixels\), 65535 \(1 pixels\) are not of corine-19"
    ) as caught:
        BigEarthNet(broken).read(PATCH)
    assert caught.value.reason == "unknown class code"


def test_a_map_of_another_place_is_refused(broken: Path) -> None:
    write(reference_map(broken), codes(), 10, nodata=0, east=EAST + 1200)
    with pytest.raises(ChipError) as caught:
        BigEarthNet(broken).read(PATCH)
    assert caught.value.reason == "label of another place"


@pytest.mark.parametrize(
    ("path_of", "numbers", "reason"),
    [
        (lambda root: s2(root, "B02"), np.zeros((120, 120), np.uint16), "nothing measured"),
        (lambda root: s1(root, "VV"), np.full((120, 120), np.nan, np.float32), "nothing measured"),
        (lambda root: s1(root, "VV"), np.full((120, 120), 900, np.float32), "unreadable image"),
    ],
)
def test_images_without_a_sensible_value_are_refused(
    broken: Path, path_of: Callable[[Path], Path], numbers: np.ndarray, reason: str
) -> None:
    write(path_of(broken), numbers, 10, nodata=0)
    if reason == "unreadable image":
        write(s1(broken, "VH"), numbers, 10)
    with pytest.raises(ChipError) as caught:
        BigEarthNet(broken).read(PATCH)
    assert caught.value.reason == reason


def test_keys_that_are_not_to_be_read(tree: Path) -> None:
    source = BigEarthNet(tree)
    for key, reason in (
        ("S2A_nothing_1_2", "unknown chip"), (SNOWY, "seasonal snow"), (CLOUDY, "cloud or shadow"),
        (OTHERS[0], "missing image"),
    ):  # fmt: skip
        with pytest.raises(ChipError) as caught:
            source.read(key)
        assert caught.value.reason == reason, key


def test_a_patch_without_radar_in_the_table(broken: Path) -> None:
    pq.write_table(pa.Table.from_pylist([row(PATCH, "train", s1_name=None)]), broken / METADATA)
    (broken / LEFT_OUT).unlink()
    with pytest.raises(ChipError, match="has no s1_name"):
        BigEarthNet(broken).read(PATCH)
    assert BigEarthNet(broken, sar=False).read(PATCH).split == "train"


def test_damaged_databases(tmp_path: Path) -> None:
    root = write_lmdb(tmp_path)
    with lmdb.open(str(root / "BENv2.lmdb"), map_size=2**24) as opened, opened.begin(write=True) as transaction:
        transaction.put(S1_NAME.encode(), safetensors.numpy.save({"VV": backscatter("VV")}))
        transaction.put(LATER.encode(), b"nonsense")
    for key, source, reason in (
        (PATCH, BigEarthNet(root), "missing image"),
        (LATER, BigEarthNet(root), "unreadable image"),
        (OTHERS[0], BigEarthNet(root), "missing image"),
    ):
        with pytest.raises(ChipError) as caught:
            source.read(key)
        assert caught.value.reason == reason and str(root / "BENv2.lmdb") in str(caught.value)
    assert BigEarthNet(root, sar=False).read(PATCH).labels[0].ids.shape == (120, 120)


def test_folders_and_settings_that_cannot_be_used(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(SceneError, match=r"metadata\.parquet: not found; give the folder of BigEarthNet v2"):
        BigEarthNet(tmp_path).index("train")
    pq.write_table(pa.table({"patch_id": [PATCH]}), tmp_path / METADATA)
    with pytest.raises(SceneError, match=r"metadata\.parquet: has no column split"):
        BigEarthNet(tmp_path).index("train")
    (tmp_path / METADATA).write_bytes(b"PAR1")
    with pytest.raises(SceneError, match=r"metadata\.parquet: cannot be read as Parquet"):
        BigEarthNet(tmp_path).index("train")
    write_tables(tmp_path)
    with pytest.raises(SceneError, match="holds no LMDBs"):
        BigEarthNet(tmp_path).read(PATCH)
    with pytest.raises(SceneError, match="no split 'validation'; choose one of train, val, test"):
        BigEarthNet(tree).index("validation")
    with pytest.raises(SceneError, match="no label map in 'dfc2020'; choose one of corine-19, terrascope"):
        BigEarthNet(tree, nomenclature="dfc2020")
    for bands in (("B02", "B03"), ("B02", "B03", "B04", "B10")):
        with pytest.raises(SceneError, match="must be of B01, B02"):
            replace(BigEarthNet(tree), bands=bands)
