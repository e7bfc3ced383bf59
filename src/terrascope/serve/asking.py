"""`POST /v1/ask`: a question about a scene, answered at once or told as it is reasoned."""

from __future__ import annotations

import asyncio
import json

from fastapi import APIRouter, Request
from starlette.responses import Response

from terrascope.serve.form import FILE_FIELDS, read_fields
from terrascope.serve.gate import internal_failure
from terrascope.serve.given_scene import scene_of
from terrascope.serve.narration import Wishes
from terrascope.serve.refusals import Refusal
from terrascope.serve.schemas import AnswerReply, ask_body, failures
from terrascope.serve.service import cancelled_on_disconnect, service_of
from terrascope.serve.streaming import EventReply
from terrascope.serve.uploads import read_form

router = APIRouter()


@router.post(
    "/v1/ask",
    response_model=None,
    responses={
        200: {
            "model": AnswerReply,
            "description": "The answer; streamed, the events of docs/serve.md, of which the last is the answer.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **failures(400, 401, 408, 413, 415, 422, 503),
    },
    openapi_extra=ask_body(),
)
async def ask(request: Request) -> Response:
    """Ask a question about a scene."""
    service = service_of(request)
    # Before anything of the body is read.
    with service.desk.reserve() as place:
        form, num_bytes = await read_form(request, service.uploads, service.settings, file_fields=FILE_FIELDS)
        service.metrics.uploaded_bytes.inc(num_bytes)
        try:
            fields = read_fields(form.texts)
            read_scene, told = await asyncio.to_thread(scene_of, fields, form, service.settings, service.remembered)
            job = place.submit(read_scene, fields.question, fields.option)
        except BaseException:
            form.close()
            raise
    wishes = Wishes(geojson=fields.geojson, pictures=fields.pictures)
    if fields.stream or "text/event-stream" in request.headers.get("accept", ""):

        def failed(error: BaseException) -> Refusal:
            refusal = error if isinstance(error, Refusal) else internal_failure(error)
            service.metrics.refused.labels(refusal.code).inc()
            return refusal

        return EventReply(job, service.narrate(job, wishes, told), done=form.close, failed=failed)
    try:
        async with cancelled_on_disconnect(request, job):
            data = await service.reply(job, wishes, told)
            content = await asyncio.to_thread(json.dumps, data, allow_nan=False)
    finally:
        form.close()
    return Response(content, media_type="application/json")
