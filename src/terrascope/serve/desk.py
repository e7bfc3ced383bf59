"""The desk: questions wait in line, are answered in turns, and tell of themselves as they are."""

from __future__ import annotations

import asyncio
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from terrascope.predictor import Answer, Drew, Event, Looked, StreamingPredictor, Wrote
from terrascope.rasters.store import Progress
from terrascope.scene import Scene
from terrascope.serve.metrics import Metrics
from terrascope.serve.refusals import Refusal, busy

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


class _Unwanted(Exception):
    """Ends the work on a question that was cancelled or took too long."""


class Job:
    """One question at the desk.

    Attributes:
        id: a random name, under which the answer is kept.
    """

    def __init__(self, desk: Desk, read_scene: ReadScene, question: str, options: Sequence[str]) -> None:
        self.id = secrets.token_urlsafe(16)
        self.question, self.options = question, tuple(options)
        self.submitted_at = time.monotonic()
        self._desk, self._read_scene = desk, read_scene
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._lock = threading.Lock()
        # What nobody has heard yet. Of texts and places in the queue only the last is kept, so that a slow listener
        # costs no memory.
        self._unheard: deque[JobEvent] = deque()
        self._is_woken = self._has_ended = self._is_quiet = False
        self._error: BaseException | None = None
        self._unwanted: Refusal | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._rests_until = 0.0
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
                    self._is_woken = False
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
        """End it before its next step; one that has ended keeps its answer. To be called in the event loop.

        Args:
            refusal: what its listeners are told.
        """
        if not self._has_ended and self._unwanted is None:
            self._unwanted = refusal or Refusal(503, "cancelled", "the question was cancelled")
            self._desk._drop(self)

    # -----------------------------------------------------------------------------------------------------------------
    # In the thread of the question, and from there on in the driver's, where there is one.

    def _work(self) -> None:
        """Read the scene; the reasoning goes on in the driver's thread, where there is one, else in this one."""
        if not self._open():
            return
        if self._desk.driver is not None:
            self._desk.driver.put(self)
        else:
            while self._advance():
                pass

    def _open(self) -> bool:
        """Read the scene; False where the question has ended with that."""
        self._began_at = time.monotonic()
        try:
            scene = self._read_scene(self._check_wanted)
            self._check_wanted()
            self._tell(Opened(scene))
            self._told = iter(self._desk.predictor.stream(scene, self.question, options=self.options))
        except BaseException as error:
            self._fail(error)
            return False
        return True

    def _advance(self) -> bool:
        """Let the reasoning go on by an event; False where it has ended."""
        metrics = self._desk.metrics
        try:
            self._check_wanted()
            event = next(self._told)
            self._was_drawing = isinstance(event, Drew)
            if self._was_drawing:
                metrics.masks.inc()
            elif isinstance(event, Wrote):
                metrics.tokens.inc()
                if not self._has_text:
                    self._has_text = True
                    metrics.first_text_seconds.observe(time.monotonic() - self._began_at)
            self._tell(event)
            if isinstance(event, Answer):
                metrics.answer_seconds.observe(time.monotonic() - self._began_at)
                self._close()
                self._end(None, "answered")
                return False
        except BaseException as error:
            self._fail(error)
            return False
        return True

    def _advance_by_token(self) -> bool:
        """Let the reasoning go on by a step: a mask and the token after it come from one."""
        while self._advance():
            if not self._was_drawing:
                return True
        return False

    def _fail(self, error: BaseException) -> None:
        self._close()
        if isinstance(error, _Unwanted):
            self._end(self._unwanted, "cancelled")
        else:
            self._end(error, "failed")

    def _close(self) -> None:
        """Cancel what is left of the reasoning."""
        close = getattr(self._told, "close", None)
        if close is not None:
            close()

    def _check_wanted(self, *_: object) -> None:
        if self._unwanted is not None:
            raise _Unwanted

    def _tell(self, event: JobEvent) -> None:
        if self._is_quiet and not isinstance(event, Answer):
            return
        with self._lock:
            if self._unheard and isinstance(event, Wrote | Queued | Looked) and type(self._unheard[-1]) is type(event):
                self._unheard[-1] = event
            else:
                self._unheard.append(event)
            self._rouse()

    def _end(self, error: BaseException | None, outcome: str) -> None:
        self._desk.metrics.questions.labels(outcome).inc()
        with self._lock:
            self._has_ended, self._error = True, error
            self._rouse()
        self._call(self._desk._leave, self)

    def _rouse(self) -> None:
        """Wake the listener, once for all that it has not heard."""
        if not self._is_woken:
            self._is_woken = True
            self._desk._roused.append(self)
            self._desk._wake_soon(self)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop was closed: nobody listens any more.
            if not self._loop.is_closed():
                raise


class Place:
    """A place at the desk that is held for a question whose scene is still on its way. Leave it, or ask from it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._is_held = True

    def submit(self, read_scene: ReadScene, question: str, options: Sequence[str] = ()) -> Job:
        """Hand the question in: as `Desk.submit`."""
        self.leave()
        return self._desk._take(Job(self._desk, read_scene, question, options))

    def leave(self) -> None:
        """Give the place back, if it is still held."""
        if self._is_held:
            self._is_held = False
            self._desk._num_held -= 1

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class _Driver:
    """One thread that lets all questions under way go on in turns, a token of each at a time.

    A predictor that answers many at once does a step for all when the first is asked for its token, and has those of
    the others ready. So no two threads wait for each other. One whose step took long, as over a row of a large scene,
    goes on when the others have had as much time: what they wrote meanwhile is told then.
    """

    LONG_S = 0.25

    def __init__(self) -> None:
        self._coming: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._drive, name="terrascope-driver", daemon=True).start()

    def put(self, job: Job) -> None:
        """Drive this one too."""
        self._coming.put(job)

    def _drive(self) -> None:
        jobs: list[Job] = []
        while True:
            while not jobs or not self._coming.empty():
                jobs.append(self._coming.get())
            now = time.monotonic()
            ready = [job for job in jobs if job._rests_until <= now] or [min(jobs, key=lambda job: job._rests_until)]
            jobs = [job for job in jobs if job not in ready or self._advance(job)]

    def _advance(self, job: Job) -> bool:
        began = time.monotonic()
        try:
            goes_on = job._advance_by_token()
        except BaseException as error:
            # Nothing may end the one thread that drives all.
            job._end(error, "failed")
            return False
        now = time.monotonic()
        job._rests_until = now + (now - began) if now - began > self.LONG_S else 0.0
        return goes_on


class Desk:
    """Takes questions, and answers so many at once; the others wait in the order in which they came.

    All methods belong to the event loop. Scenes are read in a thread each; the reasonings are driven by one thread in
    turns, so that a predictor that answers many at once does so.

    Example:
        >>> job = desk.submit(lambda _: scene, "How much of the image is water?", ())
        >>> async for event in job.events():  # Queued, Opened, Looked, Wrote, Drew, and the Answer at last
        ...     ...
        >>> answer = await desk.submit(lambda _: scene, "Where is the forest?").answer()

    Args:
        predictor: answers; threads may share it, and what it has begun goes on while others are asked.
        max_running: questions that are answered at once. max_queue: questions that wait.
        timeout_s: how long one may take from when its turn comes.
        in_turns: drive all reasonings by one thread; False for a predictor that waits for its events elsewhere (its
            attribute `waits_elsewhere` is True), whose questions get a thread each.
    """

    def __init__(
        self,
        predictor: StreamingPredictor,
        metrics: Metrics,
        *,
        max_running: int,
        max_queue: int,
        timeout_s: float,
        in_turns: bool = True,
    ) -> None:
        self.predictor, self.metrics = predictor, metrics
        self.max_running, self.max_queue, self.timeout_s = max_running, max_queue, timeout_s
        self.driver = _Driver() if in_turns else None
        self.is_draining = False
        self._num_held = 0
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._is_empty = asyncio.Event()
        self._roused: deque[Job] = deque()
        self._waking, self._is_waking = threading.Lock(), False

    def submit(self, read_scene: ReadScene, question: str, options: Sequence[str] = ()) -> Job:
        """Hand in a question.

        Args:
            read_scene: reads its scene once its turn has come.
            options: the texts to choose from; none for a free answer.

        Raises:
            Refusal: the queue is full, or the server is stopping (503 with Retry-After).
        """
        return self.reserve().submit(read_scene, question, options)

    def reserve(self) -> Place:
        """Hold a place, before a scene is uploaded for it.

        Raises:
            Refusal: as `submit`.
        """
        if self.is_draining:
            raise busy("the server is stopping and takes no more questions", "stopping", 30)
        num_inside = self._num_held + len(self._waiting) + len(self._running)
        if num_inside >= self.max_running + self.max_queue:
            raise busy(
                f"{len(self._running)} questions are being answered and all {self.max_queue} places of the queue are "
                "taken; ask again later",
                "queue_full",
                5,
            )
        self._num_held += 1
        return Place(self)

    async def drain(self, timeout_s: float) -> None:
        """Take no more questions, wait for those that are here, and cancel what is left after `timeout_s`."""
        self.is_draining = True
        try:
            await asyncio.wait_for(self._until_empty(), timeout_s)
        except TimeoutError:
            for job in (*self._waiting, *self._running):
                job.cancel(Refusal(503, "stopping", "the server is stopping"))
            # A thread that is deep in a step ends with the process.
            try:
                await asyncio.wait_for(self._until_empty(), 5)
            except TimeoutError:
                return

    async def _until_empty(self) -> None:
        while self._waiting or self._running:
            self._is_empty.clear()
            await self._is_empty.wait()

    def _wake_soon(self, job: Job) -> None:
        """Let the loop look at who was roused, once for all that are roused by the time that it does."""
        with self._waking:
            if self._is_waking:
                return
            self._is_waking = True
        job._call(self._wake_all)

    def _wake_all(self) -> None:
        with self._waking:
            self._is_waking = False
        while self._roused:
            self._roused.popleft()._wake.set()

    def _take(self, job: Job) -> Job:
        self._waiting.append(job)
        self._fill()
        if job in self._waiting:
            job._tell(Queued(len(self._waiting)))
        return job

    def _fill(self) -> None:
        num_begun = 0
        while self._waiting and len(self._running) < self.max_running:
            job = self._waiting.popleft()
            self._running.add(job)
            num_begun += 1
            self.metrics.queue_seconds.observe(time.monotonic() - job.submitted_at)
            job._deadline = job._loop.call_later(
                self.timeout_s,
                job.cancel,
                Refusal(503, "timeout", f"the answer took longer than {self.timeout_s:g} seconds; ask a smaller scene"),
            )
            threading.Thread(target=job._work, name=f"terrascope-{job.id[:6]}", daemon=True).start()
        if num_begun:
            self._tell_positions()
        self._count()

    def _drop(self, job: Job) -> None:
        """A question is not wanted any more: one that runs ends by itself, one that waits leaves the line."""
        if job in self._waiting:
            self._waiting.remove(job)
            job._end(job._unwanted, "cancelled")
            self._tell_positions()
            self._count()

    def _leave(self, job: Job) -> None:
        if job._deadline is not None:
            job._deadline.cancel()
        self._running.discard(job)
        self._fill()
        if not self._waiting and not self._running:
            self._is_empty.set()

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._waiting, 1):
            job._tell(Queued(position))

    def _count(self) -> None:
        self.metrics.queued.set(len(self._waiting))
        self.metrics.running.set(len(self._running))
