"""Answers that were given: their JSON, their files, and their end."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from terrascope.answer_files import FILES
from terrascope.serve.kept import ARCHIVE
from terrascope.serve.refusals import Refusal
from terrascope.serve.schemas import AnswerReply, failures
from terrascope.serve.service import service_of

router = APIRouter()

_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The report is a page of its own: its script is in it, and it may not act for this server's pages."""

_FAILURES = failures(400, 401, 404)
_ANY = {"schema": {"type": "string", "format": "binary"}}
_MEDIA_TYPES = {*(file.media_type for file in FILES.values()), "application/zip"}

_UNKNOWN = "there is no such answer, or it was forgotten; ask again"


@router.get("/v1/answers/{answer_id}", response_model=None, responses={200: {"model": AnswerReply}, **_FAILURES})
async def answer(request: Request, answer_id: str) -> Response:
    """An answer that was given before."""
    content = await asyncio.to_thread(service_of(request).kept.reply, answer_id)
    if content is None:
        raise Refusal(404, "not_found", _UNKNOWN)
    return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/answers/{answer_id}/{name}",
    response_class=FileResponse,
    responses={
        200: {"content": {kind: _ANY for kind in _MEDIA_TYPES}, "description": "The file."},
        **_FAILURES,
    },
)
async def file(request: Request, answer_id: str, name: str) -> Response:
    """A file of an answer, or all.zip."""
    path = await asyncio.to_thread(service_of(request).kept.file, answer_id, name)
    if path is None:
        raise Refusal(404, "not_found", f"{_UNKNOWN}; its reply lists its files")
    media_type = "application/zip" if name == ARCHIVE else FILES[name].media_type
    headers = {"Cache-Control": "no-store"}
    if name == "report.html":
        headers["Content-Security-Policy"] = _REPORT_POLICY
        return FileResponse(path, media_type=media_type, headers=headers)
    return FileResponse(path, media_type=media_type, filename=name, headers=headers)


@router.delete("/v1/answers/{answer_id}", status_code=204, response_model=None, responses=_FAILURES)
async def forget(request: Request, answer_id: str) -> Response:
    """Forget an answer and its files."""
    if not await asyncio.to_thread(service_of(request).kept.forget, answer_id):
        raise Refusal(404, "not_found", _UNKNOWN)
    return Response(status_code=204)
