"""Class names, their other words, and the tables from foreign codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.errors import QuestionError
from terrascope.landcover import (
    BIGEARTHNET_LABELS,
    CORINE_19,
    CORINE_CODES,
    CORINE_IGNORED,
    CORINE_TERRASCOPE_CODES,
    CORINE_TERRASCOPE_IGNORED,
    CORINE_TO_TERRASCOPE,
    DFC2020,
    DFC2020_CODES,
    NOMENCLATURES,
    OTHER,
    SATLAS,
    SATLAS_CODES,
    SATLAS_IGNORED,
    SEN12MS_CODES,
    TERRAMIND_CODES,
    TERRASCOPE,
    TO_TERRASCOPE,
    UNLABELLED,
    WHU_OPT_SAR,
    WHU_OPT_SAR_CODES,
    WORLDCOVER,
    WORLDCOVER_CODES,
    WORLDCOVER_OWN_CODES,
    WORLDCOVER_TO_TERRASCOPE,
    XBD_CODES,
    XBD_DAMAGE,
    XBD_SUBTYPES,
    LandClass,
    Nomenclature,
    color_codes,
    translate,
    unknown_codes,
)

SMALL = Nomenclature(
    name="small",
    classes=(
        LandClass(name="pond", plural="ponds", color=(0, 0, 255), aliases=("pool",)),
        LandClass(name="Red Rock", plural="red rocks", color=(255, 0, 0)),
    ),
)


def test_the_order_of_the_classes_is_what_trained_weights_know() -> None:
    assert TERRASCOPE.names == (
        "water",
        "tree",
        "shrub",
        "grass",
        "crop",
        "developed area",
        "bare land",
        "wetland",
        "snow",
        "cloud",
        "flood",
        "building",
        "destroyed building",
    )
    assert len(TERRASCOPE) == 13


@pytest.mark.parametrize("nomenclature", NOMENCLATURES.values(), ids=NOMENCLATURES)
def test_every_word_of_a_class_leads_to_its_id(nomenclature: Nomenclature) -> None:
    for class_id, land_class in enumerate(nomenclature.classes):
        assert nomenclature[class_id] is land_class
        for word in land_class.words:
            assert nomenclature.id_of(word) == class_id, word
            assert nomenclature.id_of(f"  {word.upper()} ") == class_id, word


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("forest", "tree"),
        ("lake", "water"),
        ("cropland", "crop"),
        ("urban", "developed area"),
        ("buildings", "building"),
        ("Collapsed Buildings", "destroyed building"),
        ("ice", "snow"),
        ("mangrove", "wetland"),
        ("floods", "flood"),
        ("road", "developed area"),
    ],
)
def test_aliases(word: str, name: str) -> None:
    assert TERRASCOPE.names[TERRASCOPE.id_of(word)] == name


def test_no_word_of_a_part_stands_for_a_whole_class() -> None:
    said = {word for land_class in TERRASCOPE.classes for word in (land_class.plural, *land_class.aliases)}
    parts = {"lake", "river", "sea", "meadow", "city", "road", "sand", "rock", "marsh", "mangrove", "ice", "house"}
    assert not parts & said
    assert all(TERRASCOPE.id_of(part) is not None for part in parts)


@pytest.mark.parametrize("nomenclature", NOMENCLATURES.values(), ids=NOMENCLATURES)
def test_no_word_means_two_classes(nomenclature: Nomenclature) -> None:
    words = [word.lower() for land_class in nomenclature.classes for word in set(land_class.words)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("nomenclature", NOMENCLATURES.values(), ids=NOMENCLATURES)
def test_colors_tell_the_classes_apart(nomenclature: Nomenclature) -> None:
    colors = [land_class.color for land_class in nomenclature.classes]
    assert len(set(colors)) == len(colors)
    assert all(0 <= value <= 255 for color in colors for value in color)


def test_an_unknown_class_is_named_beside_those_that_are_known() -> None:
    with pytest.raises(QuestionError) as caught:
        SMALL.id_of("volcano")
    assert str(caught.value) == "unknown class 'volcano': choose one of pond, Red Rock"
    with pytest.raises(QuestionError, match="unknown class ''"):
        SMALL.id_of("")


def test_ids_without_a_class_lie_beyond_every_nomenclature() -> None:
    assert UNLABELLED == 255 and OTHER == 254
    assert max(len(nomenclature) for nomenclature in NOMENCLATURES.values()) <= OTHER


@pytest.mark.parametrize("codes", [WORLDCOVER_CODES, TERRAMIND_CODES])
def test_foreign_codes_lead_to_classes_that_exist(codes: Mapping[int, str]) -> None:
    assert all(0 < code < 255 for code in codes)
    assert set(codes.values()) <= set(TERRASCOPE.names)


def test_translate_worldcover() -> None:
    codes = np.array([[10, 20, 30, 40, 50, 60], [70, 80, 90, 95, 100, 0]], np.uint8)
    ids = translate(codes, WORLDCOVER_CODES, TERRASCOPE)
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[1, 2, 3, 4, 5, 6], [8, 0, 7, 7, 6, UNLABELLED]]


def test_translate_terramind() -> None:
    codes = np.arange(11)[None]
    ids = translate(codes, TERRAMIND_CODES, TERRASCOPE)
    assert ids.tolist() == [[UNLABELLED, 0, 1, 7, 4, 5, 6, 8, 9, 3, UNLABELLED]]


def test_translate_leaves_codes_without_an_entry_unlabelled() -> None:
    codes = np.array([[0, 7, 8, 254, 255]], np.uint8)
    assert translate(codes, {7: "pool", 8: "red rocks"}, SMALL).tolist() == [[255, 0, 1, 255, 255]]
    wide = np.array([[-1, 7, 263, 65535]], np.int32)
    assert translate(wide, {7: "pond"}, SMALL).tolist() == [[255, 0, 255, 255]]


def test_translate_refuses_a_table_with_unknown_classes() -> None:
    with pytest.raises(QuestionError, match="volcano"):
        translate(np.zeros((2, 2), np.uint8), {1: "volcano"}, SMALL)


CLASSES_OF_BIGEARTHNET = """
    0 Urban fabric 111,112 · 1 Industrial or commercial units 121 · 2 Arable land 211,212,213 ·
    3 Permanent crops 221,222,223,241 · 4 Pastures 231 · 5 Complex cultivation patterns 242 ·
    6 Land principally occupied by agriculture, with significant areas of natural vegetation 243 ·
    7 Agro-forestry areas 244 · 8 Broad-leaved forest 311 · 9 Coniferous forest 312 · 10 Mixed forest 313 ·
    11 Natural grassland and sparsely vegetated areas 321,333 ·
    12 Moors, heathland and sclerophyllous vegetation 322,323 ·
    13 Transitional woodland, shrub 324 · 14 Beaches, dunes, sands 331 · 15 Inland wetlands 411,412 ·
    16 Coastal wetlands 421,422 · 17 Inland waters 511,512 · 18 Marine waters 521,522,523
"""


def test_corine_codes_are_in_the_classes_of_bigearthnet() -> None:
    listed = {}
    for entry in CLASSES_OF_BIGEARTHNET.split("·"):
        class_id, *label, codes = entry.split()
        assert CORINE_19.id_of(BIGEARTHNET_LABELS[" ".join(label)]) == int(class_id)
        listed |= {int(code): int(class_id) for code in codes.split(",")}
    assert {code: CORINE_19.id_of(name) for code, name in CORINE_CODES.items()} == listed
    assert len(CORINE_19) == len(BIGEARTHNET_LABELS) == 19
    assert not CORINE_IGNORED & CORINE_CODES.keys()
    # All 44 codes of CORINE's third level, its code for no data, and nodata.
    assert len(CORINE_CODES) + len(CORINE_IGNORED) == 44 + 2


def test_corine_in_terrascope_agrees_with_the_way_over_the_nineteen_classes() -> None:
    for code, name in CORINE_CODES.items():
        if code != 333:
            assert CORINE_TERRASCOPE_CODES[code] == CORINE_TO_TERRASCOPE[name], code
    assert (CORINE_TERRASCOPE_CODES[333], CORINE_TO_TERRASCOPE[CORINE_CODES[333]]) == ("bare land", "grass")
    assert CORINE_TERRASCOPE_CODES.keys() | CORINE_TERRASCOPE_IGNORED == CORINE_CODES.keys() | CORINE_IGNORED
    assert not CORINE_TERRASCOPE_CODES.keys() & CORINE_TERRASCOPE_IGNORED


def test_every_class_of_every_nomenclature_has_a_class_of_terrascope() -> None:
    assert set(TO_TERRASCOPE) == set(NOMENCLATURES) - {"terrascope"}
    for name, mapping in TO_TERRASCOPE.items():
        assert set(mapping) == set(NOMENCLATURES[name].names)
        assert set(mapping.values()) <= set(TERRASCOPE.names)


@pytest.mark.parametrize(
    ("codes", "nomenclature"),
    [
        (CORINE_CODES, CORINE_19),
        (CORINE_TERRASCOPE_CODES, TERRASCOPE),
        (WORLDCOVER_OWN_CODES, WORLDCOVER),
        (SATLAS_CODES, SATLAS),
        (XBD_CODES, XBD_DAMAGE),
        (WHU_OPT_SAR_CODES, WHU_OPT_SAR),
        (DFC2020_CODES, DFC2020),
        (SEN12MS_CODES, DFC2020),
    ],
)
def test_codes_lead_to_classes_of_their_nomenclature(codes: Mapping[int, str], nomenclature: Nomenclature) -> None:
    assert set(codes.values()) <= set(nomenclature.names)


def test_worldcover_in_its_own_classes_and_in_terrascope() -> None:
    codes = np.array([[10, 50, 80, 90, 95, 100, 0]], np.uint8)
    own = translate(codes, WORLDCOVER_OWN_CODES, WORLDCOVER)
    assert own.tolist() == [[0, 4, 7, 8, 9, 10, UNLABELLED]]
    for code, name in WORLDCOVER_OWN_CODES.items():
        assert WORLDCOVER_TO_TERRASCOPE[name] == WORLDCOVER_CODES[code]
    assert WORLDCOVER[4].color == (0xFA, 0, 0) and WORLDCOVER[9].name == "mangrove"


def test_other_codes() -> None:
    assert SEN12MS_CODES.keys() == set(range(1, 18)) and tuple(DFC2020_CODES) == tuple(range(1, 11))
    assert [DFC2020.id_of(SEN12MS_CODES[code]) + 1 for code in range(1, 18)] == [
        1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10,
    ]  # fmt: skip
    assert WHU_OPT_SAR_CODES == {10: "farmland", 20: "city", 30: "village", 40: "water", 50: "forest", 60: "road"}


def test_damage_of_buildings() -> None:
    assert XBD_SUBTYPES == {
        "no-damage": "undamaged building", "minor-damage": "slightly damaged building",
        "major-damage": "severely damaged building", "destroyed": "destroyed building",
    }  # fmt: skip
    assert [XBD_DAMAGE.id_of(XBD_CODES[grade]) for grade in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert "un-classified" not in XBD_SUBTYPES
    damage = TO_TERRASCOPE["xbd-damage"]
    assert damage["severely damaged building"] == "building" and damage["destroyed building"] == "destroyed building"


COLORS_OF_SATLAS = {
    "water": "0000FF", "developed area": "FF0000", "tree": "00C000", "shrub": "C8AA78", "grass": "00FF00",
    "crop": "FFFF00", "bare land": "808080", "snow": "FFFFFF", "wetland": "00FFFF", "mangrove": "FF00FF",
    "moss": "800080",
}  # fmt: skip


def test_colors_of_satlas() -> None:
    pixels = [*(bytes.fromhex(color) for color in COLORS_OF_SATLAS.values()), b"\0\0\0", b"\1\2\3"]
    picture = np.frombuffer(b"".join(pixels), np.uint8).reshape(1, -1, 3)
    codes = color_codes(picture)
    assert codes[0, -1] == 0x010203 and codes[0, 3] == 0xC8AA78
    assert SATLAS.names == tuple(COLORS_OF_SATLAS)
    assert translate(codes, SATLAS_CODES, SATLAS).tolist() == [[*range(11), UNLABELLED, UNLABELLED]]
    assert unknown_codes(codes, SATLAS_CODES, SATLAS_IGNORED) == {0x010203: 1}


def test_translate_takes_codes_above_255() -> None:
    codes = np.array([[111, 999, 523, 0, 65535, 112]], np.uint16)
    assert translate(codes, CORINE_CODES, CORINE_19).tolist() == [[0, 255, 18, 255, 255, 0]]
    assert translate(codes.astype(np.int64) - 2**40, CORINE_CODES, CORINE_19).tolist() == [[255] * 6]
    assert translate(np.array([[1]]), {}, SMALL).tolist() == [[255]]


@given(
    mapping=st.dictionaries(st.integers(-70_000, 70_000), st.sampled_from(["pond", "Red Rock"]), max_size=6),
    ignored=st.sets(st.integers(-3, 3), max_size=3),
    drawn=st.lists(st.integers(-70_001, 70_001), min_size=1, max_size=30),
    data=st.data(),
)
def test_each_pixel_is_translated_ignored_or_counted(
    mapping: dict[int, str], ignored: set[int], drawn: list[int], data: st.DataObject
) -> None:
    known = [*mapping, *ignored]
    drawn += data.draw(st.lists(st.sampled_from(known), max_size=10)) if known else []
    codes = np.array([drawn], np.int32)
    expected = [SMALL.id_of(mapping[code]) if code in mapping else UNLABELLED for code in drawn]
    assert translate(codes, mapping, SMALL).tolist() == [expected]
    strange = [code for code in drawn if code not in mapping and code not in ignored]
    assert unknown_codes(codes, mapping, ignored) == {code: strange.count(code) for code in sorted(set(strange))}


def test_unknown_codes_come_in_order_with_their_pixels() -> None:
    codes = np.array([[9, 7, 0], [3, 9, 8]], np.uint8)
    assert list(unknown_codes(codes, {7: "pond"}, {0}).items()) == [(3, 1), (8, 1), (9, 2)]
    assert unknown_codes(codes, {7: "pond", 8: "pond"}, {0, 3, 9}) == {}
