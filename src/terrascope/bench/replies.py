"""What was answered: one reply for each item, one line each in `replies.jsonl` of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from terrascope.errors import SampleError
from terrascope.sample import SampleMask


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a predictor answered to an item.

    Attributes:
        id: of the sample.
        text: what is scored: the letter that the predictor chose by itself, else all that it wrote.
        raw: all that it wrote, tags included.
        masks: one for each [SEG] that it wrote, in order; `class_name` is what the words before the mask say.
        seconds: how long it took, without reading the images.
        failed: why there is no answer, in a few words that are the same for every such item; None where there is one.
    """

    id: str
    text: str
    raw: str
    masks: tuple[SampleMask, ...] = ()
    seconds: float = 0.0
    failed: str | None = None

    def to_line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Reply:
        """The reply of a line.

        Raises:
            SampleError: it is none.
        """
        try:
            values = json.loads(line)
            return cls(**{**values, "masks": tuple(SampleMask(**mask) for mask in values["masks"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SampleError(f"not a reply of a run: {error}") from None
