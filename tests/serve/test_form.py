"""Whatever is wrong with a field is one sentence of ours that names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oracle import write_picture
from serve.told import fields
from terrascope.serve.chat_schemas import SceneFields
from terrascope.serve.form import FILE_FIELDS, AskFields

QUESTION = "How much of the image is water?"
LAKE = {"optical_path": "lake.tif"}
SENSORS = "choose one of sentinel-2, "

BAD: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("question", {"question": ""}, 400, "missing_field", "question is missing"),
    ("question", {"question": "x" * 4001}, 400, "malformed", "question has 4,001 characters; give at most 4,000"),
    ("question", {"question": ["a", "b"]}, 400, "malformed", "question was given 2 times; give it once"),
    ("option", {"option": ["1", "2", "3", "4", "5", "6"]}, 400, "malformed", "option has 6 entries; give at most 5"),
    ("option", {"option": ["x" * 4001, "b"]}, 400, "malformed", "option has 4,001 characters; give at most 4,000"),
    ("option", {"option": ["one"], **LAKE}, 422, "question", "a question takes 2 to 5 options, but 1 were given"),
    ("option", {"option": ["10%", "10%"], **LAKE}, 422, "question", "the option '10%' is given twice"),
    ("optical_path", {"optical_path": ["lake.tif"] * 65}, 400, "malformed", "optical_path has 65 entries; give at"),
    ("optical_path", {"optical_path": "none.tif"}, 422, "scene", "none.tif: no such file; paths begin at the server's"),
    ("optical_path", {"optical_path": "../lake.tif"}, 403, "outside", "the path leads outside of the folder"),
    ("sar_path", {"sar_path": "x" * 4001}, 400, "malformed", "sar_path has 4,001 characters; give at most 4,000"),
    ("sar_path", {"sar_path": "none.tif"}, 422, "scene", "none.tif: no such file"),
    ("optical_path", {"optical_path": "broken.tif"}, 422, "scene", "broken.tif: cannot be read as an image; give"),
    ("sar_path", {"sar_path": "broken.tif,lake.tif"}, 422, "scene", "broken.tif: cannot be read as an image; give"),
    ("sar_path", {"sar_path": "in/broken.tif", **LAKE}, 422, "scene", "in/broken.tif: cannot be read as an image"),
    ("sample", {"sample": "other"}, 400, "malformed", "sample is 'other'; give 'demo'"),
    ("sample", {"sample": "demo", **LAKE}, 400, "malformed", "give a sample or images, not both"),
    ("date", {"date": "2024-13-01", **LAKE}, 422, "scene", "date '2024-13-01' is not a day; write it as YYYY-MM-DD"),
    ("date", {"date": "1.5.2024", **LAKE}, 422, "scene", "date '1.5.2024' is not a day; write it as YYYY-MM-DD"),
    ("date", {"date": ["2024-05-01"] * 2, **LAKE}, 422, "scene", "2 dates were given for 1 image; give one date per"),
    ("date", {"date": ["2024-05-01"] * 65, **LAKE}, 400, "malformed", "date has 65 entries; give at most 64"),
    ("sensor", {"sensor": "sentinel-9", **LAKE}, 422, "scene", f"unknown sensor 'sentinel-9': {SENSORS}"),
    ("sensor", {"sensor": "sentinel-1", **LAKE}, 422, "scene", "sentinel-1 is no optical sensor; give it as"),
    ("sensor", {"sensor": "x" * 65, **LAKE}, 400, "malformed", "sensor has 65 characters; give at most 64"),
    ("sar_sensor", {"sar_sensor": "sentinel-9", **LAKE}, 422, "scene", f"unknown sensor 'sentinel-9': {SENSORS}"),
    ("sar_sensor", {"sar_sensor": "rgb", **LAKE}, 422, "scene", "rgb is no SAR sensor; give it as sensor"),
    ("gsd", {"gsd": "ten", **LAKE}, 400, "malformed", "gsd is 'ten'; give a number"),
    ("gsd", {"gsd": "-1", **LAKE}, 422, "scale", "a pixel size of -1.0 m is impossible; the field gsd must be"),
    ("gsd", {"gsd": "nan", **LAKE}, 422, "scale", "a pixel size of nan m is impossible; the field gsd must be"),
    ("gsd", {"gsd": "1e9", **LAKE}, 422, "scale", "a pixel size of 1e+09 m is impossible; the field gsd must lie from"),
    ("gsd", {"gsd": ["1", "2"], **LAKE}, 400, "malformed", "gsd was given 2 times; give it once"),
    ("nodata", {"nodata": "none", **LAKE}, 400, "malformed", "nodata is 'none'; give a number"),
    ("nodata", {"nodata": "0,0", **LAKE}, 400, "malformed", "nodata is '0,0'; give a number"),
    ("reference", {"reference": "radar", **LAKE}, 400, "malformed", "reference is 'radar'; give 'optical' or 'sar'"),
    ("reference", {"reference": "sar", **LAKE}, 422, "scene", "reference is sar, but no such image was given"),
    ("bbox", {"bbox": "1,2", **LAKE}, 422, "scene", "bbox 1,2 is not a box; give west, south, east"),
    ("bbox", {"bbox": "a,b,c,d", **LAKE}, 422, "scene", "bbox a,b,c,d is not a box; give west"),
    ("bbox", {"bbox": "1,50,2,40", **LAKE}, 422, "scene", "bbox 1,50,2,40 is no part of the Earth; give west"),
    ("bbox", {"bbox": "0,0,1,1", **LAKE}, 422, "scene", "bbox 0, 0, 1, 1 lies outside of lake.tif; give one within"),
    ("bbox", {"bbox": "0,0,1,1", "optical_path": "plain.png"}, 422, "scene", "so a bbox in degrees has no meaning"),
    ("bbox", {"bbox": "1" * 201, **LAKE}, 400, "malformed", "bbox has 201 characters; give at most 200"),
    ("geojson", {"geojson": "maybe", **LAKE}, 400, "malformed", "geojson is 'maybe'; give true or false"),
    ("pictures", {"pictures": "2", **LAKE}, 400, "malformed", "pictures is '2'; give true or false"),
    ("stream", {"stream": "x" * 99, **LAKE}, 400, "malformed", f"stream is '{'x' * 40}'; give true or false"),
    ("colour", {"colour": "red", **LAKE}, 400, "unknown_field", "'colour' is no field of a question"),
    ("optical", {}, 422, "scene", "no image was given; send a file as optical or sar"),
    ("optical", {"optical": b"no image"}, 422, "scene", "file.tif: cannot be read as an image; give a GeoTIFF"),
    ("optical", {"optical": "scene.tif"}, 400, "malformed", "optical takes a file, as curl sends with -F optical="),
    ("sar_bands", {"sar_bands": "VV.tif"}, 400, "malformed", "sar_bands takes a file, as curl sends with"),
    ("sar", {"sar": b"no image"}, 422, "scene", "file.tif: cannot be read as an image; give a GeoTIFF"),
    ("sar", {"sar": b"x", "optical_path": ["lake.tif"] * 2}, 422, "scene", "2 optical and 1 SAR images were given"),
    ("optical_bands", {"optical_bands": b"no image"}, 422, "scene", "file.tif: its name holds no band, as lake"),
    ("sar_bands", {"sar_bands": b"no image"}, 422, "scene", "file.tif: its name holds no band, as lake_B02.tif and"),
]  # fmt: skip


def test_every_field_has_bad_values_here() -> None:
    assert {name for name, *_ in BAD} == {*AskFields.model_fields, *FILE_FIELDS, "colour"}


@pytest.mark.parametrize(("name", "given", "status", "code", "message"), BAD)
def test_a_bad_value_is_a_sentence_that_names_its_field(
    start: Callable[..., TestClient], tmp_path: Path, name: str, given: dict[str, Any], status: int, code: str,
    message: str,
) -> None:  # fmt: skip
    write_picture(tmp_path / "lake.tif", located=True)
    write_picture(tmp_path / "plain.png")
    (tmp_path / "in").mkdir()
    for broken in ("broken.tif", "in/broken.tif"):
        (tmp_path / broken).write_text("no image")
    texts = {"question": QUESTION} | {key: value for key, value in given.items() if not isinstance(value, bytes)}
    files = [(key, ("file.tif", value)) for key, value in given.items() if isinstance(value, bytes)]
    reply = start(root=tmp_path).post("/v1/ask", files=[*fields(**texts), *files])
    told = reply.json()["error"]
    assert (reply.status_code, told["code"], told["field"]) == (status, code, name)
    assert message in told["message"]
    check_sentence(told["message"])


def check_sentence(message: str) -> None:
    """One sentence, and none of pydantic's."""
    assert not re.search(r"should|valid|Input|Value error|\bvalidation\b|\[type=", message), message
    assert "\n" not in message and ". " not in message and not message.endswith(".") and "--" not in message


BAD_IN_CHATS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("terrascope.gsd", {"gsd": "ten"}, 400, "unsupported_value", "terrascope.gsd is 'ten'; give a number"),
    ("terrascope.gsd", {"gsd": -1}, 422, "scale", "a pixel size of -1.0 m is impossible"),
    ("terrascope.nodata", {"nodata": [0]}, 400, "unsupported_value", "terrascope.nodata is a list; give a number"),
    ("terrascope.dates", {"dates": ["2024-02-30"]}, 422, "scene", "date '2024-02-30' is not a day; write it as"),
    ("terrascope.dates", {"dates": "2024-02-03"}, 400, "unsupported_value", "terrascope.dates is '2024-02-03'; give"),
    ("terrascope.sensor", {"sensor": "sentinel-9"}, 422, "scene", "unknown sensor 'sentinel-9': choose one of"),
    ("terrascope.sar_sensor", {"sar_sensor": 1}, 400, "unsupported_value", "terrascope.sar_sensor is 1; give a text"),
    ("terrascope.reference", {"reference": "radar"}, 400, "malformed", "reference is 'radar'; give 'optical' or 'sar'"),
    ("terrascope.bbox", {"bbox": [1, 2]}, 400, "unsupported_value", "terrascope.bbox has 2 entries; give at least 4"),
    ("terrascope.bbox", {"bbox": [1, 50, 2, 40]}, 422, "scene", "bbox 1.0,50.0,2.0,40.0 is no part of the Earth; give"),
    ("terrascope.options", {"options": ["a"] * 6}, 400, "malformed", "option has 6 entries; give at most 5"),
    ("terrascope.optical", {"optical": ["none.tif"]}, 422, "scene", "none.tif: no such file; paths begin at"),
    ("terrascope.sar", {"sar": ["/etc/passwd"]}, 403, "outside", "the path leads outside of the folder"),
    ("terrascope.sample", {"sample": "other"}, 400, "malformed", "sample is 'other'; give 'demo'"),
    ("terrascope.modalities.0", {"modalities": ["x"]}, 400, "unsupported_value", "is 'x'; give 'optical' or 'sar'"),
    ("terrascope.geojson", {"geojson": {}}, 400, "unsupported_value", "geojson is an object; give true or"),
    ("terrascope.pictures", {"pictures": "maybe"}, 400, "unsupported_value", "pictures is 'maybe'; give true"),
    ("terrascope.colour", {"colour": 1}, 400, "unsupported_parameter", "'terrascope.colour' is not supported"),
    ("max_tokens", {"max_tokens": 0}, 400, "unsupported_value", "max_tokens is 0; give a number of 1 or more"),
    ("max_tokens", {"max_tokens": 1.5}, 400, "unsupported_value", "max_tokens is 1.5; give a whole number"),
    ("temperature", {"temperature": 3}, 400, "unsupported_value", "temperature is 3; give a number of 2 or less"),
    ("top_p", {"top_p": 0}, 400, "unsupported_value", "top_p is 0; give a number above 0"),
    ("n", {"n": 2}, 400, "unsupported_value", "n is 2; give 1"),
    ("stop", {"stop": "x"}, 400, "unsupported_parameter", "'stop' is not supported"),
]  # fmt: skip


def test_every_field_of_the_extension_has_bad_values_here() -> None:
    assert {name.split(".")[1] for name, *_ in BAD_IN_CHATS if "." in name} == {*SceneFields.model_fields, "colour"}


@pytest.mark.parametrize(("param", "given", "status", "code", "message"), BAD_IN_CHATS)
def test_in_a_chat_it_is_named_as_there(
    start: Callable[..., TestClient], tmp_path: Path, param: str, given: dict[str, Any], status: int, code: str,
    message: str,
) -> None:  # fmt: skip
    write_picture(tmp_path / "lake.tif", located=True)
    body: dict[str, Any] = {"model": "oracle", "messages": [{"role": "user", "content": QUESTION}]}
    if param.startswith("terrascope."):
        body["terrascope"] = {"optical": ["lake.tif"], **given}
        if "sample" in given:
            del body["terrascope"]["optical"]
    else:
        body |= given
    reply = start(root=tmp_path).post("/v1/chat/completions", json=body)
    told = reply.json()["error"]
    assert (reply.status_code, told["code"], told["param"]) == (status, code, param), told
    assert message in told["message"]
    check_sentence(told["message"])
