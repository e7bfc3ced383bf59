from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest

from oracle import make_scene
from serve.told import StreamingOracle
from terrascope.answer import Answer
from terrascope.errors import SceneError
from terrascope.events import Drew, Wrote
from terrascope.serve.desk import Desk
from terrascope.serve.job import Opened, Queued
from terrascope.serve.metrics import Metrics
from terrascope.serve.refusals import Refusal

QUESTION = "How much of the image is water?"


def scene(_: object) -> object:
    return make_scene()


@asynccontextmanager
async def desk_of(oracle: StreamingOracle, **given: float) -> AsyncIterator[Desk]:
    limits = {"max_running": 1, "max_queue": 2, "timeout_s": 60.0} | given
    desk = Desk(oracle, Metrics(), **limits)  # type: ignore[arg-type]
    try:
        yield desk
    finally:
        oracle.gate.set()
        await desk.drain(10)


async def began(oracle: StreamingOracle) -> None:
    assert await asyncio.to_thread(oracle.began.wait, 10)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(test(), 60)

    asyncio.run(within())


def test_events_come_in_order_and_end_with_the_answer(oracle: StreamingOracle) -> None:
    async def test() -> None:
        async with desk_of(oracle) as desk:
            events = [event async for event in desk.submit(scene, QUESTION).events()]
            kinds = [type(event) for event in events]
            assert kinds[0] is Opened and kinds[-1] is Answer and kinds.count(Drew) == 2
            texts = [event.text for event in events if isinstance(event, Wrote)]
            assert all(after.startswith(before) for before, after in pairwise(texts))
            # Every mask comes after the text that asks for it.
            at = [number for number, kind in enumerate(kinds) if kind is Drew]
            assert [events[number - 1].text.count("[SEG]") for number in at] == [1, 2]
            assert (await desk.submit(scene, QUESTION).answer()).text == "10%"

    run(test)


def test_positions_fall_as_the_line_moves(oracle: StreamingOracle) -> None:
    async def test() -> None:
        oracle.gate.clear()
        async with desk_of(oracle) as desk:
            first, second, third = (desk.submit(scene, QUESTION) for _ in range(3))
            events = third.events()
            assert await anext(events) == Queued(2)
            second.cancel()
            assert await anext(events) == Queued(1)
            oracle.gate.set()
            assert (await first.answer()).text == "10%"
            rest = [event async for event in events]
            assert isinstance(rest[-1], Answer)
            with pytest.raises(Refusal, match="cancelled"):
                await second.answer()
            assert oracle.most_running == 1

    run(test)


def test_whoever_stops_listening_cancels(oracle: StreamingOracle) -> None:
    async def test() -> None:
        oracle.gate.clear()
        async with desk_of(oracle) as desk:
            async with aclosing(desk.submit(scene, QUESTION).events()) as events:
                async for event in events:
                    if isinstance(event, Wrote):
                        break
            assert await asyncio.to_thread(oracle.closed.wait, 10)
            oracle.gate.set()
            # Its place is free again.
            assert (await desk.submit(scene, QUESTION).answer()).text == "10%"

    run(test)


def test_a_question_that_is_cancelled_while_its_scene_is_read_is_never_asked(oracle: StreamingOracle) -> None:
    async def test() -> None:
        reading, may_go_on = threading.Event(), threading.Event()

        def read(progress: Callable[[str, int, int], None]) -> object:
            reading.set()
            assert may_go_on.wait(10)
            progress("image", 1, 2)
            raise AssertionError("the reading went on")

        async with desk_of(oracle) as desk:
            job = desk.submit(read, QUESTION)  # type: ignore[arg-type]
            assert await asyncio.to_thread(reading.wait, 10)
            job.cancel()
            may_go_on.set()
            with pytest.raises(Refusal, match="cancelled"):
                await job.answer()
        assert not oracle.began.is_set()

    run(test)


def test_a_full_desk_refuses_and_a_place_can_be_held_and_left(oracle: StreamingOracle) -> None:
    async def test() -> None:
        oracle.gate.clear()
        async with desk_of(oracle) as desk:
            desk.submit(scene, QUESTION)
            with desk.reserve(), desk.reserve() as place:
                with pytest.raises(Refusal) as refused:
                    desk.submit(scene, QUESTION)
                assert (refused.value.status, refused.value.code) == (503, "queue_full")
                assert refused.value.headers == {"Retry-After": "5"}
                place.submit(scene, QUESTION)
            # One waits, and one place was left.
            desk.submit(scene, QUESTION)
            with pytest.raises(Refusal):
                desk.reserve()

    run(test)


def test_what_fails_is_raised_where_it_is_listened_to(oracle: StreamingOracle) -> None:
    async def test() -> None:
        def read(_: object) -> object:
            raise SceneError("lake.tif: no image")

        async with desk_of(oracle) as desk:
            with pytest.raises(SceneError, match="lake"):
                await desk.submit(read, QUESTION).answer()  # type: ignore[arg-type]
            assert (await desk.submit(scene, QUESTION).answer()).text == "10%"

    run(test)


def test_draining_lets_questions_end_and_takes_no_more(oracle: StreamingOracle) -> None:
    async def test() -> None:
        oracle.gate.clear()
        async with desk_of(oracle) as desk:
            jobs = [desk.submit(scene, QUESTION) for _ in range(2)]
            await began(oracle)
            draining = asyncio.create_task(desk.drain(30))
            await asyncio.sleep(0)
            with pytest.raises(Refusal) as refused:
                desk.submit(scene, QUESTION)
            assert refused.value.code == "stopping" and "Retry-After" in refused.value.headers
            oracle.gate.set()
            answers = await asyncio.gather(*(job.answer() for job in jobs))
            assert [answer.text for answer in answers] == ["10%", "10%"]
            await draining

    run(test)


def test_draining_cancels_what_takes_too_long(oracle: StreamingOracle) -> None:
    async def test() -> None:
        oracle.gate.clear()
        async with desk_of(oracle) as desk:
            job = desk.submit(scene, QUESTION)
            await began(oracle)
            await desk.drain(0.05)
            with pytest.raises(Refusal, match="stopping"):
                await job.answer()
            assert oracle.num_running == 0

    run(test)
