"""Replicas on Ray Serve: the same events and answers as from the model itself, and how they end."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from oracle import TREE, WATER, make_scene, write_picture
from serve.told import StreamingOracle
from terrascope.answer import Answer
from terrascope.errors import ModelError, QuestionError, SampleError, ServeError
from terrascope.events import Drew, Event, Wrote
from terrascope.rasters.read import open_scene
from terrascope.rasters.store import FileStore
from terrascope.scene import Scene
from terrascope.serve import ray_app
from terrascope.serve.ray_app import RayPredictor, Replica, on_ray, packed

QUESTION = "How much of the image is water?"


def broken() -> StreamingOracle:
    raise ModelError("unknown model 'nanoo'")


class ReadingOracle(StreamingOracle):
    """Takes what it is asked about from files."""

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        assert isinstance(scene.observations[0].pixels, FileStore)
        height, width = scene.shape
        return super().stream(scene.window(slice(0, height), slice(0, width)), question, options=options)


class Lost(Exception):
    """Stands for what Ray raises."""


class Told:
    """What a replica told, as Ray hands it on."""

    def __init__(self, messages: Sequence[bytes], error: Exception | None = None) -> None:
        self.messages, self.error, self.is_cancelled = messages, error, False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.messages
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        self.is_cancelled = True


class Handle:
    """A handle of Ray Serve's that knows what the replica will tell."""

    def __init__(self, told: Told) -> None:
        self.told, self.answer = told, self

    def options(self, *, stream: bool) -> Handle:
        assert stream
        return self

    def remote(self, scene: bytes, question: str, options: tuple[str, ...]) -> Told:
        self.asked = pickle.loads(scene).shape, question, options
        return self.told


def messages_of(replica: Replica, *, options: Sequence[str] = ()) -> list[bytes]:
    async def gather() -> list[bytes]:
        return [message async for message in replica.answer(pickle.dumps(make_scene()), QUESTION, options)]

    return asyncio.run(gather())


def predictor_of(told: Told) -> RayPredictor:
    return RayPredictor(Handle(told), "oracle", Lost)


def check_events(events: list[Any], scene: Any) -> None:
    """A text before each mask, then the answer, about the very scene that was asked."""
    masks = [event.grounding.mask for event in events if isinstance(event, Drew)]
    assert len(masks) == 2 and np.array_equal(masks[0], WATER) and np.array_equal(masks[1], TREE)
    texts = [event.text for event in events if isinstance(event, Wrote)]
    assert all(later.startswith(text) for text, later in pairwise(texts))
    answer = events[-1]
    assert isinstance(answer, Answer) and answer.scene is scene
    assert texts[-1].rstrip() == answer.reasoning and answer.text == "10%"
    assert all(np.array_equal(one, other) for one, other in zip(answer.masks, masks, strict=True))


def test_a_replica_tells_what_the_model_tells() -> None:
    told = Told(messages_of(Replica(StreamingOracle, 4, 60)))
    predictor, scene = predictor_of(told), make_scene()
    assert predictor.name == "oracle"
    check_events(list(predictor.stream(scene, QUESTION)), scene)
    assert told.is_cancelled, "which does nothing to one that has ended"
    assert sum(map(len, told.messages)) < 20 * scene.observations[0].pixels.nbytes, "no event brings the scene back"


def test_a_replica_reads_an_image_from_its_files(tmp_path: Path) -> None:
    scene = open_scene(optical=write_picture(tmp_path / "a.tif", located=True), in_memory_pixels=10)
    assert isinstance(scene.observations[0].pixels, FileStore)
    replica = Replica(ReadingOracle, 4, 60)

    class Calls(Handle):
        def remote(self, scene: bytes, question: str, options: tuple[str, ...]) -> Told:
            async def gather() -> list[bytes]:
                return [message async for message in replica.answer(scene, question, options)]

            self.num_bytes = len(scene)
            self.told.messages = asyncio.run(gather())
            return self.told

    handle = Calls(Told([]))
    check_events(list(RayPredictor(handle, "oracle", Lost).stream(scene, QUESTION)), scene)
    assert handle.num_bytes < scene.observations[0].pixels.shape[0] * WATER.nbytes, "less than the stored numbers"


@given(
    st.tuples(st.integers(0, 40), st.integers(0, 40)).flatmap(lambda shape: arrays(bool, shape)),
    st.booleans(),
)
def test_masks_are_packed_without_loss(mask: np.ndarray, turned: bool) -> None:
    mask = mask.T if turned else mask
    one, same, numbers = pickle.loads(packed((mask, mask, np.arange(3))))
    np.testing.assert_array_equal(one, mask, strict=True)
    assert one is same and one.flags.writeable and numbers.tolist() == [0, 1, 2]


def test_a_mask_of_a_large_image_is_small_when_packed() -> None:
    mask = np.zeros((3000, 3000), bool)
    mask[500:2000, 700:2900] = True
    assert len(packed(mask)) < 10_000


def test_what_the_model_refuses_is_raised_where_it_was_asked() -> None:
    messages = messages_of(Replica(StreamingOracle, 4, 60), options=("one",))
    with pytest.raises(QuestionError, match="2 to 5 options"):
        list(predictor_of(Told(messages)).stream(make_scene(), QUESTION, options=("one",)))


def test_a_model_that_cannot_be_opened_is_told_and_not_tried_again() -> None:
    replica = Replica(broken, 4, 60)
    error = asyncio.run(replica.describe())
    assert isinstance(error, ModelError) and str(error) == "unknown model 'nanoo'"
    with pytest.raises(ModelError, match="unknown model"):
        list(predictor_of(Told(messages_of(replica))).stream(make_scene(), QUESTION))


def test_a_replica_that_ends_in_the_middle_is_told_in_a_sentence() -> None:
    told = Told([pickle.dumps(Wrote("<think>"))], Lost("actor died"))
    events = predictor_of(told).stream(make_scene(), QUESTION)
    assert next(events) == Wrote("<think>")
    with pytest.raises(ModelError, match="a replica of the model ended while it answered; ask again"):
        next(events)


def test_whoever_stops_listening_cancels_in_the_replica() -> None:
    told = Told([pickle.dumps(Wrote("<think>")), pickle.dumps(Wrote("<think>The"))])
    events = predictor_of(told).stream(make_scene(), QUESTION)
    next(events)
    events.close()
    assert told.is_cancelled

    oracle = StreamingOracle()
    oracle.gate.clear()

    async def leave() -> None:
        async with aclosing(Replica(lambda: oracle, 4, 60).answer(pickle.dumps(make_scene()), QUESTION, ())) as events:
            assert isinstance(pickle.loads(await anext(events)), Wrote)

    asyncio.run(leave())
    assert oracle.closed.wait(10)


def test_ray_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SampleError, match="--engine ray needs Ray"), on_ray(StreamingOracle):
        pass


@pytest.mark.slow
def test_replicas_on_ray_answer_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.serve", reason="needs ray[serve]", exc_type=ImportError)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    # Otherwise its processes only get the time that nobody else wants.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    with on_ray(StreamingOracle) as predictor:
        assert predictor.name == "oracle"
        scenes = [make_scene(), make_scene()]
        streams = [predictor.stream(scene, QUESTION) for scene in scenes]
        first = [next(stream) for stream in streams]
        for scene, event, stream in zip(scenes, first, streams, strict=True):
            check_events([event, *stream], scene)
        with pytest.raises(QuestionError, match="2 to 5 options"):
            list(predictor.stream(make_scene(), QUESTION, options=("one",)))
    scene = open_scene(optical=write_picture(tmp_path / "a.tif", located=True), in_memory_pixels=10)
    with on_ray(ReadingOracle) as predictor:
        check_events(list(predictor.stream(scene, QUESTION)), scene)
    with pytest.raises(ModelError, match="unknown model 'nanoo'"), on_ray(broken):
        pass


def test_the_part_of_ray_that_serves_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def session(num_workers: int) -> Iterator[ModuleType]:
        yield sys.modules["ray"]

    monkeypatch.setattr(ray_app, "ray_session", session)
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.delitem(sys.modules, "ray.serve", raising=False)
    with pytest.raises(ServeError, match=r"needs Ray Serve .* pip install 'ray\[serve\]'"), on_ray(StreamingOracle):
        pass
