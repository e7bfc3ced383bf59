"""Legends: tables, lines of text and known names, and label rasters read by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from terrascope.errors import SceneError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.sources.chips import ChipError
from terrascope.sources.legend import read_legend

OWN = "code,name,plural,color\n3,orchard,orchards,#0A0b0C\n-2,water,,\n700,orchard,,\n0,Void,,\n5,Others,,1 2 3\n"


def translated(told: str, codes: list[int], root: Path) -> list[int]:
    return read_legend(told, root).translate(np.array([[codes]]), "x.tif").tolist()[0]


def test_names_that_terrascope_knows_become_its_classes(tmp_path: Path) -> None:
    legend = read_legend("1=Water, 2=road,3=city,4=forest,0=ignore,9=other", tmp_path)
    assert legend.nomenclature is TERRASCOPE
    ids = {name: TERRASCOPE.id_of(name) for name in ("water", "tree", "developed area")}
    assert legend.class_ids == tuple(sorted(ids.values()))
    found = legend.translate(np.array([[[0, 1, 2, 3, 4, 9]]], np.int16), "x.tif").tolist()[0]
    assert found == [UNLABELLED, ids["water"], ids["developed area"], ids["developed area"], ids["tree"], OTHER]


def test_other_names_are_classes_of_their_own_with_plural_and_colour(tmp_path: Path) -> None:
    (tmp_path / "legend.csv").write_text("\ufeff" + OWN, encoding="utf-8")
    legend = read_legend("", tmp_path)
    orchard, water = legend.nomenclature.classes
    assert (legend.nomenclature.name, orchard.name, orchard.plural, orchard.color) == (
        "legend", "orchard", "orchards", (10, 11, 12),
    )  # fmt: skip
    known = TERRASCOPE[TERRASCOPE.id_of("water")]
    assert (water.name, water.plural, water.color) == ("water", known.plural, known.color)
    assert translated("", [3, -2, 700, 0, 5], tmp_path) == [0, 1, 0, UNLABELLED, OTHER]
    assert legend.class_ids == (0, 1)


def test_a_class_is_found_by_its_name_though_another_has_it_as_a_plural(tmp_path: Path) -> None:
    (tmp_path / "legend.csv").write_text("code,name,plural\n1,fields,\n2,plot,fields\n3,hedge,\n")
    assert translated("", [1, 2, 3], tmp_path) == [0, 1, 2]


def test_json_legends_are_lists_or_objects(tmp_path: Path) -> None:
    rows = [{"code": 1, "name": "orchard", "color": [1, 2, 3]}, {"code": 2, "name": "vineyard"}]
    (tmp_path / "legend.json").write_text(json.dumps(rows))
    (tmp_path / "other.json").write_text('{"1": {"name": "orchard", "color": "1,2,3"}, "2": "vineyard"}')
    first, second = read_legend("", tmp_path), read_legend("other.json", tmp_path)
    assert first.rows == second.rows and first.nomenclature == second.nomenclature
    assert first.nomenclature.names == ("orchard", "vineyard")
    assert len({land_class.color for land_class in first.nomenclature.classes}) == 2


def test_label_pictures_are_read_by_their_colours(tmp_path: Path) -> None:
    (tmp_path / "legend.csv").write_text("code,name,color\n1,water,#0000ff\n2,tree,#00FF00\n3,nodata,#000000\n")
    legend = read_legend("", tmp_path)
    colors = np.array([[(0, 0, 255), (0, 255, 0), (0, 0, 0)]], np.uint8).transpose(2, 0, 1)
    expected = [TERRASCOPE.id_of("water"), TERRASCOPE.id_of("tree"), UNLABELLED]
    assert legend.translate(colors, "x.png").tolist() == [expected]
    with_alpha = np.concatenate([colors, np.full((1, 1, 3), 255, np.uint8)])
    assert legend.translate(with_alpha, "x.png").tolist() == [expected]
    colors[0, 0, 0] = 1
    with pytest.raises(ChipError, match=r"x\.png: colour 0100FF is not in the legend .*\(000000, 0000FF, 00FF00\)"):
        legend.translate(colors, "x.png")


def test_known_legends_go_by_name(tmp_path: Path) -> None:
    names = {10: "tree", 80: "water", 95: "wetland"}
    assert translated("worldcover", [0, *names], tmp_path) == [
        UNLABELLED, *(TERRASCOPE.id_of(name) for name in names.values()),
    ]  # fmt: skip
    assert translated("corine", [311, 512, 335, 999, 131], tmp_path) == [
        *(TERRASCOPE.id_of(name) for name in ("tree", "water", "snow")), UNLABELLED, UNLABELLED,
    ]  # fmt: skip
    assert translated("1=water;2=tree", [1, 2], tmp_path) == translated("1=water, 2=tree", [1, 2], tmp_path)
    assert translated("1=water;2=tree;", [2], tmp_path) == [TERRASCOPE.id_of("tree")]
    assert translated("terramind", [0, 9], tmp_path) == [UNLABELLED, TERRASCOPE.id_of("grass")]


@pytest.mark.parametrize(
    ("told", "content", "sentence"),
    [
        (
            "",
            None,
            r"legend\.csv: no such legend; write one with the columns code and name, or say what the codes are "
            r"\(legend=1=water;2=tree\), or one of worldcover",
        ),
        ("1=water,x=tree", None, r"row 2: a row needs a code, which is a whole number, and a name"),
        ("1=water,1=tree", None, "row 2: code 1 stands there twice"),
        ("1=", None, "row 1: code 1 has no name; call it unlabelled"),
        ("0=ignore", None, "names no class; give at least one"),
        ("", "number,name\n1,water\n", r"legend\.csv, row 1: a row needs a code"),
        ("", "code,name,color\n1,water,blue\n", "row 1: the color blue is not of the form #RRGGBB"),
        ("", "code,name,color\n1,water,0 0 256\n", "row 1: the color 0 0 256 goes beyond 255"),
    ],
)
def test_legends_that_cannot_be_read_are_refused(tmp_path: Path, told: str, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "legend.csv").write_text(content)
    with pytest.raises(SceneError, match=sentence):
        read_legend(told, tmp_path)
    (tmp_path / "broken.json").write_text("[1")
    with pytest.raises(SceneError, match=r"broken\.json: not a legend"):
        read_legend("broken.json", tmp_path)
