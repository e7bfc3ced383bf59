"""Server-sent events: one question told as it is answered, for as long as its client listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from terrascope.serve.job import Job
from terrascope.serve.narration import Event
from terrascope.serve.refusals import Refusal

_WAITING_EVERY_S = 5.0

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""A proxy must hand the events on as they come."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How events go over the wire.

    Attributes:
        encode: makes bytes of the name and the data of an event.
        end: what is sent after the last of them.
    """

    encode: Callable[[str, object], bytes]
    end: bytes = b""


def named(name: str, data: object) -> bytes:
    """An event with its name."""
    return f"event: {name}\n".encode() + unnamed(name, data)


def unnamed(_: str, data: object) -> bytes:
    """An event by its data alone."""
    return f"data: {json.dumps(data, allow_nan=False)}\n\n".encode()


EVENTS = Encoding(encode=named)


class EventReply(Response):
    """Sends the events of a question until its answer, an error, or the client's end.

    Args:
        events: of the question; a Refusal that they raise becomes the last event.
        done: called at the end, however it comes.
        failed: what the client is told of an error that the events raise.
        encoding: of the events, and of that error.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        job: Job,
        events: AsyncGenerator[Event, None],
        *,
        done: Callable[[], None],
        failed: Callable[[BaseException], Refusal],
        encoding: Encoding = EVENTS,
    ) -> None:
        self.status_code, self.background, self.body = 200, None, b""
        self.job, self.events, self.done, self.failed, self.encoding = job, events, done, failed, encoding
        self.init_headers(HEADERS)
        # The length is not known.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.job.cancel(Refusal(499, "client_gone", "the client went away"))

        watcher = asyncio.create_task(watch())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._tell(send)
        finally:
            watcher.cancel()
            self.job.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            self.done()

    async def _tell(self, send: Send) -> None:
        async def put(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        async with aclosing(self.events):
            coming: asyncio.Task[Event] | None = None
            try:
                while True:
                    coming = coming or asyncio.ensure_future(anext(self.events))
                    done, _ = await asyncio.wait({coming}, timeout=_WAITING_EVERY_S)
                    if not done:
                        await put(b": waiting\n\n")
                        continue
                    finished, coming = coming, None
                    try:
                        name, data = finished.result()
                    except StopAsyncIteration:
                        break
                    except asyncio.CancelledError:
                        raise
                    except Exception as error:
                        await put(self.encoding.encode("error", self.failed(error).to_dict()))
                        break
                    await put(self.encoding.encode(name, data))
            finally:
                if coming is not None:
                    coming.cancel()
                    with contextlib.suppress(BaseException):
                        await coming
        await put(self.encoding.end, more=False)
