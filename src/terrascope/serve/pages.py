"""The page: files of the package, as they are."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

from terrascope.serve.refusals import Refusal

router = APIRouter()

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
}


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page."""
    return _reply(request, "index.html")


@router.get("/page/{name}", include_in_schema=False)
async def page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    return _reply(request, name)


def _reply(request: Request, name: str) -> Response:
    content = _content(name)
    if content is None:
        raise Refusal(404, "not_found", "there is no such page")
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    # To be asked for each time, so that a page and its script belong to one version; the tag makes that cheap.
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[name[name.rindex(".") :]])


def _content(name: str) -> bytes | None:
    file = _files().get(name)
    return None if file is None else file.read_bytes()


@cache
def _files() -> dict[str, resources.abc.Traversable]:
    folder = resources.files("terrascope.serve") / "page"
    if not folder.is_dir():
        return {}
    return {entry.name: entry for entry in folder.iterdir() if entry.is_file() and entry.name.endswith(tuple(_TYPES))}
