"""Values from files, held against the types they must have: the first that is wrong is named, with its value."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from terrascope.errors import ModelError

_Fields = TypeVar("_Fields", bound=BaseModel)

Size = Annotated[int, Field(ge=1, lt=2**31)]
"""Numbers of things that there must be at least one of: heads, channels, pixels along an edge."""

Layers = Annotated[int, Field(ge=1, le=1000)]
"""Numbers of layers. The library makes lists of that length of a configuration alone."""

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=())
"""A text is no number, a number no switch, and nothing is NaN; fields beyond those that are named are left alone."""


def read_fields(kind: type[_Fields], content: Any, where: str) -> _Fields:
    """The fields of a JSON object that are used, each of its type and within its range.

    Args:
        kind: a pydantic model, strict by `STRICT`.
        content: what the file holds.
        where: the file, for messages.

    Raises:
        ModelError: a field is missing, of another type, or out of its range.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{where}: {_in_words(error)}") from None


def check_arguments(construct: Callable[..., None], given: Mapping[str, Any]) -> None:
    """Hold what a constructor was given against the types of its own signature.

    A constructor is where the values of a file arrive: the libraries that read it hand every entry on as it stands.

    Args:
        construct: the constructor.
        given: its `locals()` before anything else is done.

    Raises:
        ModelError: an argument is of another type, or out of its range.
    """
    kind = _arguments(construct)
    names = [str(field.alias) for field in kind.model_fields.values()]
    try:
        kind.model_validate({name: given[name] for name in names})
    except ValidationError as error:
        raise ModelError(_in_words(error)) from None


@functools.cache
def _arguments(construct: Callable[..., None]) -> type[BaseModel]:
    hints = get_type_hints(construct, include_extras=True)
    named = [p.name for p in inspect.signature(construct).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    # A name of its own for each: pydantic keeps a few names to itself.
    fields: dict[str, Any] = {f"of_{name}": (hints[name], Field(alias=name)) for name in named if name != "self"}
    return create_model("Arguments", __config__=STRICT, **fields)


def first_of(names: Sequence[str], what: str = "") -> str:
    """`a`, or `a and 3 more tensors`: the first of several names, and how many there are beside it."""
    rest = f" and {len(names) - 1} more {what}".rstrip() if len(names) > 1 else ""
    return f"{names[0]}{rest}"


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "sequence_str": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""What a field must be, by the name that pydantic gives to the failure."""


def _in_words(error: ValidationError) -> str:
    """The first thing that is wrong: which field, what it must be, what it is."""
    fault = error.errors(include_url=False)[0]
    kind, about = fault["type"], fault.get("ctx", {})
    place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("dict[", "is-instance[")))
    if kind == "missing":
        return f"lacks {place}"
    if kind == "value_error":
        return f"{place + ': ' if place else ''}{about['error']}"
    wanted = _WANTED.get(kind)
    if kind == "too_short":
        wanted = f"a list of at least {about['min_length']}"
    elif kind == "too_long":
        wanted = f"a list of at most {about['max_length']}"
    elif kind == "is_instance_of":
        wanted = "a list" if about["class"] == "Sequence" else f"a {about['class']}"
    if wanted is None:
        wanted = fault["msg"].removeprefix("Input should be ")
    value = json.dumps(fault["input"], default=repr, ensure_ascii=False)
    return f"{place} must be {wanted}, but is {value if len(value) <= 60 else value[:57] + '...'}"
