"""The application: its routes, and what their replies look like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from terrascope import __version__
from terrascope.errors import TerraScopeError
from terrascope.predictor import StreamingPredictor
from terrascope.rasters.sensors import SENSORS
from terrascope.serve import answers, asking, chat, pages
from terrascope.serve.band_files import BAND_NAME
from terrascope.serve.gate import Gate, internal_failure, reply_of
from terrascope.serve.metrics import CONTENT_TYPE
from terrascope.serve.refusals import Refusal, refusal_of
from terrascope.serve.schemas import Health, Limits, failures
from terrascope.serve.service import Service, service_of
from terrascope.serve.settings import ServeSettings
from terrascope.serve.wording import complaint

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_CODES = {404: "not_found", 405: "method", 400: "malformed"}


def create_app(predictor: StreamingPredictor, settings: ServeSettings) -> FastAPI:
    """The application that asks a predictor; `app.state.service` is what its routes share."""
    service = Service(predictor, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.desk.drain(settings.drain_s)
        service.close()

    app = FastAPI(
        title="TerraScope",
        version=__version__,
        description="Ask a satellite scene a question; every step of the answer is a mask on that scene.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(asking.router)
    app.include_router(answers.router)
    app.include_router(pages.router)
    app.include_router(chat.router)
    _add_own_routes(app)
    _add_failures(app)
    app.add_middleware(Gate, settings=settings, metrics=service.metrics)
    return app


def _add_own_routes(app: FastAPI) -> None:
    @app.get(
        "/healthz",
        response_model=None,
        responses={200: {"model": Health}, 503: {"model": Health, "description": "It is stopping."}, **failures(500)},
    )
    async def health(request: Request) -> Response:
        """Whether the server takes questions."""
        service = service_of(request)
        status: Literal["ok", "stopping"] = "stopping" if service.desk.is_draining else "ok"
        told = Health(status=status, model=service.model)
        return JSONResponse(told.model_dump(), status_code=200 if status == "ok" else 503)

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={200: {"description": "Prometheus's text format."}, **failures(401)},
    )
    async def metrics(request: Request) -> Response:
        """What was counted, for Prometheus."""
        return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/v1/limits", responses=failures(401))
    async def limits(request: Request) -> Limits:
        """What a question may bring."""
        service = service_of(request)
        settings = service.settings
        return Limits(
            max_upload_bytes=settings.max_upload_bytes,
            max_files=settings.max_files,
            max_pixels=settings.max_pixels,
            max_queue=settings.max_queue,
            paths=settings.root is not None,
            sensors=sorted(SENSORS),
            band_name=BAND_NAME,
            model=service.model,
        )


def _add_failures(app: FastAPI) -> None:
    async def refuse(request: Request, error: Exception) -> Response:
        refusal = _refusal_of(error)
        if refusal.status == 405:
            # Starlette names the methods of one route, and several may lie on one path.
            refusal.headers["Allow"] = ", ".join(_methods_of(app, request.scope))
        service_of(request).metrics.refused.labels(refusal.code).inc()
        return reply_of(refusal)

    for kind in (Refusal, TerraScopeError, RequestValidationError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, refuse)


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TerraScopeError):
        return refusal_of(error)
    if isinstance(error, ClientDisconnect):
        return Refusal(499, "client_gone", "the client went away")
    if isinstance(error, RequestValidationError):
        failure = error.errors()[0]
        name = str(failure["loc"][-1])
        return Refusal(400, "malformed", complaint(name, failure), name)
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "refused")
        return Refusal(error.status_code, code, str(error.detail).lower(), headers=error.headers)
    return internal_failure(error)


def _methods_of(app: FastAPI, scope: Scope) -> list[str]:
    def is_known(method: str) -> bool:
        asked = {**scope, "method": method}
        return any(route.matches(asked)[0] == Match.FULL for route in app.routes)

    return [method for method in _METHODS if is_known(method)]
