"""A reasoning that was handed in to the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

from terrascope.errors import ModelError
from terrascope.model.engine.cache import Slot
from terrascope.model.engine.requests import Program, Request

T = TypeVar("T")


class Ticket(Generic[T]):
    """A reasoning that was handed in.

    Attributes:
        is_done: True once it has ended: with a result, with an error, or cancelled.
    """

    def __init__(self, begin: Callable[[], Program[T]]) -> None:
        self.begin = begin
        self.is_done = self.is_cancelled = False
        self.error: BaseException | None = None
        self._result: T | None = None
        self.program: Program[T] | None = None
        self.request: Request | None = None
        self.slot: Slot | None = None
        self.rests_until = 0.0

    def cancel(self) -> None:
        """End it before the next step (`Engine.cancel`: now); one that has ended keeps its result."""
        self.is_cancelled = not self.is_done

    def result(self) -> T:
        """What it came to.

        Raises:
            ModelError: it was cancelled, or is under way.
            TerraScopeError: it failed with that.
        """
        if self.error is not None:
            raise self.error
        if not self.is_done or self.is_cancelled:
            raise ModelError("the reasoning " + ("was cancelled" if self.is_cancelled else "is still under way"))
        return cast("T", self._result)

    def finish(self, result: T | None = None, error: BaseException | None = None) -> None:
        """Note how it ended."""
        self.is_done, self._result, self.error = True, result, error
