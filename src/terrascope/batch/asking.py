"""The asking of many scenes in this process: the next ones are read while the predictor works."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from time import perf_counter

import numpy as np

from terrascope.answer import Answer
from terrascope.batch.plan import AskedQuestion, AskedScene
from terrascope.batch.reading_ahead import read_ahead
from terrascope.batch.result import Result, answered, not_answered
from terrascope.bench.item_predictor import ask_many
from terrascope.errors import EndpointError, TerraScopeError
from terrascope.llm import NoReply
from terrascope.predictor import Ask, Predictor
from terrascope.scene import Scene

SCENES_AHEAD = 2
"""Scenes that are read while others are asked about."""

MEMORY_BYTES = 2_000_000_000
"""What the pixels of scenes may take that are asked about at once; a single scene may take more."""


def ask_scenes(
    predictor: Predictor, scenes: Iterable[AskedScene], *, memory_bytes: int = MEMORY_BYTES
) -> Iterator[Result]:
    """Ask every question of every scene.

    As many questions are under way as the predictor takes at once, of several scenes where these fit into memory.

    Args:
        memory_bytes: what the pixels of the scenes may take that are asked about at once.

    Yields:
        the results, in order.

    Raises:
        EndpointError: what every further question would meet.
    """
    with read_ahead(scenes, SCENES_AHEAD) as opened:
        turn = _Turn(opened, memory_bytes)
        while not turn.is_over:
            outcomes = ask_many(predictor, turn.asks())
            waited_before, started = turn.waited_s, perf_counter()
            for outcome in outcomes:
                # Of questions that are answered together, each counts the time since the last answer.
                seconds = perf_counter() - started - (turn.waited_s - waited_before)
                scene, question = turn.next_answered()
                if isinstance(outcome, Answer):
                    yield answered(scene, question, outcome, seconds)
                elif isinstance(outcome, EndpointError) and not isinstance(outcome, NoReply):
                    raise outcome
                else:
                    yield not_answered(scene, question, outcome)
                waited_before, started = turn.waited_s, perf_counter()


@dataclass
class _UnderWay:
    scene: AskedScene
    questions: list[AskedQuestion]
    num_bytes: int


class _Turn:
    """Which questions are under way, and how much memory their scenes take."""

    def __init__(self, opened: Iterator[tuple[AskedScene, Scene | TerraScopeError]], memory_bytes: int) -> None:
        self._opened, self._memory_bytes = opened, memory_bytes
        self._under_way: list[_UnderWay] = []
        self._next: tuple[AskedScene, Scene | TerraScopeError] | None = None
        self.waited_s = 0.0
        self._take()

    @property
    def is_over(self) -> bool:
        return self._next is None

    def asks(self) -> Iterator[Ask | TerraScopeError]:
        """Questions for as long as their scenes fit into memory beside those that are still under way."""
        while self._next is not None:
            scene, opened = self._next
            num_bytes = _num_bytes(opened)
            held = sum(one.num_bytes for one in self._under_way)
            if held and held + num_bytes > self._memory_bytes:
                return
            self._next = None
            self._under_way.append(_UnderWay(scene=scene, questions=list(scene.questions), num_bytes=num_bytes))
            for question in scene.questions:
                if isinstance(opened, TerraScopeError):
                    yield opened
                else:
                    yield Ask(scene=opened, question=question.question, options=question.options)
            del opened
            self._take()

    def next_answered(self) -> tuple[AskedScene, AskedQuestion]:
        """Whose outcome came now."""
        first = self._under_way[0]
        question = first.questions.pop(0)
        if not first.questions:
            self._under_way.pop(0)
        return first.scene, question

    def _take(self) -> None:
        started = perf_counter()
        self._next = next(self._opened, None)
        self.waited_s += perf_counter() - started


def _num_bytes(opened: Scene | TerraScopeError) -> int:
    if isinstance(opened, TerraScopeError):
        return 0
    arrays = chain.from_iterable((image.pixels, image.valid) for image in opened.observations)
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
