"""The files of an answer, each opened by a reader of its own kind, and all telling the same."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import jsonschema
import numpy as np
import pystac
import pytest
import rasterio
from PIL import Image
from pystac.validation import JsonSchemaSTACValidator
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate

from terrascope.answer import Answer
from terrascope.answer_files import FILES
from terrascope.rasters.read import open_scene
from terrascope.scene import Observation, Scene
from tests.oracle import HEIGHT, TREE, WATER, WIDTH, Oracle, ground, make_scene, write_picture

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "answer.schema.json"
QUESTION = "What percentage of the image is water?"
WITHOUT_MASKS = ["answer.json", "overlay.png", "report.html"]


def located_answer(folder: Path) -> Answer:
    scene = open_scene(optical=[write_picture(folder / "scene.tif", located=True)], dates=["2024-05-01"])
    return Oracle(stated_percent=30).ask(scene, QUESTION, options=["5%", "30%"])


def check_answer_json(told: dict[str, Any]) -> None:
    """Valid by the documented schema, which leaves no field of it undescribed."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(told, schema, cls=jsonschema.Draft202012Validator)

    def described(value: Any, rule: dict[str, Any]) -> None:
        while "$ref" in rule:
            rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
        rule = next((one for one in rule.get("anyOf", ()) if one.get("type") != "null"), rule)
        if "$ref" in rule:
            described(value, rule)
        elif isinstance(value, dict):
            assert set(value) == set(rule["properties"]) == set(rule["required"])
            for name, part in value.items():
                described(part, rule["properties"][name])
        elif isinstance(value, list):
            for part in value:
                described(part, rule["items"])

    described(told, schema)


def test_every_file_is_what_its_name_says(tmp_path: Path) -> None:
    answer = located_answer(tmp_path)
    files = answer.save(tmp_path / "out")
    assert list(files) == list(FILES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(files)
    told = json.loads(files["answer.json"].read_text(encoding="utf-8"))
    assert told == answer.to_dict()
    check_answer_json(told)
    with rasterio.open(files["masks.tif"]) as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == from_origin(500_000, 5_000_000, 10, 10)
        assert dataset.descriptions == ("The water", "The trees")
        assert np.array_equal(dataset.read(1) == 1, WATER)
        assert np.array_equal(dataset.read(2) == 1, TREE)
    with rasterio.open(files["steps.tif"]) as dataset:
        assert np.array_equal(dataset.read(1), WATER + 2 * TREE)
        assert dataset.colormap(1)[1] == (0, 100, 200, 255)
    for name in ("masks.tif", "steps.tif"):
        assert cog_validate(files[name], strict=True) == (True, [], [])
    outlines, native = geopandas.read_file(files["masks.geojson"]), geopandas.read_parquet(files["masks.parquet"])
    assert (outlines.crs.to_epsg(), native.crs.to_epsg()) == (4326, 32633)
    assert outlines["coverage_percent"].tolist() == native["coverage_percent"].tolist() == [10.0, 12.5]
    assert native.geometry.area.tolist() == [20_000, 25_000]
    assert native["agrees"].tolist() == [False, True]
    assert "mask_rle" not in outlines.columns
    # 500,000 m is the central meridian, 15 degrees east; the scene begins there and the water is 100 m wide.
    west, south, east, north = outlines.geometry[0].bounds
    assert west == pytest.approx(15.0, abs=1e-6)
    assert east == pytest.approx(15.0 + 100 / (111_320 * np.cos(np.radians(north))), rel=1e-5)
    assert (north - south) * 111_135 == pytest.approx(200, rel=2e-3)
    # Both outlines are the same place, told in two ways.
    assert outlines.to_crs(32633).geometry.geom_equals_exact(native.geometry, 0.02).all()
    with Image.open(files["overlay.png"]) as picture:
        assert picture.width >= WIDTH


def test_the_stac_item_leads_to_every_other_file(tmp_path: Path) -> None:
    files = located_answer(tmp_path).save(tmp_path / "out")
    item = pystac.Item.from_file(files["item.json"])
    assert JsonSchemaSTACValidator().validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
    assert item.datetime == datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    assert set(item.assets) == set(files) - {"item.json"}
    item.set_self_href(str(files["item.json"]))
    for name, asset in item.assets.items():
        assert Path(asset.get_absolute_href() or "").samefile(files[name])
        assert asset.roles and asset.media_type
    assert item.assets["masks.tif"].media_type == pystac.MediaType.COG
    assert item.assets["masks.parquet"].media_type == "application/vnd.apache.parquet"
    assert item.properties["terrascope:question"] == QUESTION
    assert item.properties["terrascope:answer"] == "30%"
    assert item.properties["terrascope:num_disagreements"] == 1
    assert [Path(source).name for source in item.properties["terrascope:sources"]] == ["scene.tif"]


def test_without_a_place_there_is_no_item(tmp_path: Path) -> None:
    files = Oracle().ask(make_scene(gsd_m=10), QUESTION).save(tmp_path)
    assert list(files) == [name for name in FILES if name != "item.json"]
    check_answer_json(json.loads(files["answer.json"].read_text(encoding="utf-8")))
    assert geopandas.read_parquet(files["masks.parquet"]).crs is None


def test_saving_again_leaves_nothing_of_the_answer_before(tmp_path: Path) -> None:
    Oracle().ask(make_scene(), QUESTION).save(tmp_path)
    answer = Answer.from_reasoning(
        scene=make_scene(),
        question=QUESTION,
        reasoning="<think>There is none.</think><answer>0%</answer>",
        groundings=[],
        model="test",
    )
    files = answer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == WITHOUT_MASKS == sorted(files)
    told = json.loads(files["answer.json"].read_text(encoding="utf-8"))
    check_answer_json(told)
    assert told["steps"] == []


def test_names_that_are_no_text_do_not_stop_the_files(tmp_path: Path) -> None:
    """A file name may hold any bytes; Python tells those that are no UTF-8 as lone surrogates."""
    image = replace(make_scene(gsd_m=10).observations[0], source="scene\udcff\x07.png")
    answer = Answer.from_reasoning(
        scene=Scene.of(optical=[image]),
        question="Where\udc80?",
        reasoning="<think>Here\udc80: [SEG]\x00</think><answer>here</answer>",
        groundings=[ground(WATER)],
        model="test",
    )
    files = answer.save(tmp_path)
    told = json.loads(files["answer.json"].read_text(encoding="utf-8"))
    assert told["scene"]["images"][0]["optical"]["source"] == "scene\udcff\x07.png"
    assert geopandas.read_parquet(files["masks.parquet"])["name"].tolist() == ["Here"]


def test_pixels_that_stay_in_their_files_are_read_by_parts(tmp_path: Path) -> None:
    """No file wants the whole of a scene that is larger than memory."""

    class Store:
        shape = (3, 1900, 1000)

        def read(self, bands: list[int], rows: slice, columns: slice) -> np.ndarray:
            size = (rows.stop - rows.start, columns.stop - columns.start)
            return np.broadcast_to(np.float32([[[10]], [[90]], [[200]]])[bands], (len(bands), *size)).copy()

    mask = np.zeros((1900, 1000), bool)
    mask[1899, 999] = True
    image = Observation(
        pixels=Store(),  # type: ignore[arg-type]
        bands=("red", "green", "blue"),
        modality="optical",
        sensor="rgb",
        valid=np.ones((1900, 1000), bool),
    )
    answer = Answer.from_reasoning(
        scene=Scene.of(optical=[image]),
        question="Where?",
        reasoning="<think>Here: [SEG]</think><answer>here</answer>",
        groundings=[ground(mask)],
        model="test",
    )
    files = answer.save(tmp_path)
    with Image.open(files["overlay.png"]) as picture:
        pixels = np.asarray(picture)
    assert pixels[18, 18].tolist() == [10, 90, 200]
    # One pixel in two millions is still seen in its panel: 472 x 896 pixels, beside the scene's own.
    panel = pixels[18 : 18 + 896, 2 * 18 + 472 : 2 * 18 + 2 * 472]
    assert panel[-1, -1].tolist() != panel[0, 0].tolist()
    assert (panel[:-3, :-3] == panel[0, 0]).all()
    assert HEIGHT < 1900
