"""What is wrong with a value of a request, in one sentence: pydantic tells what it found, and these say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
}
_BOUNDS = {
    "greater_than_equal": "a number of {ge:g} or more",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "less_than": "a number below {lt:g}",
    "literal_error": "{expected}",
}
_MAX_SHOWN = 40


def complaint(name: str, failure: Mapping[str, Any]) -> str:
    """One sentence that names the field and says what would be right.

    Args:
        name: of the field.
        failure: one of `ValidationError.errors()`.
    """
    kind, limits = str(failure["type"]), failure.get("ctx", {})
    if kind == "missing":
        return f"{name} is missing"
    if kind in ("string_too_long", "string_too_short"):
        return f"{name} has {len(failure['input']):,} characters; give {_bound(limits)}"
    if kind in ("too_long", "too_short"):
        return f"{name} has {len(failure['input']):,} entries; give {_bound(limits)}"
    if kind == "value_error":
        return f"{name} {limits['error']}"
    wanted = _BOUNDS.get(kind, "").format(**limits) or _KINDS.get(kind.partition("_")[0], "another value")
    return f"{name} is {_shown(failure['input'])}; give {wanted}"


def _bound(limits: Mapping[str, Any]) -> str:
    if "max_length" in limits:
        return f"at most {limits['max_length']:,}"
    return f"at least {limits['min_length']:,}"


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 4]}...{text[-1]}"
