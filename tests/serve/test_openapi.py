"""What the description of the API says is what the server does, for requests drawn at random from it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve.told import StreamingOracle
from terrascope.serve.app import create_app
from terrascope.serve.schemas import AnswerReply
from terrascope.serve.settings import ServeSettings


def always_up(app: FastAPI) -> Any:
    """The application without its end: it is called from many loops."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    return call


def described() -> schemathesis.BaseSchema:
    app = create_app(StreamingOracle(), ServeSettings(host="0.0.0.0", keep_answers=4, max_files=1000))
    schema = schemathesis.openapi.from_asgi("/openapi.json", always_up(app))
    # The OpenAI routes have tests of their own.
    return schema.exclude(path_regex="^/v1/(chat|models)")


schema = described()


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_every_reply_is_one_that_is_described(case: schemathesis.Case) -> None:
    # Whether an image is one, or a path exists, no description can say.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


def test_the_description_tells_the_form_and_the_reply() -> None:
    told = create_app(StreamingOracle(), ServeSettings()).openapi()
    ask = told["paths"]["/v1/ask"]["post"]
    form = ask["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["question"] and form["additionalProperties"] is False
    assert form["properties"]["optical"]["items"] == {"type": "string", "format": "binary"}
    assert {"400", "401", "403", "408", "413", "415", "422", "500", "503"} <= set(ask["responses"])
    names = set(told["components"]["schemas"]["AnswerReply"]["required"])
    assert {"id", "schema", "steps", "files"} <= names
    assert set(AnswerReply.model_json_schema()["required"]) == names
