"""What a request is told that cannot be served: a status, a code for programs and a sentence for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


_OPTION = re.compile(
    r"(?<![\w-])--(sensor|sar-sensor|gsd|nodata|reference|bbox|date|choice|optical|sar)(?![\w-])"
    r"(?: (?:METRES|NAME|NUMBER|FILE)\b)?"
)
_NOT_HERE = (
    (re.compile(r", or give --allow-virtual \S+ if you trust it"), ""),
    (re.compile(r"give --allow-virtual \S+ if you trust it"), "give a plain image file"),
    (re.compile(r"--dtype \w+, another --device, or "), ""),
)
"""What whoever asks a server cannot change."""

_FIELDS = {"choice": "option"}


def refusal_of(error: TerraScopeError, field: str | None = None) -> Refusal:
    """What the sender of a question is told of an error that it caused, or that the model could not help.

    Where its sentence names options of the command line, the fields of the same meaning are named instead.
    """
    status, code = next(((status, code) for kind, status, code in _CODES if isinstance(error, kind)), (422, "unusable"))
    message = str(error)
    for pattern, instead in _NOT_HERE:
        message = pattern.sub(instead, message)
    named = [_field_of(match) for match in _OPTION.finditer(message)]
    message = _OPTION.sub(lambda match: f"the field {_field_of(match)}", message)
    return Refusal(status, code, message, field or (named[0] if len(set(named)) == 1 else None))


@contextmanager
def about(name: str) -> Iterator[None]:
    """Errors in the block are about a field.

    Raises:
        Refusal: in place of the error.
    """
    try:
        yield
    except TerraScopeError as error:
        raise refusal_of(error, name) from None


def _field_of(option: re.Match[str]) -> str:
    return _FIELDS.get(option[1], option[1].replace("-", "_"))


def busy(message: str, code: str, retry_after_s: int) -> Refusal:
    """Come again later."""
    return Refusal(503, code, message, headers={"Retry-After": str(retry_after_s)})
