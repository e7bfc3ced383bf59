"""From what a model wrote to an object of the schema, or to the faults that it is told of when it is asked again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Parsed = TypeVar("Parsed", bound=BaseModel)

NO_JSON = "The reply holds no JSON object; reply with one JSON object and nothing else."

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S | re.I)
_MAX_FAULTS = 8


def read_reply(text: str, schema: type[Parsed]) -> Parsed | tuple[str, ...]:
    """The object that a reply holds, or its faults.

    The reply may be the object itself, hold it in a fenced block, or have words before and after it.
    """
    faults: tuple[str, ...] = (NO_JSON,)
    for candidate in _candidates(text):
        try:
            return schema.model_validate_json(candidate)
        except ValidationError as error:
            found = tuple(_fault(detail["loc"], detail["msg"]) for detail in error.errors(include_url=False))
            faults = (*found[:_MAX_FAULTS], *([f"and {len(found) - _MAX_FAULTS} more"] if found[_MAX_FAULTS:] else []))
    return faults


def _candidates(text: str) -> Iterator[str]:
    stripped = text.strip()
    if stripped.startswith("{") and stripped.endswith("}"):
        yield stripped
        return
    yield from (match[1] for match in _FENCED.finditer(text))
    start, stop = text.find("{"), text.rfind("}")
    if 0 <= start < stop:
        yield text[start : stop + 1]


def _fault(place: tuple[int | str, ...], message: str) -> str:
    # The value itself is left out: the model knows what it wrote, and it may be long.
    return f"{'.'.join(map(str, place)) or 'The reply'}: {message}"
