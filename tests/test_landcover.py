"""Class names, their other words, and the tables from foreign codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from terrascope.errors import QuestionError
from terrascope.landcover import (
    OTHER,
    TERRAMIND_CODES,
    TERRASCOPE,
    UNLABELLED,
    WORLDCOVER_CODES,
    LandClass,
    Nomenclature,
    translate,
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


def test_every_word_of_a_class_leads_to_its_id() -> None:
    for class_id, land_class in enumerate(TERRASCOPE.classes):
        assert TERRASCOPE[class_id] is land_class
        for word in (land_class.name, land_class.plural, *land_class.aliases):
            assert TERRASCOPE.id_of(word) == class_id, word
            assert TERRASCOPE.id_of(f"  {word.upper()} ") == class_id, word


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
    ],
)
def test_aliases(word: str, name: str) -> None:
    assert TERRASCOPE.names[TERRASCOPE.id_of(word)] == name


def test_no_word_means_two_classes() -> None:
    words = [
        word.lower()
        for land_class in TERRASCOPE.classes
        for word in {land_class.name, land_class.plural, *land_class.aliases}
    ]
    assert len(words) == len(set(words))


def test_colors_tell_the_classes_apart() -> None:
    colors = [land_class.color for land_class in TERRASCOPE.classes]
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
    assert len(TERRASCOPE) <= OTHER


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
