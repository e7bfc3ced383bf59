"""From a free answer to the nearest option: "27%" among 5%, 30% and 60% is B.

A small model learns to say what it sees long before it learns to look its answer up in a list. With the rule `nearest`
it answers freely, and the option nearest to its answer is taken; with `letter` it names the option itself, as in the
paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from terrascope.errors import QuestionError
from terrascope.landcover import TERRASCOPE
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers

ChoiceRule = Literal["letter", "nearest"]

_BARE = re.compile(r"\d+(?:\.\d+)?")
_PART = re.compile(r"\b(north|south)?(?:ern)?\s*(east|west)?(?:ern)?\b")
_YES_NO = ("yes", "no")


def nearest_option(answer: str, options: Sequence[str]) -> int | None:
    """The place of the option nearest to an answer, counted from 0; None where the two cannot be compared.

    Words must mean the same (yes and no, a class under any of its names, equal text). Shares and counts are compared by
    their difference, areas and distances by their ratio, parts of the image by their distance on a 3 x 3 board. The
    first of two equally near options wins.
    """
    gaps = [_gap(answer, option) for option in options]
    known = [(gap, place) for place, gap in enumerate(gaps) if gap is not None]
    return min(known)[1] if known else None


def _gap(answer: str, option: str) -> float | None:
    """How far an option is from an answer; None if they speak of different things."""
    said, offered = answer.strip().lower().rstrip("."), option.strip().lower().rstrip(".")
    if said == offered:
        return 0.0
    if said in _YES_NO or offered in _YES_NO:
        return 0.0 if said.split(",")[0] == offered.split(",")[0] else None
    classes = (_class_id(said), _class_id(offered))
    if None not in classes:
        return 0.0 if classes[0] == classes[1] else None
    here, there = _part(said), _part(offered)
    if here and there:
        return math.dist(here, there)
    one, other = quantity_in(said), quantity_in(offered)
    if one is None or other is None or one[0] != other[0]:
        return None
    if one[0] in ("area", "length"):
        return abs(math.log(max(one[1], 1e-9) / max(other[1], 1e-9)))
    return abs(one[1] - other[1])


def _class_id(text: str) -> int | None:
    try:
        return TERRASCOPE.id_of(text.removeprefix("the "))
    except QuestionError:
        return None


def _part(text: str) -> tuple[int, int] | None:
    """(row, column) of "northwestern part" and its like on a board whose centre is (0, 0)."""
    if "central" in text or "center" in text or "centre" in text:
        return 0, 0
    for match in _PART.finditer(text):
        if match[1] or match[2]:
            row = {"north": -1, "south": 1}.get(match[1] or "", 0)
            column = {"west": -1, "east": 1}.get(match[2] or "", 0)
            return row, column
    return None


def quantity_in(text: str) -> tuple[str, float] | None:
    """The kind and value of the one number of a text: share (%), area (m2), length (m) or count."""
    numbers = stated_numbers(text)
    if numbers:
        number = numbers[0]
        below = 0.5 if "less than" in text else 1.0
        if number.unit == "%":
            return "share", number.value * below
        if number.unit in SQUARE_METRES:
            return "area", number.value * SQUARE_METRES[number.unit]
        if number.unit in METRES:
            return "length", number.value * METRES[number.unit]
        return "count", number.value
    bare = _BARE.search(text)
    return ("count", float(bare[0])) if bare else None
