from __future__ import annotations

import errno
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient

from oracle import Oracle, ground, make_scene, write_picture
from serve.told import fields
from terrascope.answer import Answer
from terrascope.answer_files import FILES
from terrascope.rasters.read import open_scene
from terrascope.scene import Scene
from terrascope.serve.slim import slim

QUESTION = "How much of the image is water?"


def ask(client: TestClient, tmp_path: Path, **more: str) -> dict:
    picture = write_picture(tmp_path / "located.tif", located=True).read_bytes()
    reply = client.post("/v1/ask", files=[*fields(question=QUESTION, **more), ("optical", ("lake.tif", picture))])
    assert reply.status_code == 200
    return reply.json()


def test_the_files_are_those_that_the_command_line_writes(client: TestClient, tmp_path: Path) -> None:
    told = ask(client, tmp_path)
    source = write_picture(tmp_path / "lake.tif", located=True)
    truth = Oracle().ask(Scene.open(optical=source), QUESTION).save(tmp_path / "out")
    assert set(told["files"]) == set(truth) == set(FILES)
    for name, path in truth.items():
        reply = client.get(told["files"][name])
        assert reply.status_code == 200 and reply.headers["content-type"].startswith(FILES[name].media_type)
        if name in ("report.html", "answer.json", "item.json"):
            assert reply.text.replace("lake.tif", "") and str(tmp_path) not in reply.text
        else:
            assert reply.content == path.read_bytes(), name
    with rasterio.MemoryFile(client.get(told["files"]["masks.tif"]).content) as memory, memory.open() as masks:
        assert masks.count == 2 and int(masks.read(1).sum()) == 200


def test_a_file_is_a_download_and_the_report_a_page_that_may_do_nothing(client: TestClient, tmp_path: Path) -> None:
    files = ask(client, tmp_path)["files"]
    reply = client.get(files["masks.geojson"])
    assert reply.headers["content-disposition"] == 'attachment; filename="masks.geojson"'
    report = client.get(files["report.html"])
    assert "content-disposition" not in report.headers
    policy = report.headers["content-security-policy"]
    assert (
        policy.startswith("sandbox allow-scripts;") and "default-src 'none'" in policy and "same-origin" not in policy
    )
    assert report.headers["cache-control"] == "no-store"


def test_all_files_in_one(client: TestClient, tmp_path: Path) -> None:
    told = ask(client, tmp_path)
    reply = client.get(f"/v1/answers/{told['id']}/all.zip")
    assert reply.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert set(archive.namelist()) == set(told["files"])
        assert archive.read("masks.tif") == client.get(told["files"]["masks.tif"]).content


def test_an_answer_is_forgotten_when_asked_for(client: TestClient, tmp_path: Path) -> None:
    told = ask(client, tmp_path)
    client.get(told["files"]["overlay.png"])
    assert client.delete(f"/v1/answers/{told['id']}").status_code == 204
    for path in (f"/v1/answers/{told['id']}", told["files"]["overlay.png"]):
        assert client.get(path).status_code == 404
    assert client.delete(f"/v1/answers/{told['id']}").status_code == 404
    service = client.app.state.service
    assert not list((service.uploads.parent / "answers").iterdir())


def test_the_oldest_answers_are_forgotten_first(start: Callable[..., TestClient], tmp_path: Path) -> None:
    client = start(keep_answers=2)
    first, second = ask(client, tmp_path)["id"], ask(client, tmp_path)["id"]
    assert client.get(f"/v1/answers/{first}").status_code == 200
    third = ask(client, tmp_path)["id"]
    known = [client.get(f"/v1/answers/{each}").status_code for each in (first, second, third)]
    assert known == [200, 404, 200]
    assert len(list((client.app.state.service.uploads.parent / "answers").iterdir())) == 2


def test_no_more_than_so_many_megabytes_are_kept(start: Callable[..., TestClient]) -> None:
    client = start(keep_mb=3)
    # The sample's bands of two pictures take about a megabyte.
    ids = [client.post("/v1/ask", files=fields(question=QUESTION, sample="demo")).json()["id"] for _ in range(4)]
    answers = client.app.state.service.uploads.parent / "answers"
    assert sum(path.stat().st_size for path in answers.rglob("*") if path.is_file()) <= 3 * 2**20
    assert client.get(f"/v1/answers/{ids[-1]}").status_code == 200
    assert client.get(f"/v1/answers/{ids[0]}").status_code == 404


def test_where_nothing_is_kept_nothing_is_promised(start: Callable[..., TestClient], tmp_path: Path) -> None:
    client = start(keep_answers=0)
    told = ask(client, tmp_path)
    assert told["files"] == {}
    assert client.get(f"/v1/answers/{told['id']}").status_code == 404


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "answer.pickle", "reply.json", "none.txt", "%2e%2e"])
def test_nothing_but_the_files_is_given(client: TestClient, tmp_path: Path, name: str) -> None:
    told = ask(client, tmp_path)
    assert client.get(f"/v1/answers/{told['id']}/{name}").status_code == 404
    assert client.get(f"/v1/answers/..%2f{told['id']}").status_code == 404


@pytest.mark.slow
def test_an_answer_put_aside_gives_the_same_files_also_of_a_large_scene(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 2100, 2300), np.uint8)
    with rasterio.open(
        tmp_path / "big.tif", "w", driver="GTiff", width=2300, height=2100, count=3, dtype="uint8", photometric="RGB",
        tiled=True,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
    stored = open_scene(optical=tmp_path / "big.tif", in_memory_pixels=1000)
    truth = open_scene(optical=tmp_path / "big.tif")
    mask = np.zeros((2100, 2300), bool)
    mask[500:900, 100:1800] = True
    for scene in (stored, truth, make_scene(gsd_m=10)):
        answer = answer_about(scene, mask if scene.shape == mask.shape else np.ones(scene.shape, bool))
        put_aside = pickle.loads(pickle.dumps(slim(answer)))
        whole, less = answer.save(tmp_path / "whole"), put_aside.save(tmp_path / "less")
        assert whole.keys() == less.keys()
        for name in whole:
            assert whole[name].read_bytes() == less[name].read_bytes(), name


def answer_about(scene: Scene, mask: np.ndarray) -> Answer:
    return Answer.from_reasoning(
        scene=scene,
        question=QUESTION,
        reasoning="<think>The water: [SEG] It is there.</think><answer>yes</answer>",
        groundings=[ground(mask)],
        model="oracle",
    )


def test_the_reply_names_no_folder_of_the_server(client: TestClient, tmp_path: Path) -> None:
    told = ask(client, tmp_path, geojson="1", pictures="1")
    folder = str(client.app.state.service.uploads)
    assert folder not in json.dumps(told)
    for url in told["files"].values():
        assert folder.encode() not in client.get(url).content


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("terrascope.serve.kept.pickle.dump", full)
    told = ask(client, tmp_path)
    assert told["answer"] and told["files"] == {}
    assert told["notes"][-1] == "The server could not keep the files of this answer."
    assert client.get(f"/v1/answers/{told['id']}").status_code == 404
    assert not list(client.app.state.service.kept._folder.iterdir())  # type: ignore[attr-defined]
