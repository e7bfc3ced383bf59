"""xBD: trees of its layouts with polygons of known pixels on a known grid, and three real pairs."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image
from shapely import affinity

from terrascope import masks
from terrascope.errors import SceneError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED, XBD_DAMAGE
from terrascope.sources.chips import ChipError, read_all
from terrascope.sources.xbd import CELL_DEG, Xbd
from terrascope.tasks.building_change import BuildingChange

SIDE = 64
BUILDING, DESTROYED = TERRASCOPE.id_of("building"), TERRASCOPE.id_of("destroyed building")

# Pixels to degrees near the equator, half a metre and a little askew: 1 degree of latitude is 110,574 m there.
GRID = Affine(0.5 / 111_320, 2e-8, 10.012, 3e-8, -0.5 / 110_574, 0.034)

HOLED = "POLYGON ((4 4, 24 4, 24 24, 4 24, 4 4), (10 10, 18 10, 18 18, 10 18, 10 10))"
PLAIN = "POLYGON ((30 2, 40 2, 40 8, 30 8, 30 2))"
BOWTIE = "POLYGON ((30 20, 50 40, 50 20, 30 40, 30 20))"
VAGUE = "POLYGON ((2 40, 12 40, 12 60, 2 60, 2 40))"
SOLID = "POLYGON ((44 50, 60 50, 60 62, 44 62, 44 50))"

Feature = tuple[str, str, str | None]
PRE: list[Feature] = [("a", HOLED, None), ("b", PLAIN, None), ("c", BOWTIE, None), ("d", VAGUE, None)]
POST: list[Feature] = [
    ("d", VAGUE, "un-classified"), ("c", BOWTIE, "major-damage"), ("b", PLAIN, "no-damage"), ("a", HOLED, "destroyed"),
    ("e", SOLID, "minor-damage"),
]  # fmt: skip


def write_label(path: Path, features: list[Feature], *, grid: Affine = GRID, capture_date: str) -> None:
    def listed(transform: Affine | None) -> list[dict[str, Any]]:
        found = []
        for uid, wkt, subtype in features:
            polygon = shapely.from_wkt(wkt)
            if transform is not None:
                a, b, c, d, e, f = tuple(transform)[:6]
                polygon = affinity.affine_transform(polygon, (a, b, d, e, c, f))
            properties = {"feature_type": "building", **({} if subtype is None else {"subtype": subtype}), "uid": uid}
            found.append({"properties": properties, "wkt": shapely.to_wkt(polygon, rounding_precision=15)})
        return found

    metadata = {"gsd": 2.35, "capture_date": capture_date, "width": SIDE, "height": SIDE}
    path.parent.mkdir(parents=True, exist_ok=True)
    label = {"features": {"lng_lat": listed(grid), "xy": listed(None)}, "metadata": metadata}
    path.write_text(json.dumps(label))


def write_pair(folder: Path, chip: str, *, grid: Affine = GRID, empty: bool = False) -> None:
    for when, features, gray, date in (
        ("pre", PRE, 90, "2017-08-08T17:16:20.445Z"),
        ("post", POST, 40, "2019-05-29T17:29:25.433Z"),
    ):
        write_label(
            folder / "labels" / f"{chip}_{when}_disaster.json", [] if empty else features, grid=grid, capture_date=date
        )
        (folder / "images").mkdir(exist_ok=True)
        picture = Image.fromarray(np.full((SIDE, SIDE, 3), gray, np.uint8))
        picture.save(folder / "images" / f"{chip}_{when}_disaster.png")


def moved(cells: int) -> Affine:
    return Affine.translation(cells * CELL_DEG, 0) @ GRID


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_pair(tmp_path, "nepal-flooding_00000007")
    return tmp_path


def read(root: Path, key: str = "nepal-flooding_00000007", **options: Any) -> Any:
    return Xbd(root, **options).read(key)


def test_a_chip_is_two_dates_with_their_days_and_pictures(flat: Path) -> None:
    chip = read(flat)
    before, after = (pair.optical for pair in chip.scene.pairs)
    assert chip.scene.dates == (datetime.date(2017, 8, 8), datetime.date(2019, 5, 29))
    assert (before.pixels == 90).all() and (after.pixels == 40).all()
    assert (before.sensor, before.bands, chip.scene.shape) == ("rgb", ("red", "green", "blue"), (SIDE, SIDE))
    assert (chip.source, chip.key, chip.country) == ("xbd", "nepal-flooding_00000007", "Nepal")


def test_holes_stay_open_and_a_crossing_outline_is_mended(flat: Path) -> None:
    before = read(flat).labels[0]
    expected = np.full((SIDE, SIDE), OTHER, np.uint8)
    expected[4:24, 4:24] = BUILDING
    expected[10:18, 10:18] = OTHER
    expected[2:8, 30:40] = BUILDING
    expected[40:60, 2:12] = BUILDING
    # Two triangles between the columns 30 and 50 that meet in (40, 30): each row is filled from its ends inwards.
    for row, column in np.ndindex(SIDE, SIDE):
        if abs(row + 0.5 - 30) < abs(column + 0.5 - 40) < 10:
            expected[row, column] = BUILDING
    unsure = np.zeros((SIDE, SIDE), bool)
    for row, column in np.ndindex(SIDE, SIDE):
        unsure[row, column] = abs(row + 0.5 - 30) == abs(column + 0.5 - 40) < 10
    np.testing.assert_array_equal(before.ids[~unsure], expected[~unsure])
    assert before.class_ids_known == (BUILDING,)


def test_a_building_has_one_number_on_both_dates_whatever_their_order(flat: Path) -> None:
    before, after = read(flat).labels
    for wkt, number in ((HOLED, 1), (PLAIN, 2), (VAGUE, 4)):
        mask = masks.rasterize([shapely.from_wkt(wkt)], (SIDE, SIDE))
        np.testing.assert_array_equal(before.objects == number, mask)
        np.testing.assert_array_equal(after.objects == number, mask)
    assert not (before.objects == 5).any(), "the fifth stands on the second date alone"
    np.testing.assert_array_equal(after.objects == 5, masks.rasterize([shapely.from_wkt(SOLID)], (SIDE, SIDE)))
    assert before.objects.dtype == np.int32


def test_unclassified_is_unlabelled_after_and_neither_standing_nor_destroyed(flat: Path) -> None:
    after = read(flat).labels[1]
    assert after.class_ids_known == (BUILDING, DESTROYED)
    assert {number: set(after.ids[after.objects == number]) for number in range(6)} == {
        0: {OTHER}, 1: {DESTROYED}, 2: {BUILDING}, 3: {BUILDING}, 4: {UNLABELLED}, 5: {BUILDING},
    }  # fmt: skip
    assert (after.ids[40:60, 2:12] == UNLABELLED).all() and (after.ids == UNLABELLED).sum() == 200


def test_all_grades_of_damage_are_an_option(flat: Path) -> None:
    before, after = read(flat, nomenclature="xbd-damage").labels
    assert before.nomenclature is after.nomenclature is XBD_DAMAGE
    assert [XBD_DAMAGE.names[i] for i in before.class_ids_known] == ["building"]
    found = {number: XBD_DAMAGE.names[after.ids[after.objects == number][0]] for number in (1, 2, 3, 5)}
    assert found == {
        1: "destroyed building", 2: "undamaged building", 3: "severely damaged building",
        5: "slightly damaged building",
    }  # fmt: skip
    assert (after.ids[after.objects == 4] == UNLABELLED).all()
    with pytest.raises(SceneError, match="no nomenclature 'worldcover' for buildings; choose one of terrascope, xbd-"):
        Xbd(flat, nomenclature="worldcover")


def test_the_ground_size_comes_from_the_polygons_and_not_from_the_metadata(flat: Path) -> None:
    chip = read(flat)
    np.testing.assert_allclose(tuple(chip.scene.georeference.transform)[:6], tuple(GRID)[:6], rtol=1e-9)
    size = chip.labelled.pixel_size
    np.testing.assert_allclose(size.area_m2, 0.25, rtol=2e-3)
    assert chip.lonlat == pytest.approx((GRID @ (32, 32)), abs=1e-9)


@pytest.mark.parametrize("shift", [0.9, 5.0])
def test_polygons_that_lie_elsewhere_on_the_ground_make_the_scale_unknown(flat: Path, shift: float) -> None:
    path = flat / "labels" / "nepal-flooding_00000007_pre_disaster.json"
    for when in ("pre", "post"):
        path = flat / "labels" / f"nepal-flooding_00000007_{when}_disaster.json"
        label = json.loads(path.read_text())
        building = next(f for f in label["features"]["lng_lat"] if f["properties"]["uid"] == "b")
        building["wkt"] = shapely.to_wkt(
            affinity.translate(shapely.from_wkt(building["wkt"]), shift * GRID.a, 0), rounding_precision=15
        )
        path.write_text(json.dumps(label))
    chip = read(flat)
    assert chip.scene.georeference.is_located == (shift < 1)
    assert (chip.labelled.pixel_size is None) == (shift > 1) == (chip.lonlat is None)


def test_a_pair_without_buildings_is_read_and_lies_nowhere(tmp_path: Path) -> None:
    write_pair(tmp_path, "palu-tsunami_00000001", empty=True)
    chip = read(tmp_path, "palu-tsunami_00000001")
    assert all((label.ids == OTHER).all() and not label.objects.any() for label in chip.labels)
    assert chip.lonlat is None and chip.labelled.pixel_size is None and chip.place == "palu-tsunami_00000001"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Chips of one disaster in cells 0 to 3 of xBD's folders; tier3 has another disaster in cell 0."""
    for folder, chip, cell in (
        ("train", "mexico-earthquake_00000000", 0), ("train", "mexico-earthquake_00000001", 1),
        ("train", "mexico-earthquake_00000002", 3), ("test", "mexico-earthquake_00000003", 0),
        ("hold", "mexico-earthquake_00000004", 1), ("tier3", "joplin-tornado_00000000", 0),
    ):  # fmt: skip
        write_pair(tmp_path / folder, chip, grid=moved(cell))
    return tmp_path


def keys(source: Xbd, split: str) -> list[str]:
    return [entry.key for entry in source.index(split).entries]


def test_training_chips_beside_test_chips_are_left_out_and_counted(split: Path) -> None:
    source = Xbd(split)
    assert keys(source, "train") == ["tier3/joplin-tornado_00000000", "train/mexico-earthquake_00000002"]
    assert source.index("train").skipped == {"shares its place with a chip of another split": 2}
    assert keys(source, "test") == ["test/mexico-earthquake_00000003"]
    assert keys(source, "val") == ["hold/mexico-earthquake_00000004"]
    places = [{entry.place for entry in source.index(name).entries} for name in ("train", "val", "test")]
    assert len(set.union(*places)) == sum(map(len, places)) == 4
    column, row = math.floor(10.012 / CELL_DEG), math.floor(0.034 / CELL_DEG)
    assert source.index("test").entries[0].place == f"mexico-earthquake/{column}_{row}"


def test_xbds_own_split_is_an_option_in_which_every_chip_is_a_place(split: Path) -> None:
    source = Xbd(split, by_place=False)
    assert keys(source, "train") == [
        "tier3/joplin-tornado_00000000", *(f"train/mexico-earthquake_0000000{number}" for number in range(3)),
    ]  # fmt: skip
    assert source.index("train").skipped == {}
    assert source.index("test").entries[0].place == "mexico-earthquake_00000003"


@pytest.mark.parametrize("by_place", [True, False])
def test_a_chip_knows_the_place_and_split_that_it_was_listed_with(split: Path, by_place: bool) -> None:
    source = Xbd(split, by_place=by_place)
    for name in ("train", "val", "test"):
        chips = list(read_all(source, name))
        assert [(c.key, c.place) for c in chips] == list(source.index(name).entries)
        assert {c.split for c in chips} == {name}


def test_folders_by_disaster_are_split_by_place(tmp_path: Path) -> None:
    for number in range(12):
        write_pair(tmp_path / "xBD" / "socal-fire", f"socal-fire_{number:08}", grid=moved(number // 2))
    found = {name: Xbd(tmp_path).index(name).entries for name in ("train", "val", "test")}
    assert sorted(e.key for entries in found.values() for e in entries) == [
        f"xBD/socal-fire/socal-fire_{number:08}" for number in range(12)
    ]
    places = [{e.place for e in entries} for entries in found.values()]
    assert sum(map(len, places)) == len(set.union(*places)) == 6, "both chips of a place are in one split"


def test_incomplete_pairs_are_counted(split: Path) -> None:
    (split / "test" / "images" / "mexico-earthquake_00000003_post_disaster.png").unlink()
    (split / "hold" / "labels" / "mexico-earthquake_00000004_pre_disaster.json").unlink()
    assert Xbd(split).index("test").skipped == {"no image of one of the dates": 1}
    assert Xbd(split).index("val").skipped == {"no labels of one of the dates": 1}
    assert Xbd(split).index("val").entries == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "unreadable label"),
        ('{"features": {}}', "unreadable label"),
        ('{"features": {"xy": [{"wkt": "POLYGON ((0 0", "properties": {"uid": "a", "feature_type": "building"}}]}}',
         "unreadable label"),
        ('{"features": {"xy": [{"properties": {"uid": "a", "feature_type": "building"}}]}}', "unreadable label"),
        ('{"features": {"xy": [{"wkt": "POLYGON ((0 0, 9 0, 9 9, 0 0))", "properties": '
         '{"uid": "a", "feature_type": "building", "subtype": "wet"}}]}}', "unknown damage"),
    ],
)  # fmt: skip
def test_damaged_labels_are_named_with_a_reason(flat: Path, content: str, reason: str) -> None:
    path = flat / "labels" / "nepal-flooding_00000007_post_disaster.json"
    path.write_text(content)
    with pytest.raises(ChipError, match=r"nepal-flooding_00000007_post_disaster\.json: ") as caught:
        read(flat)
    assert caught.value.reason == reason


def test_a_damaged_image_and_an_unknown_key_are_chip_errors(flat: Path) -> None:
    with pytest.raises(ChipError, match="not the name of an xBD chip"):
        read(flat, "somewhere")
    path = flat / "images" / "nepal-flooding_00000007_post_disaster.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ChipError, match=r"post_disaster\.png") as caught:
        read(flat)
    assert caught.value.reason == "unreadable image"


def test_a_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no folder images in it, nor in a folder of it"):
        Xbd(tmp_path).index("train")
    (tmp_path / "images").mkdir()
    with pytest.raises(SceneError, match="no split 'tier3'; choose one of train, val, test"):
        Xbd(tmp_path).index("tier3")


def test_real_pairs_have_their_486_buildings_and_ask_for_the_destroyed(real_data: Path) -> None:
    source = Xbd(real_data / "xbd")
    chips = [chip for name in ("train", "val", "test") for chip in read_all(source, name)]
    assert sorted(chip.key for chip in chips) == [f"joplin-tornado_0000000{number}" for number in range(3)]
    counts = {"joplin-tornado_00000000": (185, 102, 7), "joplin-tornado_00000001": (198, 69, 8)}
    counts["joplin-tornado_00000002"] = (103, 14, 3)
    for chip in chips:
        before, after = chip.labels
        num_buildings, num_destroyed, num_unclassified = counts[chip.key]
        assert len(np.unique(before.objects)) - 1 == num_buildings
        largest = np.array([np.bincount(after.ids[after.objects == n]).argmax() for n in range(1, num_buildings + 1)])
        assert (largest == DESTROYED).sum() == num_destroyed and (largest == UNLABELLED).sum() == num_unclassified
        # The metadata states 2.35 m; xBD's pictures have pixels of about 0.45 m.
        assert chip.labelled.pixel_size is not None
        np.testing.assert_allclose(chip.labelled.pixel_size.area_m2, 0.4514**2, rtol=2e-3)
        assert chip.lonlat == pytest.approx((-94.5, 37.06), abs=0.02)
        question = BuildingChange(count_share=1).ask(chip.labelled, np.random.default_rng(0), with_options=False)
        assert question is not None and question.truth == str(num_destroyed)
    assert sum(counts[chip.key][0] for chip in chips) == 486
