"""What all routes of one server share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.requests import Request

from terrascope.answer import Answer
from terrascope.errors import TerraScopeError
from terrascope.events import Looked, Wrote
from terrascope.output import drop_folder, hold_folder
from terrascope.predictor import StreamingPredictor
from terrascope.serve.desk import Desk
from terrascope.serve.job import Job, Queued
from terrascope.serve.kept import KeptAnswers
from terrascope.serve.metrics import Metrics
from terrascope.serve.narration import Event, Narration, Wishes
from terrascope.serve.refusals import Refusal, refusal_of
from terrascope.serve.remembered import RememberedScenes
from terrascope.serve.settings import ServeSettings

log = logging.getLogger("terrascope.serve")

_FOLDER = ".terrascope-serve-"


class Service:
    """The desk, the remembered scenes, the kept answers, the counters and the folder of one server.

    Attributes:
        model: name of the predictor.
        uploads: private folder for what arrives. It goes when the service does, also with the process.
    """

    def __init__(self, predictor: StreamingPredictor, settings: ServeSettings) -> None:
        self.settings, self.model = settings, predictor.name
        self.metrics = Metrics()
        self.desk = Desk(
            predictor,
            self.metrics,
            max_running=settings.max_running,
            max_queue=settings.max_queue,
            timeout_s=settings.ask_timeout_s,
            in_turns=settings.in_turns,
        )
        self.remembered = RememberedScenes(
            self.metrics, max_scenes=settings.remember_scenes, max_mb=settings.remember_mb
        )
        folder, lock = hold_folder(Path(tempfile.gettempdir()), _FOLDER)
        self.close = weakref.finalize(self, _close, self.remembered, folder, lock)
        self.uploads, kept = folder / "uploads", folder / "answers"
        self.uploads.mkdir()
        kept.mkdir()
        self.kept = KeptAnswers(kept, self.metrics, max_answers=settings.keep_answers, max_mb=settings.keep_mb)

    async def narrate(
        self, job: Job, wishes: Wishes, told: Callable[[TerraScopeError], Refusal] = refusal_of
    ) -> AsyncGenerator[Event, None]:
        """The events of a question as JSON values, the reply at last, which is kept.

        Args:
            told: makes a sentence for the sender of an error.

        Raises:
            Refusal: it cannot be answered.
        """
        narration = self._narration(job, wishes)
        try:
            async with aclosing(job.events()) as events:
                async for event in events:
                    if isinstance(event, Wrote | Looked | Queued):
                        # Nothing is computed for these, and they are many.
                        yield narration.tell(event)
                    elif isinstance(event, Answer):
                        yield "answer", await asyncio.to_thread(self._keep, narration, event)
                    else:
                        yield await asyncio.to_thread(narration.tell, event)
        except TerraScopeError as error:
            raise told(error) from None

    async def reply(
        self, job: Job, wishes: Wishes, told: Callable[[TerraScopeError], Refusal] = refusal_of
    ) -> dict[str, Any]:
        """The last event of `narrate` alone.

        Raises:
            Refusal: it cannot be answered.
        """
        try:
            answer = await job.answer()
        except TerraScopeError as error:
            raise told(error) from None
        return await asyncio.to_thread(self._keep, self._narration(job, wishes), answer)

    def _narration(self, job: Job, wishes: Wishes) -> Narration:
        return Narration(
            id=job.id,
            wishes=wishes,
            folder=self.uploads,
            question=job.question,
            is_kept=wishes.keep and self.settings.keep_answers > 0,
        )

    def _keep(self, narration: Narration, answer: Answer) -> dict[str, Any]:
        data = narration.reply(answer)
        if narration.is_kept:
            try:
                self.kept.add(narration.id, answer, data)
            except OSError as error:
                # The answer itself is not lost with it.
                log.warning("the answer %s is not kept: %s", narration.id, error)
                data |= {"files": {}, "notes": [*data["notes"], "The server could not keep the files of this answer."]}
        return data


def _close(remembered: RememberedScenes, folder: Path, lock: int | None) -> None:
    remembered.clear()
    drop_folder(folder, lock)


@asynccontextmanager
async def cancelled_on_disconnect(request: Request, job: Job) -> AsyncGenerator[None, None]:
    """Cancel a question as soon as its client has gone. The body of the request has been read."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel(Refusal(499, "client_gone", "the client went away"))

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


def service_of(request: Request) -> Service:
    """The service of the server that a request came to."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
