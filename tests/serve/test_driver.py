"""The two ways in which the desk drives reasonings, on a predictor that serves all in one step, as an engine does."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from oracle import Oracle, ground, make_scene
from terrascope.answer import Answer
from terrascope.events import Drew, Event, Looked, Wrote
from terrascope.scene import Scene
from terrascope.serve import driver
from terrascope.serve.desk import Desk
from terrascope.serve.metrics import Metrics
from terrascope.serve.service import Service
from terrascope.serve.settings import ServeSettings


class Batching:
    """Gives every reasoning under way its next token in one step, done by whoever asks first: as an engine does.

    Attributes:
        rows: reasonings that each step served.
    """

    name = "batching"

    def __init__(self, num_awaited: int = 0) -> None:
        """No step is done before so many have been asked for."""
        self.num_awaited, self.all_here = num_awaited, threading.Event()
        self.lock = threading.Lock()
        self.running: list[tuple[deque[list[Event | Answer]], deque[Event | Answer]]] = []
        self.rows: list[int] = []

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        with self.lock:
            self.num_awaited -= 1
            if self.num_awaited <= 0:
                self.all_here.set()
        return self.told(scene, question)

    def told(self, scene: Scene, question: str) -> Iterator[Event | Answer]:
        answer = Oracle().ask(scene, question)
        groundings = iter(answer.masks)
        words = answer.reasoning.split(" ")
        steps: deque[list[Event | Answer]] = deque()
        for number, word in enumerate(words, 1):
            drawn = [Drew(ground(next(groundings)))] if number > 1 and "[SEG]" in words[number - 2] else []
            steps.append([*drawn, Wrote(" ".join(words[:number]))])
            assert word
        steps[-1].append(answer)
        untold: deque[Event | Answer] = deque()
        row = (steps, untold)
        with self.lock:
            self.running.append(row)
        while steps or untold:
            while untold:
                yield untold.popleft()
            self.step()

    def step(self) -> None:
        assert self.all_here.wait(30)
        with self.lock:
            served = [(steps, untold) for steps, untold in self.running if steps]
            if served:
                self.rows.append(len(served))
            for steps, untold in served:
                untold.extend(steps.popleft())
            self.running = [row for row in self.running if row[0]]


@pytest.mark.parametrize("in_turns", [True, False])
def test_both_ways_answer_all(in_turns: bool) -> None:
    async def test() -> list[str]:
        desk = Desk(Batching(), Metrics(), max_running=4, max_queue=20, timeout_s=60, in_turns=in_turns)
        jobs = [desk.submit(lambda _: make_scene(), "How much is water?") for _ in range(12)]
        return [answer.text for answer in await asyncio.gather(*(job.answer() for job in jobs))]

    assert asyncio.run(asyncio.wait_for(test(), 60)) == ["10%"] * 12


def test_in_turns_a_step_serves_all_that_are_under_way() -> None:
    async def test() -> Batching:
        predictor = Batching(num_awaited=4)
        desk = Desk(predictor, Metrics(), max_running=4, max_queue=20, timeout_s=60)
        jobs = [desk.submit(lambda _: make_scene(), "How much is water?") for _ in range(4)]
        await asyncio.gather(*(job.answer() for job in jobs))
        return predictor

    predictor = asyncio.run(asyncio.wait_for(test(), 60))
    num_tokens = 23
    assert sum(predictor.rows) == 4 * num_tokens
    # One after the other they would take four times as many steps as one alone.
    assert max(predictor.rows) > 1 and len(predictor.rows) <= 2 * num_tokens


class Slow:
    """Tells of a row of a large scene at each step, which takes ten seconds; a small scene's tokens take none.

    Attributes:
        told: the names of the questions in the order in which they were asked for an event.
    """

    name = "slow"

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.told = clock, list[str]()
        self.both_here = threading.Barrier(2)

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        self.both_here.wait(30)
        return self.events(scene, question)

    def events(self, scene: Scene, question: str) -> Iterator[Event | Answer]:
        for number in range(1, 4 if "large" in question else 31):
            self.told.append(question[:5])
            if "large" in question:
                self.clock[0] += 10
                yield Looked(number, 3)
            else:
                self.clock[0] += 0.1
                yield Wrote("word " * number)
        yield Oracle().ask(scene, question)


def test_a_large_scene_lets_the_others_have_as_much_time_as_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(driver.time, "monotonic", lambda: clock[0])
    predictor = Slow(clock)

    async def test() -> list[str]:
        desk = Desk(predictor, Metrics(), max_running=2, max_queue=2, timeout_s=600)
        asked = ("large: how much is water?", "small: how much is water?")
        jobs = [desk.submit(lambda _: make_scene(), question) for question in asked]
        return [answer.text for answer in await asyncio.gather(*(job.answer() for job in jobs))]

    assert asyncio.run(asyncio.wait_for(test(), 60)) == ["10%"] * 2
    first = predictor.told.index("large")
    # All of the small one's thirty words come before the second row: they take less than ten seconds.
    assert predictor.told.count("small") == 30
    assert [name for name in predictor.told[first:] if name == "large"] == ["large"] * 3
    assert predictor.told[-2:] == ["large", "large"]


class Elsewhere:
    """Waits for its events in another process, and there for two questions to be asked: a barrier stands for it."""

    name = "elsewhere"

    def __init__(self) -> None:
        self.both_here = threading.Barrier(2)

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        for number in range(1, 4):
            self.both_here.wait(30)
            yield Wrote("word " * number)
        yield Oracle().ask(scene, question)


def test_questions_to_other_processes_do_not_wait_for_each_other() -> None:
    async def test() -> list[str]:
        service = Service(Elsewhere(), ServeSettings(in_turns=False))
        try:
            jobs = [service.desk.submit(lambda _: make_scene(), "How much is water?") for _ in range(2)]
            return [answer.text for answer in await asyncio.gather(*(job.answer() for job in jobs))]
        finally:
            service.close()

    assert asyncio.run(asyncio.wait_for(test(), 60)) == ["10%"] * 2


@pytest.mark.parametrize("in_turns", [True, False])
def test_a_defect_in_one_question_does_not_end_the_others(in_turns: bool) -> None:
    class Breaking(Batching):
        def told(self, scene: Scene, question: str) -> Iterator[Event | Answer]:
            return Broken() if "broken" in question else super().told(scene, question)

    class Broken:
        def __iter__(self) -> Broken:
            return self

        def __next__(self) -> Event | Answer:
            raise ValueError("a defect")

        def close(self) -> None:
            raise ValueError("another defect")

    async def test() -> tuple[str, str]:
        desk = Desk(Breaking(), Metrics(), max_running=4, max_queue=4, timeout_s=60, in_turns=in_turns)
        broken = desk.submit(lambda _: make_scene(), "Is this broken?")
        with pytest.raises(ValueError, match="defect"):
            await broken.answer()
        answer = await desk.submit(lambda _: make_scene(), "How much is water?").answer()
        return answer.text, "ended"

    assert asyncio.run(asyncio.wait_for(test(), 60)) == ("10%", "ended")
