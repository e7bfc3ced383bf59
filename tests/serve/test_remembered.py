"""A scene that was read lately is the same object for the next question about it, and for no other."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient

from oracle import HEIGHT, WIDTH, draw_picture, make_scene, write_picture
from serve.told import StreamingOracle, fields
from terrascope.scene import Scene
from terrascope.serve import below_root
from terrascope.serve.app import create_app
from terrascope.serve.metrics import Metrics
from terrascope.serve.remembered import RememberedScenes
from terrascope.serve.settings import ServeSettings

QUESTION = "How much of the image is water?"
SCENE_BYTES = HEIGHT * WIDTH * (3 * 4 + 1)
"""Three bands as float32, and which pixels are valid."""


@pytest.fixture
def seen(oracle: StreamingOracle) -> Iterator[list[Scene]]:
    """The scenes that the oracle was asked about."""
    scenes: list[Scene] = []
    plain = oracle.stream

    def stream(scene: Scene, question: str, *, options: Any = ()) -> Any:
        scenes.append(scene)
        return plain(scene, question, options=options)

    oracle.stream = stream  # type: ignore[method-assign]
    yield scenes
    scenes.clear()


def ask(client: TestClient, *images: tuple[str, tuple[str, bytes]], **form: Any) -> dict[str, Any]:
    reply = client.post("/v1/ask", files=[*fields(question=QUESTION, **form), *images])
    assert reply.status_code == 200, reply.text
    return reply.json()


def counted(client: TestClient) -> dict[str, float]:
    registry = client.app.state.service.metrics.registry  # type: ignore[attr-defined]
    origins = {
        origin: registry.get_sample_value("terrascope_scenes_total", {"origin": origin}) or 0
        for origin in ("read", "remembered")
    }
    return {**origins, "bytes": registry.get_sample_value("terrascope_remembered_bytes")}


def located(east: float = 500_000, value: int = 120, **more: Any) -> bytes:
    """The picture as a GeoTIFF that lies elsewhere, or is of another gray."""
    place = rasterio.transform.from_origin(east, 5_000_000, 10, 10)
    pixels = np.where(draw_picture() == 120, value, draw_picture()).astype(np.uint8)
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=3, height=HEIGHT, width=WIDTH, dtype="uint8", photometric="RGB", crs="EPSG:32633",
            transform=place, **more,
        ) as dataset:  # fmt: skip
            dataset.write(pixels)
        return memory.read()


def test_an_upload_that_comes_again_is_the_same_scene(client: TestClient, seen: list[Scene], picture: bytes) -> None:
    first = ask(client, ("optical", ("lake.png", picture)))
    second = ask(client, ("optical", ("lake.png", picture)), option=["A. 5%", "B. 10%"], stream="false")
    assert seen[0] is seen[1]
    assert second["scene"] == first["scene"] and second["scene"]["images"][0]["optical"]["source"] == "lake.png"
    assert counted(client) == {"read": 1, "remembered": 1, "bytes": SCENE_BYTES}
    assert not list(client.app.state.service.uploads.iterdir())  # type: ignore[attr-defined]


def test_a_sample_is_made_once(client: TestClient, seen: list[Scene]) -> None:
    ask(client, sample="demo")
    ask(client, sample="demo")
    assert seen[0] is seen[1]


def test_an_image_of_a_chat_is_remembered_too(client: TestClient, seen: list[Scene], picture: bytes) -> None:
    import base64

    address = "data:image/png;base64," + base64.b64encode(picture).decode()
    for question in (QUESTION, "How much of the image is forest?"):
        parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": address}}]
        message = {"role": "user", "content": parts}
        reply = client.post("/v1/chat/completions", json={"model": "oracle", "messages": [message]})
        assert reply.status_code == 200, reply.text
    assert seen[0] is seen[1]


PLAIN = {"name": "a_20240501.tif", "content": located()}


@pytest.mark.parametrize(
    ("form", "image"),
    [
        ({}, {"content": located(value=121)}),
        ({}, {"content": located(compress="deflate")}),
        ({}, {"name": "b_20240501.tif"}),
        ({}, {"field": "optical_bands", "name": "a_20240501_B02.tif"}),
        ({"date": "2024-05-02"}, {}),
        ({"date": "2024-05-01"}, {}),
        ({"sensor": "rgb"}, {}),
        ({"gsd": "20"}, {}),
        ({"nodata": "10"}, {}),
        ({"reference": "optical"}, {}),
        ({"bbox": "15.0001,45.1,15.1,45.2"}, {}),
    ],
)
def test_what_differs_in_anything_is_another_scene(
    client: TestClient, seen: list[Scene], oracle: StreamingOracle, form: dict[str, str], image: dict[str, Any]
) -> None:
    ask(client, ("optical", (PLAIN["name"], PLAIN["content"])))
    given = PLAIN | image
    reply = client.post(
        "/v1/ask",
        files=[
            *fields(question=QUESTION, **form),
            (given.get("field", "optical"), (given["name"], given["content"])),
        ],
    )
    # The oracle knows one size only, and a picture holds no single band; what counts is that no scene is shared.
    assert len(seen) == 1 or seen[1] is not seen[0], reply.text
    assert counted(client)["remembered"] == 0
    # And the first is still there.
    ask(client, ("optical", (PLAIN["name"], PLAIN["content"])))
    assert seen[-1] is seen[0]


def test_dates_kinds_and_their_order_make_scenes_of_their_own(
    client: TestClient, seen: list[Scene], picture: bytes
) -> None:
    one, other = ("a.png", picture), ("b.png", picture)
    ask(client, ("optical", one), ("optical", other))
    ask(client, ("optical", other), ("optical", one))
    ask(client, ("optical", one))
    ask(client, ("optical", one), ("optical", other), date=["2024-05-01", "2024-05-02"])
    ask(client, ("optical", one), ("optical", other), date=["2024-05-02", "2024-05-01"])
    assert len({id(scene) for scene in seen}) == 5
    assert [scene.observations[0].source for scene in seen] == ["a.png", "b.png", "a.png", "a.png", "b.png"]


def test_equal_questions_at_once_read_it_once_or_twice_and_go_on_with_one_object(
    start: Callable[..., TestClient], seen: list[Scene], picture: bytes
) -> None:
    client = start(max_running=4)
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(20)
        ask(client, ("optical", ("lake.png", picture)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 4 and len({id(scene) for scene in seen}) == 1
    told = counted(client)
    assert told["read"] + told["remembered"] == 4 and told["read"] >= 1 and told["bytes"] == SCENE_BYTES


class TestBounds:
    def remembered(self, **bounds: int) -> tuple[RememberedScenes, Callable[[str], Scene]]:
        remembered = RememberedScenes(Metrics(), **bounds)
        return remembered, lambda key: remembered.reader(key, lambda _: make_scene(), stays=False)(lambda *_: None)

    def test_the_scene_that_was_asked_about_longest_ago_goes_first(self) -> None:
        _, recall = self.remembered(max_scenes=2, max_mb=1)
        a, b = recall("a"), recall("b")
        assert recall("a") is a
        c = recall("c")
        assert recall("a") is a and recall("c") is c and recall("b") is not b

    def test_memory_is_bounded_in_bytes(self) -> None:
        remembered, recall = self.remembered(max_scenes=1000, max_mb=1)
        first = recall("0")
        fitting = 2**20 // SCENE_BYTES
        for number in range(1, fitting + 1):
            recall(str(number))
        held = remembered.metrics.registry.get_sample_value("terrascope_remembered_bytes")
        assert held == fitting * SCENE_BYTES <= 2**20
        assert recall("0") is not first

    @pytest.mark.parametrize("bounds", [{"max_scenes": 0, "max_mb": 1}, {"max_scenes": 4, "max_mb": 0}])
    def test_none_are_remembered_where_there_is_no_room(self, bounds: dict[str, int]) -> None:
        remembered, recall = self.remembered(**bounds)
        assert recall("a") is not recall("a")
        assert remembered.metrics.registry.get_sample_value("terrascope_remembered_bytes") == 0

    def test_a_scene_without_a_key_is_not_remembered(self) -> None:
        _, recall = self.remembered(max_scenes=4, max_mb=1)
        assert recall(None) is not recall(None)  # type: ignore[arg-type]

    def test_a_reading_that_fails_leaves_nothing(self) -> None:
        remembered, recall = self.remembered(max_scenes=4, max_mb=1)

        def fail(_: object) -> Scene:
            raise ValueError

        with pytest.raises(ValueError):
            remembered.reader("a", fail, stays=False)(lambda *_: None)
        assert recall("a") is recall("a")


def test_scenes_go_with_the_server(start: Callable[..., TestClient], seen: list[Scene], picture: bytes) -> None:
    client = start()
    ask(client, ("optical", ("lake.png", picture)))
    scene = weakref.ref(seen.pop())
    gc.collect()
    assert scene() is not None
    client.__exit__(None, None, None)
    gc.collect()
    assert scene() is None
    client.__enter__()


# ---------------------------------------------------------------------------------------------------------------------
# Files of the server, and images that stay in their files.


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may be as young as the test."""
    monkeypatch.setattr(below_root, "_SETTLED_NS", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "root" / "2024"
    home.mkdir(parents=True)
    write_picture(home / "lake.tif", located=True)
    return tmp_path / "root"


@pytest.mark.usefixtures("settled")
def test_a_file_of_the_server_is_remembered_until_it_or_what_lies_beside_it_changes(
    start: Callable[..., TestClient], seen: list[Scene], root: Path
) -> None:
    client = start(root=root)

    def is_new() -> bool:
        ask(client, optical_path="2024/lake.tif")
        return not any(seen[-1] is scene for scene in seen[:-1])

    assert is_new() and not is_new()
    # The same size and time, but other pixels.
    stat = (root / "2024" / "lake.tif").stat()
    (root / "2024" / "lake.tif").write_bytes(located(value=121))
    os.utime(root / "2024" / "lake.tif", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (root / "2024" / "lake.tif").stat().st_size == stat.st_size
    assert is_new() and seen[-1].observations[0].pixels.max() > 120
    # Metadata beside it, and above it.
    (root / "2024" / "lake.tif.aux.xml").write_text("<PAMDataset/>")
    assert is_new() and not is_new()
    (root / "about.txt").write_text("metadata")
    assert is_new() and not is_new()
    # Another image is none of its files.
    write_picture(root / "2024" / "pond.tif")
    assert not is_new()


@pytest.mark.usefixtures("settled")
def test_a_folder_is_remembered_until_anything_in_it_changes(
    start: Callable[..., TestClient], seen: list[Scene], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(root=root)
    inside = root / "2024" / "metadata" / "deep"
    inside.mkdir(parents=True)
    for _ in range(2):
        ask(client, optical_path="2024")
    (inside / "a.xml").write_text("<a/>")
    for _ in range(2):
        ask(client, optical_path="2024")
    assert seen[0] is seen[1] is not seen[2] is seen[3]
    monkeypatch.setattr(below_root, "_MAX_STATED", 2)
    ask(client, optical_path="2024")
    assert seen[4] is not seen[3]


def test_a_file_that_was_changed_just_now_is_not_remembered(
    start: Callable[..., TestClient], seen: list[Scene], root: Path
) -> None:
    client = start(root=root)
    for _ in range(2):
        ask(client, optical_path="2024/lake.tif")
    assert seen[0] is not seen[1]


@pytest.mark.usefixtures("settled")
def test_a_large_image_that_stays_in_its_file_is_remembered_by_its_path_alone(
    start: Callable[..., TestClient], seen: list[Scene], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terrascope.serve.scenes._IN_MEMORY_PIXELS", HEIGHT * WIDTH - 1)
    client = start(root=root)
    content = (root / "2024" / "lake.tif").read_bytes()

    def ask_twice(*images: tuple[str, tuple[str, bytes]], **form: Any) -> bool:
        """True if it was the same scene. The oracle cannot answer about pixels in files, but was asked."""
        for _ in range(2):
            client.post("/v1/ask", files=[*fields(question=QUESTION, **form), *images])
        assert not isinstance(seen[-1].observations[0].pixels, np.ndarray)
        return seen[-1] is seen[-2]

    assert not ask_twice(("optical", ("lake.tif", content)))
    assert counted(client)["bytes"] == 0
    assert ask_twice(optical_path="2024/lake.tif")
    assert HEIGHT * WIDTH <= counted(client)["bytes"] <= 2 * SCENE_BYTES
    # Beside an upload it is not, since that one goes.
    assert not ask_twice(("optical", ("lake.tif", content)), optical_path="2024/lake.tif")
    assert len(seen) == 6


# ---------------------------------------------------------------------------------------------------------------------
# The model itself.


@pytest.mark.weights
def test_the_model_sees_a_scene_once_for_questions_that_come_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from terrascope.model import TerraScope

    nano = TerraScope.from_pretrained("nano", device="cpu")
    nano.encoded.max_scenes = 4
    num_encoded = []
    plain = nano.model.encode_for_masks
    monkeypatch.setattr(
        nano.model, "encode_for_masks", lambda images: (num_encoded.append(len(images)), plain(images))[1]
    )
    scenes = [{"optical": ("lake.tif", PLAIN["content"])}, {"optical": ("lake.tif", located(value=60))}]
    with TestClient(create_app(nano, ServeSettings()), base_url="http://localhost") as client:
        told = [ask(client, *scene.items()) for scene in scenes * 2]
    assert num_encoded == [1, 1]
    for first, again in zip(told[:2], told[2:], strict=True):
        assert first["id"] != again["id"]
        assert {**first, "id": "", "files": {}} == {**again, "id": "", "files": {}}
