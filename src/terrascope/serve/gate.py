"""What every request passes: who may ask, which headers replies bear, what is counted, and what failures look like."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from terrascope.serve.metrics import Metrics
from terrascope.serve.refusals import Refusal
from terrascope.serve.settings import ServeSettings

log = logging.getLogger("terrascope.serve")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of this server may load: what lies on this server."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_PIECE = 65_536

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_GUARDED = ("/v1/", "/metrics")


def reply_of(refusal: Refusal) -> JSONResponse:
    """The reply to a request that is not served."""
    return JSONResponse(refusal.to_dict(), status_code=refusal.status, headers=refusal.headers)


def internal_failure(error: BaseException) -> Refusal:
    """What a stranger is told of a defect; the log has the rest under the same number."""
    number = secrets.token_hex(6)
    log.error("failure %s", number, exc_info=error)
    return Refusal(500, "internal", f"something failed on the server; its log tells more under {number}")


class Gate:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._token = None if settings.token is None else settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def put(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            body = message.get("body", b"")
            if len(body) <= _PIECE:
                await self._send(send, message)
                return
            # In pieces, so that a large reply waits for its client here and not in the memory of the connection.
            for start in range(0, len(body), _PIECE):
                more = start + _PIECE < len(body) or message.get("more_body", False)
                await self._send(send, {**message, "body": body[start : start + _PIECE], "more_body": more})

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                self.metrics.refused.labels(refusal.code).inc()
                await reply_of(refusal)(scope, receive, put)
            else:
                await self.app(scope, receive, put)
        except ConnectionError:
            # Nobody is left to be told.
            return
        except Exception as error:
            failure = internal_failure(error)
            # A reply that has begun can only be cut off, as uvicorn does where it ends without its last message.
            if not status:
                await reply_of(failure)(scope, receive, put)
        finally:
            self._count(scope, status)

    async def _send(self, send: Send, message: Message) -> None:
        """Raises ConnectionAbortedError where the client takes nothing for too long."""
        try:
            async with asyncio.timeout(self.settings.upload_timeout_s):
                await send(message)
        except TimeoutError:
            raise ConnectionAbortedError("the client takes nothing of its reply") from None

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        wants_local_name = self.settings.is_local and self.settings.token is None and not self.settings.is_open
        if wants_local_name and _name_of(host) not in _LOCAL_NAMES:
            # A name that somebody else's server gave to this machine, so that its pages may ask here.
            return Refusal(403, "host", "this server answers to localhost alone")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and not _is_same(origin, host):
            return Refusal(403, "origin", "pages of other sites may not ask this server")
        if self._token is not None and f"{scope['path']}/".startswith(_GUARDED):
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                return Refusal(
                    401,
                    "token",
                    "this server wants a token; send it as Authorization: Bearer TOKEN",
                    headers={"WWW-Authenticate": 'Bearer realm="terrascope"'},
                )
        return None

    def _count(self, scope: MutableMapping[str, Any], status: int) -> None:
        route = getattr(scope.get("route"), "path", "other")
        # A method that nobody knows would be a counter of its own.
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
        self.metrics.requests.labels(method, route, str(status or 499)).inc()


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
