from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fastapi.testclient import TestClient

from oracle import HEIGHT, TREE, WATER, WIDTH, write_picture
from serve.told import StreamingOracle, events_of, fields
from terrascope.errors import ModelError
from terrascope.masks import decode_rle
from terrascope.sources.synthetic import demo_scene

QUESTION = "How much of the image is water?"


def test_a_plain_reply_is_the_answer_of_the_predictor_in_the_published_schema(
    client: TestClient, picture: bytes
) -> None:
    reply = client.post("/v1/ask", files=[*fields(question=QUESTION), ("optical", ("lake.png", picture))])
    assert reply.status_code == 200
    told = reply.json()
    schema = json.loads((Path(__file__).parents[2] / "docs" / "answer.schema.json").read_text())
    jsonschema.validate(told, schema)
    assert told["answer"] == "10%" and told["scene"]["images"][0]["optical"]["source"] == "lake.png"
    assert [step["coverage_percent"] for step in told["steps"]] == [10.0, 12.5]
    assert np.array_equal(decode_rle(told["steps"][0]["mask_rle"]), WATER)
    assert "geojson" not in told and "picture" not in told["steps"][0]
    assert set(told["files"]) == {
        "report.html", "answer.json", "overlay.png", "masks.tif", "steps.tif", "steps.tif.aux.xml", "masks.geojson",
        "masks.parquet",
    }  # fmt: skip


def test_the_stream_tells_scene_text_masks_and_the_same_answer(client: TestClient, picture: bytes) -> None:
    form = fields(question=QUESTION, stream="true", pictures="true", geojson="true", gsd="10")
    reply = client.post("/v1/ask", files=[*form, ("optical", ("lake.png", picture))])
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream")
    events = events_of(reply.text)
    names = [name for name, _ in events]
    assert names[0] == "scene" and names[-1] == "answer" and names.count("mask") == 2 and "text" in names
    told = dict(events)
    assert told["scene"]["bounds"] is None and told["scene"]["scene"]["height_px"] == HEIGHT
    (shown,) = told["scene"]["pictures"]
    assert (shown["width"], shown["height"], shown["modality"], shown["image"]) == (WIDTH, HEIGHT, "optical", 1)
    assert shown["data"].startswith("data:image/png;base64,")
    masks = [data for name, data in events if name == "mask"]
    assert [mask["step"] for mask in masks] == [1, 2]
    for mask, truth, step in zip(masks, (WATER, TREE), told["answer"]["steps"], strict=True):
        assert np.array_equal(decode_rle(mask["mask_rle"]), truth)
        shared = (
            "image", "mask_rle", "confidence", "num_optical_tokens", "num_sar_tokens", "coverage_percent", "area_m2",
            "num_objects", "position", "color", "picture",
        )  # fmt: skip
        assert {name: mask[name] for name in shared} == {name: step[name] for name in shared}
    assert masks[0]["area_m2"] == 20_000
    assert [feature["properties"]["step"] for feature in told["answer"]["geojson"]["features"]] == [1, 2]
    kept = client.get(f"/v1/answers/{told['answer']['id']}")
    assert kept.json() == told["answer"] and told["scene"]["id"] == told["answer"]["id"]


def test_the_accept_header_asks_for_the_stream_too(client: TestClient) -> None:
    form = fields(question=QUESTION, sample="demo")
    reply = client.post("/v1/ask", files=form, headers={"Accept": "text/event-stream"})
    assert events_of(reply.text)[-1][0] == "answer"


def test_a_sample_is_the_scene_of_the_demo_with_its_place(client: TestClient) -> None:
    reply = client.post("/v1/ask", files=fields(question=QUESTION, sample="demo", stream="1", pictures="1"))
    scene = events_of(reply.text)[0][1]
    truth = demo_scene()
    assert (scene["scene"]["height_px"], scene["scene"]["width_px"]) == truth.shape
    lon, lat = truth.georeference.to_lonlat([0, 256], [0, 256])
    west, south, east, north = scene["bounds"]
    assert scene["corners"][0] == pytest.approx([lon[0], lat[0]], abs=1e-6)
    assert scene["corners"][2] == pytest.approx([lon[1], lat[1]], abs=1e-6)
    slack = 1e-6
    assert west <= min(lon) + slack and south <= min(lat) + slack
    assert east >= max(lon) - slack and north >= max(lat) - slack
    assert [picture["modality"] for picture in scene["pictures"]] == ["optical", "sar"]


def test_options_dates_and_two_images_reach_the_predictor(client: TestClient, picture: bytes) -> None:
    form = fields(question=QUESTION, option=["A. 5%", "B. 10%"], date=["2024-05-02", "2024-05-01"])
    images = [("optical", ("a.png", picture)), ("optical", ("b.png", picture))]
    told = client.post("/v1/ask", files=[*form, *images]).json()
    assert (told["answer"], told["answer_option"], told["options"]) == ("B", "10%", ["5%", "10%"])
    assert [pair["date"] for pair in told["scene"]["images"]] == ["2024-05-01", "2024-05-02"]
    assert [pair["optical"]["source"] for pair in told["scene"]["images"]] == ["b.png", "a.png"]


def test_paths_are_taken_below_the_root_only(start: Callable[..., TestClient], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    write_picture(root / "inner" / "lake.tif", located=True)
    secret = write_picture(tmp_path / "secret.tif")
    (root / "link.tif").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    (root / "band_folder").mkdir()
    (root / "band_folder" / "red.tif").symlink_to(secret)
    client = start(root=root)

    def ask(path: str) -> tuple[int, dict]:
        reply = client.post("/v1/ask", files=fields(question=QUESTION, optical_path=path))
        return reply.status_code, reply.json()

    status, told = ask("inner/lake.tif")
    assert status == 200 and told["scene"]["images"][0]["optical"]["source"] == "inner/lake.tif"
    for path in (
        str(secret), "../secret.tif", "inner/../../secret.tif", "link.tif", "linked/secret.tif", "band_folder",
        f"/vsizip/{secret}", "/vsicurl/http://localhost/a.tif", "http://localhost/a.tif", "s3://bucket/a.tif",
        "inner/lake.tif,../secret.tif", "a\0b",
    ):  # fmt: skip
        status, told = ask(path)
        assert (status, told["error"]["code"], told["error"]["field"]) == (403, "outside", "optical_path"), path
        assert str(tmp_path) not in json.dumps(told)
    status, told = ask("inner/none.tif")
    assert status == 422 and "inner/none.tif: no such file" in told["error"]["message"]


def test_a_virtual_raster_below_the_root_is_refused(start: Callable[..., TestClient], tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    secret = write_picture(tmp_path / "secret.tif")
    (root / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    reply = start(root=root).post("/v1/ask", files=fields(question=QUESTION, optical_path="a.vrt"))
    assert reply.status_code == 422 and "virtual raster" in reply.json()["error"]["message"]
    assert str(tmp_path) not in reply.text


def test_paths_are_refused_without_a_root(client: TestClient) -> None:
    reply = client.post("/v1/ask", files=fields(question=QUESTION, sar_path="a.tif"))
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "no_paths" and reply.json()["error"]["field"] == "sar_path"


@pytest.mark.parametrize(
    ("form", "status", "code", "field"),
    [
        ({}, 400, "missing_field", "question"),
        ({"question": "  "}, 400, "missing_field", "question"),
        ({"question": QUESTION}, 422, "scene", "optical"),
        ({"question": QUESTION, "sample": "other"}, 400, "malformed", "sample"),
        ({"question": "x" * 4001, "sample": "demo"}, 400, "malformed", "question"),
        ({"question": QUESTION, "sample": "demo", "option": ["one"]}, 422, "question", "option"),
        ({"question": QUESTION, "sample": "demo", "colour": "red"}, 400, "unknown_field", "colour"),
        ({"question": QUESTION, "sample": "demo", "gsd": "ten"}, 400, "malformed", "gsd"),
        ({"question": QUESTION, "sample": "demo", "gsd": "5"}, 400, "malformed", "gsd"),
        ({"question": QUESTION, "sample": "demo", "date": "2024-01-01"}, 400, "malformed", "date"),
        ({"question": QUESTION, "optical_path": ",".join(["a.tif"] * 65)}, 422, "scene", "optical_path"),
        ({"question": QUESTION, "optical_path": ",".join(["a.tif", "."])}, 422, "scene", "optical_path"),
        ({"question": QUESTION, "optical_path": ",".join(["b" * 100 + ".tif"] * 6)}, 422, "scene", "optical_path"),
        ({"question": QUESTION, "optical_path": ["a.tif"] * 65}, 400, "malformed", "optical_path"),
        ({"question": [QUESTION, QUESTION], "sample": "demo"}, 400, "malformed", "question"),
        ({"question": QUESTION, "sample": "demo", "optical_path": "a.tif"}, 400, "malformed", "sample"),
        ({"question": QUESTION, "bbox": "1,2", "optical_path": "a.tif"}, 422, "scene", "bbox"),
        ({"question": "y" * 50_000, "sample": "demo"}, 413, "too_large", "question"),
    ],
)
def test_what_a_form_lacks_is_said_in_the_envelope(
    start: Callable[..., TestClient], tmp_path: Path, form: dict, status: int, code: str, field: str | None
) -> None:
    write_picture(tmp_path / "a.tif")
    reply = start(root=tmp_path).post("/v1/ask", files=fields(**form) or [("nothing", (None, ""))])
    assert (reply.status_code, reply.json()["error"]["code"], reply.json()["error"]["field"]) == (status, code, field)
    assert reply.json()["error"]["message"]


def test_the_settings_of_the_scene_are_used(client: TestClient, picture: bytes) -> None:
    image = ("optical", ("lake.png", picture))
    told = client.post("/v1/ask", files=[*fields(question="What is the area of the water?"), image])
    assert told.status_code == 422 and told.json()["error"]["code"] == "scale"
    told = client.post("/v1/ask", files=[*fields(question="What is the area of the water?", gsd="10"), image])
    assert told.json()["steps"][0]["area_m2"] == 20_000
    told = client.post("/v1/ask", files=[*fields(question=QUESTION, sensor="sentinel-9"), image])
    assert told.status_code == 422 and "sentinel-9" in told.json()["error"]["message"]


def test_an_error_in_the_stream_is_its_last_event(client: TestClient) -> None:
    form = [*fields(question=QUESTION, stream="true"), ("optical", ("lake.png", b"no picture"))]
    reply = client.post("/v1/ask", files=form)
    assert reply.status_code == 200
    ((name, data),) = events_of(reply.text)
    assert name == "error" and data["error"]["code"] == "scene" and data["error"]["field"] == "optical"
    assert data["error"]["message"].startswith("lake.png: ")


def test_a_defect_tells_a_number_and_the_log_the_rest(
    client: TestClient, oracle: StreamingOracle, caplog: pytest.LogCaptureFixture
) -> None:
    oracle.error = ZeroDivisionError("secret detail")
    plain = client.post("/v1/ask", files=fields(question=QUESTION, sample="demo"))
    streamed = client.post("/v1/ask", files=fields(question=QUESTION, sample="demo", stream="1"))
    assert plain.status_code == 500
    for error in (plain.json()["error"], events_of(streamed.text)[-1][1]["error"]):
        assert error["code"] == "internal" and "secret" not in error["message"]
        number = error["message"].rpartition(" ")[2]
        (record,) = [record for record in caplog.records if number in record.getMessage()]
        assert record.exc_info is not None and "secret detail" in str(record.exc_info[1])


def test_a_model_that_cannot_help_it_is_503(client: TestClient, oracle: StreamingOracle) -> None:
    oracle.error = ModelError("memory ran out")
    reply = client.post("/v1/ask", files=fields(question=QUESTION, sample="demo"))
    assert reply.status_code == 503 and reply.json()["error"] == {
        "code": "model", "message": "memory ran out", "field": None,
    }  # fmt: skip


def test_two_files_of_one_name_and_their_places_are_not_told(client: TestClient, picture: bytes) -> None:
    images = [("optical", ("a.png", picture)), ("optical", ("../a.png", picture[:-20]))]
    reply = client.post("/v1/ask", files=[*fields(question=QUESTION), *images])
    assert reply.status_code == 422
    assert "/" not in reply.json()["error"]["message"].replace("GeoTIFF/", "")
    images = [("optical", ("a.png", picture)), ("optical", ("C:\\x\\a.png", picture))]
    told = client.post("/v1/ask", files=[*fields(question=QUESTION), *images])
    assert told.status_code == 200 and "/tmp" not in told.text and "terrascope-serve" not in told.text
