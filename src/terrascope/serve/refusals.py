"""What a request is told that cannot be served: a status, a code for programs and a sentence for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from terrascope.errors import ModelError, OutputError, QuestionError, ScaleError, SceneError, TerraScopeError


class Refusal(Exception):
    """A request that is not served.

    Attributes:
        status: of HTTP.
        code: for programs; docs/serve.md lists them.
        message: one sentence for people.
        field: of the form that it is about, if of one.
        headers: that the reply bears.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """The body of the reply."""
        return {"error": {"code": self.code, "message": self.message, "field": self.field}}


_CODES: tuple[tuple[type[TerraScopeError], int, str], ...] = (
    (SceneError, 422, "scene"),
    (ScaleError, 422, "scale"),
    (QuestionError, 422, "question"),
    (ModelError, 503, "model"),
    (OutputError, 503, "storage"),
)


_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?: (?:METRES|NAME|NUMBER|FILE)\b)?")
_FIELDS = {"choice": "option"}


def refusal_of(error: TerraScopeError, field: str | None = None) -> Refusal:
    """What the sender of a question is told of an error that it caused, or that the model could not help.

    Where its sentence names options of the command line, the fields of the same meaning are named instead.
    """
    status, code = next(((status, code) for kind, status, code in _CODES if isinstance(error, kind)), (422, "unusable"))
    named = [_field_of(match) for match in _OPTION.finditer(str(error))]
    message = _OPTION.sub(lambda match: f"the field {_field_of(match)}", str(error))
    return Refusal(status, code, message, field or (named[0] if len(set(named)) == 1 else None))


def _field_of(option: re.Match[str]) -> str:
    return _FIELDS.get(option[1], option[1].replace("-", "_"))


def busy(message: str, code: str, retry_after_s: int) -> Refusal:
    """Come again later."""
    return Refusal(503, code, message, headers={"Retry-After": str(retry_after_s)})
