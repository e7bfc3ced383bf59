"""What was answered: one reply for each item, one line each in `replies.jsonl` of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from terrascope.errors import SampleError
from terrascope.sample import SampleMask


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a predictor answered to an item.

    Attributes:
        id: of the sample.
        text: what is scored, read by the rules of `bench.parsing`: all that it wrote; or, where it has chosen an option
            otherwise than in its words, as by `choice.nearest_option`, that option's letter.
        raw: all that it wrote, tags included.
        masks: one for each [SEG] that it wrote, in order; `class_name` is what the words before the mask say.
        seconds: how long it took, without reading the images.
        failed: why there is no answer, in a few words that are the same for every such item; None where there is one.
        cut_off: whether it was ended by the limit of its length.
    """

    id: str
    text: str
    raw: str
    masks: tuple[SampleMask, ...] = ()
    seconds: float = 0.0
    failed: str | None = None
    cut_off: bool = False

    def to_line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Reply:
        """The reply of a line.

        Raises:
            SampleError: it is none; the sentence names the field.
        """
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise SampleError("not a reply of a run: no JSON") from None
        if not isinstance(values, dict):
            raise SampleError("not a reply of a run: no object of JSON")
        unknown = next((name for name in values if name not in _FIELDS), None)
        if unknown is not None:
            raise SampleError(f"not a reply of a run: {unknown!r} is none of {', '.join(_FIELDS)}")
        for name, (is_one, kind) in _FIELDS.items():
            if not is_one(values.get(name, _DEFAULTS.get(name))):
                raise SampleError(f"not a reply of a run: {name} is {_short(values.get(name))}, and must be {kind}")
        masks = tuple(SampleMask(**mask) for mask in values.get("masks", ()))
        return cls(**{**values, "masks": masks})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _are_masks(value: Any) -> bool:
    return isinstance(value, list) and all(_is_mask(mask) for mask in value)


def _is_mask(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and set(value) == {"counts", "image", "class_name"}
        and _is_text(value["counts"])
        and _is_text(value["class_name"])
        and type(value["image"]) is int
    )


_FIELDS = {
    "id": (_is_text, "a text"),
    "text": (_is_text, "a text"),
    "raw": (_is_text, "a text"),
    "masks": (_are_masks, "a list of masks, each with counts, image and class_name"),
    "seconds": (_is_duration, "a number from 0"),
    "failed": (lambda value: value is None or _is_text(value), "a text or null"),
    "cut_off": (lambda value: isinstance(value, bool), "true or false"),
}
_DEFAULTS: Mapping[str, Any] = {"masks": [], "seconds": 0.0, "failed": None, "cut_off": False}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
