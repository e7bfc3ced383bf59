"""`POST /v1/chat/completions` and `GET /v1/models`: the same questions, by the protocol of OpenAI's clients.

The content of the reply is the answer, `reasoning_content` the reasoning, and `terrascope` the answer with its masks as
JSON (docs/answer-json.md). In a stream, chunks bring the reasoning as it is written and the masks as they are drawn.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from terrascope.errors import TerraScopeError
from terrascope.serve.body import body_of
from terrascope.serve.chat_reading import Asked, read_chat, unknown_model
from terrascope.serve.chat_schemas import ChatReply, Model, Models, chat_body, chat_failures
from terrascope.serve.chat_telling import CHUNKS, ChatRefusal, Completion, chunks_of
from terrascope.serve.desk import Place
from terrascope.serve.gate import internal_failure, reply_of
from terrascope.serve.given_scene import scene_of
from terrascope.serve.job import Job
from terrascope.serve.narration import Event, Wishes
from terrascope.serve.refusals import Refusal, refusal_of
from terrascope.serve.service import Service, cancelled_on_disconnect, service_of
from terrascope.serve.settings import MAX_QUESTION, MB
from terrascope.serve.streaming import EventReply
from terrascope.serve.uploads import Form

_MAX_IMAGES_MB = 64
"""Of one request: JSON is read as a whole. Larger images are sent as files to /v1/ask."""

_MAX_TEXT_BYTES = 16 * MAX_QUESTION

_ANSWERS_SINCE = int(time.time())
_reading = threading.Lock()
"""One large body is in memory at a time, however many arrive."""


class ChatRoute(APIRoute):
    """A route whose failures have the form that OpenAI's clients read."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return reply_of(_refused(service_of(request), error))

        return guarded


router = APIRouter(route_class=ChatRoute)


@router.get("/v1/models", responses=chat_failures(401))
async def models(request: Request) -> Models:
    """The model of this server."""
    return Models(data=[_model_of(service_of(request))])


@router.get("/v1/models/{name:path}", responses=chat_failures(401, 404))
async def model(request: Request, name: str) -> Model:
    """The model, by its name."""
    service = service_of(request)
    if name != service.model:
        raise unknown_model(name, service.model)
    return _model_of(service)


@router.post(
    "/v1/chat/completions",
    response_model=None,
    responses={
        200: {
            "model": ChatReply,
            "description": "The answer; streamed, chunks of it.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **chat_failures(400, 401, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra=chat_body(),
)
async def complete(request: Request) -> Response:
    """Ask a question about the images of a message."""
    service = service_of(request)
    # Before anything of the body is read.
    with service.desk.reserve() as place:
        form = Form(folder=Path(tempfile.mkdtemp(dir=service.uploads)))
        try:
            asked = await _read(request, form, service)
            job, events = await _submit(asked, place, service)
        except BaseException:
            form.close()
            raise
    completion = Completion(id=f"chatcmpl-{job.id}", model=service.model, max_written=asked.request.max_written)
    if asked.request.stream:
        return EventReply(
            job,
            chunks_of(completion, events, include_usage=asked.request.stream_options.include_usage),
            done=form.close,
            failed=partial(_refused, service),
            encoding=CHUNKS,
        )
    try:
        async with cancelled_on_disconnect(request, job), aclosing(events):
            async for name, data in events:
                completion.hear(name, data)
                if completion.finish_reason is not None:
                    break
    finally:
        form.close()
    return Response(json.dumps(completion.reply(), allow_nan=False), media_type="application/json")


async def _read(request: Request, form: Form, service: Service) -> Asked:
    """The body of a request, to the disk while it arrives, then read."""
    settings = service.settings
    max_bytes = min(settings.max_upload_bytes, _MAX_IMAGES_MB * MB) * 4 // 3 + _MAX_TEXT_BYTES

    def read(body: BinaryIO, num_bytes: int) -> Asked:
        body.seek(0)
        with _reading if num_bytes > MB else nullcontext():
            return read_chat(body, form, model=service.model, max_files=settings.max_files)

    try:
        with tempfile.SpooledTemporaryFile(MB, dir=str(form.folder)) as file:
            body = cast(BinaryIO, file)
            num_bytes = 0
            async for chunk in body_of(request, max_bytes, settings):
                num_bytes += len(chunk)
                await asyncio.to_thread(body.write, chunk)
            service.metrics.uploaded_bytes.inc(num_bytes)
            return await asyncio.to_thread(read, body, num_bytes)
    except OSError as error:
        raise Refusal(503, "storage", f"the server cannot store the images ({error.strerror})") from None


async def _submit(asked: Asked, place: Place, service: Service) -> tuple[Job, AsyncGenerator[Event, None]]:
    """Hand the question in, and follow it."""
    fields = asked.fields
    read_scene, told = await asyncio.to_thread(scene_of, fields, asked.form, service.settings, service.remembered)
    job = place.submit(read_scene, fields.question, fields.option)
    wishes = Wishes(geojson=fields.geojson, pictures=fields.pictures, keep=asked.request.store is not False)
    return job, service.narrate(job, wishes, told)


def _model_of(service: Service) -> Model:
    return Model(id=service.model, created=_ANSWERS_SINCE)


def _refused(service: Service, error: BaseException) -> ChatRefusal:
    if isinstance(error, TerraScopeError):
        error = refusal_of(error)
    refusal = ChatRefusal.of(error if isinstance(error, Refusal) else internal_failure(error))
    service.metrics.refused.labels(refusal.code).inc()
    return refusal
