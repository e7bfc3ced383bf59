"""The desk: questions wait in line, and so many at once are answered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from terrascope.predictor import StreamingPredictor
from terrascope.serve.bell import Bell
from terrascope.serve.driver import Driver, drive_alone
from terrascope.serve.job import Job, Queued, ReadScene
from terrascope.serve.metrics import Metrics
from terrascope.serve.refusals import Refusal, busy


class Place:
    """A place at the desk that is held for a question whose scene is still on its way. Leave it, or ask from it.

    Args:
        take: what the desk does with a question. left: called when the place is held no longer.
    """

    def __init__(self, take: Callable[[ReadScene, str, Sequence[str]], Job], left: Callable[[], None]) -> None:
        self._take, self._left = take, left
        self._is_held = True

    def submit(self, read_scene: ReadScene, question: str, options: Sequence[str] = ()) -> Job:
        """Hand the question in: as `Desk.submit`."""
        self.leave()
        return self._take(read_scene, question, options)

    def leave(self) -> None:
        """Give the place back, if it is still held."""
        if self._is_held:
            self._is_held = False
            self._left()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


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
        in_turns: drive all reasonings by one thread; False for a predictor that waits for events of other processes,
            which would keep the other questions waiting: each gets a thread.
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
        self.is_draining = False
        self._drive: Callable[[Job], None] = Driver().drive if in_turns else drive_alone
        self._bell = Bell()
        self._num_held = 0
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._is_empty = asyncio.Event()

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
        return Place(self._take, self._let_go)

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

    def _let_go(self) -> None:
        self._num_held -= 1

    def _take(self, read_scene: ReadScene, question: str, options: Sequence[str]) -> Job:
        job = Job(
            read_scene,
            question,
            options,
            predictor=self.predictor,
            metrics=self.metrics,
            bell=self._bell,
            dropped=self._drop,
            ended=self._leave,
        )
        self._waiting.append(job)
        self._fill()
        if job in self._waiting:
            job.tell(Queued(len(self._waiting)))
        return job

    def _fill(self) -> None:
        num_begun = 0
        while self._waiting and len(self._running) < self.max_running:
            job = self._waiting.popleft()
            self._running.add(job)
            num_begun += 1
            self.metrics.queue_seconds.observe(time.monotonic() - job.submitted_at)
            job.begin(self._drive, self.timeout_s)
        if num_begun:
            self._tell_positions()
        self._count()

    def _drop(self, job: Job, refusal: Refusal) -> None:
        """A question is not wanted any more: one that runs ends by itself, one that waits leaves the line."""
        if job in self._waiting:
            self._waiting.remove(job)
            job.end(refusal, "cancelled")
            self._tell_positions()
            self._count()

    def _leave(self, job: Job) -> None:
        self._running.discard(job)
        self._fill()
        if not self._waiting and not self._running:
            self._is_empty.set()

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._waiting, 1):
            job.tell(Queued(position))

    def _count(self) -> None:
        self.metrics.queued.set(len(self._waiting))
        self.metrics.running.set(len(self._running))
