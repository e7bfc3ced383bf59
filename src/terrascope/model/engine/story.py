"""What a reasoning tells of itself while the engine runs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from terrascope.model.engine.engine import Engine
from terrascope.model.engine.requests import Program
from terrascope.model.engine.ticket import Ticket

E = TypeVar("E")
T = TypeVar("T")


class Story(Generic[E]):
    """The events of one reasoning, each told once, also where the engine had to begin it again."""

    def __init__(self) -> None:
        self._untold: deque[E] = deque()
        self._num_told = self._num_heard = 0

    def told_by(self, begin: Callable[[Callable[[E], None]], Program[T]]) -> Callable[[], Program[T]]:
        """What `Engine.submit` takes, of a function that makes a reasoning that tells its events to its argument."""

        def start() -> Program[T]:
            # A reasoning is the same every time, so what it tells again was told before.
            self._num_heard = 0
            return begin(self._hear)

        return start

    def follow(self, engine: Engine, ticket: Ticket[Any]) -> Iterator[E]:
        """The events as they happen, until the reasoning has ended. It is cancelled where nobody listens any more."""
        try:
            while not ticket.is_done or self._untold:
                while self._untold:
                    yield self._untold.popleft()
                if not ticket.is_done:
                    engine.step()
        finally:
            if not ticket.is_done:
                engine.cancel(ticket)

    def mention(self, event: E) -> None:
        """Tell of what is no part of the reasoning, such as how far its work has come, whenever it is heard."""
        self._untold.append(event)

    def _hear(self, event: E) -> None:
        self._num_heard += 1
        if self._num_heard > self._num_told:
            self._num_told += 1
            self._untold.append(event)
