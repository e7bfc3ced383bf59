"""One question: its scene is read, its reasoning goes on step by step, and its listener hears of both."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from terrascope.answer import Answer
from terrascope.events import Drew, Event, Looked, Wrote
from terrascope.predictor import StreamingPredictor
from terrascope.rasters.store import Progress
from terrascope.scene import Scene
from terrascope.serve.bell import Bell, call_in
from terrascope.serve.metrics import Metrics
from terrascope.serve.refusals import Refusal

ReadScene = Callable[[Progress], Scene]
"""Reads the scene of a question, in a thread of its own; it calls its argument (image, rows done, rows in all) on the
way, which raises where the question is not wanted any more. `lambda _: scene` where there is nothing to read."""


@dataclass(frozen=True)
class Queued:
    """The question waits; `position` is 1 for the next."""

    position: int


@dataclass(frozen=True, eq=False)
class Opened:
    """The scene was read; the reasoning begins."""

    scene: Scene


JobEvent = Queued | Opened | Event | Answer

Outcome = Literal["answered", "cancelled", "failed"]
"""How a question ended, as the counters name it."""


class _Unwanted(Exception):
    """Ends the work on a question that was cancelled or took too long."""


class Job:
    """One question. It is made, listened to, begun and cancelled in one event loop; its work is done in threads.

    Args:
        dropped: called in the loop when it is cancelled, with what its listener shall be told.
        ended: called in the loop once nothing more comes of it.

    Attributes:
        id: a random name, under which the answer is kept.
        submitted_at: by `time.monotonic`.
    """

    def __init__(
        self,
        read_scene: ReadScene,
        question: str,
        options: Sequence[str],
        *,
        predictor: StreamingPredictor,
        metrics: Metrics,
        bell: Bell,
        dropped: Callable[[Job, Refusal], None],
        ended: Callable[[Job], None],
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.question, self.options = question, tuple(options)
        self.submitted_at = time.monotonic()
        self._read_scene, self._predictor, self._metrics = read_scene, predictor, metrics
        self._bell, self._dropped, self._ended = bell, dropped, ended
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._lock = threading.Lock()
        # What nobody has heard yet. Of texts and places in the queue only the last is kept, so that a slow listener
        # costs no memory.
        self._unheard: deque[JobEvent] = deque()
        self._is_roused = self._has_ended = self._is_quiet = False
        self._error: BaseException | None = None
        self._unwanted: Refusal | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._told: Iterator[Event | Answer] = iter(())
        self._began_at, self._has_text, self._was_drawing = self.submitted_at, False, False

    async def events(self) -> AsyncGenerator[JobEvent, None]:
        """What happens, in order, the `Answer` at last. `Wrote` tells all of the text, and not every one is told to a
        slow listener. To be listened to once; whoever stops listening cancels the question.

        Raises:
            TerraScopeError: the scene cannot be read, or the question not be answered.
            Refusal: it was cancelled, or took too long.
        """
        try:
            while True:
                await self._wake.wait()
                with self._lock:
                    unheard, self._unheard = self._unheard, deque()
                    self._wake.clear()
                    self._is_roused = False
                    has_ended = self._has_ended
                for event in unheard:
                    yield event
                if has_ended:
                    if self._error is not None:
                        raise self._error
                    return
        finally:
            self.cancel()

    async def answer(self) -> Answer:
        """Wait for the answer alone; nothing else is told then.

        Raises:
            TerraScopeError, Refusal: as `events`.
        """
        self._is_quiet = True
        async with aclosing(self.events()) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise RuntimeError("a reasoning ended without an answer")

    def cancel(self, refusal: Refusal | None = None) -> None:
        """End it before its next step; one that has ended keeps its answer.

        Args:
            refusal: what its listener is told.
        """
        if not self._has_ended and self._unwanted is None:
            self._unwanted = refusal or Refusal(503, "cancelled", "the question was cancelled")
            self._dropped(self, self._unwanted)

    def begin(self, drive: Callable[[Job], None], timeout_s: float) -> None:
        """Read the scene in a thread of its own, and have the reasoning driven from there.

        Args:
            drive: sees to it that `advance` is called until it returns False.
            timeout_s: how long all of it may take.
        """
        refusal = Refusal(503, "timeout", f"the answer took longer than {timeout_s:g} seconds; ask a smaller scene")
        self._deadline = self._loop.call_later(timeout_s, self.cancel, refusal)
        threading.Thread(target=self._work, args=(drive,), name=f"terrascope-{self.id[:6]}", daemon=True).start()

    def advance(self) -> bool:
        """Let the reasoning go on by a step; False where it has ended. To be called by one thread at a time."""
        while self._hear():
            # A mask and the token after it come from one step.
            if not self._was_drawing:
                return True
        return False

    def tell(self, event: JobEvent) -> None:
        """Hand an event to the listener."""
        if self._is_quiet and not isinstance(event, Answer):
            return
        with self._lock:
            if self._unheard and isinstance(event, Wrote | Queued | Looked) and type(self._unheard[-1]) is type(event):
                self._unheard[-1] = event
            else:
                self._unheard.append(event)
            self._rouse()

    def end(self, error: BaseException | None, outcome: Outcome) -> None:
        """Tell the listener that nothing more comes, and why if there was no answer."""
        self._metrics.questions.labels(outcome).inc()
        with self._lock:
            self._has_ended, self._error = True, error
            self._rouse()
        call_in(self._loop, self._leave)

    def _work(self, drive: Callable[[Job], None]) -> None:
        if self._open():
            drive(self)

    def _open(self) -> bool:
        """Read the scene; False where the question has ended with that."""
        self._began_at = time.monotonic()
        try:
            scene = self._read_scene(self._check_wanted)
            self._check_wanted()
            self.tell(Opened(scene))
            self._told = iter(self._predictor.stream(scene, self.question, options=self.options))
        except BaseException as error:
            self._fail(error)
            return False
        return True

    def _hear(self) -> bool:
        """Let the reasoning go on by an event; False where it has ended."""
        try:
            self._check_wanted()
            event = next(self._told)
            self._was_drawing = isinstance(event, Drew)
            if self._was_drawing:
                self._metrics.masks.inc()
            elif isinstance(event, Wrote):
                self._metrics.tokens.inc()
                if not self._has_text:
                    self._has_text = True
                    self._metrics.first_text_seconds.observe(time.monotonic() - self._began_at)
            self.tell(event)
            if isinstance(event, Answer):
                self._metrics.answer_seconds.observe(time.monotonic() - self._began_at)
                self._close()
                self.end(None, "answered")
                return False
        except BaseException as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: BaseException) -> None:
        self._close()
        if isinstance(error, _Unwanted):
            self.end(self._unwanted, "cancelled")
        else:
            self.end(error, "failed")

    def _close(self) -> None:
        """Cancel what is left of the reasoning."""
        close = getattr(self._told, "close", None)
        if close is not None:
            close()

    def _check_wanted(self, *_: object) -> None:
        if self._unwanted is not None:
            raise _Unwanted

    def _rouse(self) -> None:
        """Wake the listener, once for all that it has not heard."""
        if not self._is_roused:
            self._is_roused = True
            self._bell.rouse(self._wake, self._loop)

    def _leave(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._ended(self)
