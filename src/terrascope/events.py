"""What is told of an answer while it is reasoned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from terrascope.answer import Grounding


@dataclass(frozen=True)
class Wrote:
    """A token was written: the text so far, which may end with U+FFFD while a letter of several bytes is incomplete."""

    text: str


@dataclass(frozen=True, eq=False)
class Drew:
    """The mask of the last [SEG] was drawn."""

    grounding: Grounding


@dataclass(frozen=True)
class Looked:
    """So many of the views that cover a large scene were looked at. Told whenever it happens, also a second time."""

    num_done: int
    num_views: int


Event = Wrote | Drew | Looked
Listener = Callable[[Event], None]
