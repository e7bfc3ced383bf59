"""What the masks of an answer measure for the quantity that it states: numbers are the program's, words the model's."""

from __future__ import annotations

import re

from terrascope.errors import QuestionError
from terrascope.landcover import TERRASCOPE
from terrascope.predictor import Answer
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers


def measured_answer(answer: Answer) -> str | None:
    """The measured counterpart of an answer, worded like it; None where it states no quantity of its masks.

    A share, an area, a count or a part of the scene is that of the one mask of the reasoning; a length is the distance
    between its last two. Asked which of two classes is larger, it is the one with the larger of the two masks. With
    several masks a share or a count may be of anything, and nothing is claimed. Where an option was chosen, its text is
    what is stated.
    """
    text = answer.option or answer.text
    larger = _larger_class(answer)
    if larger is not None:
        return larger
    if text.strip().endswith(" part") and len(answer.steps) == 1:
        return answer.steps[0].measurement.position
    numbers = stated_numbers(text)
    if not answer.steps or not (numbers or text.strip().isdigit()):
        return None
    unit = numbers[0].unit if numbers else "count"
    last = answer.steps[-1]
    if unit in METRES:
        return format_distance(last.distance_m) if last.distance_m is not None else None
    if len(answer.steps) != 1:
        return None
    if unit in SQUARE_METRES:
        area_m2 = last.measurement.area_m2
        return format_area(area_m2) if area_m2 is not None else None
    if unit == "%":
        return format_share(last.measurement.coverage)
    return str(last.measurement.num_objects) if unit == "count" else None


_LARGER = re.compile(r"\b(?:larger|bigger|greater|more)\b", re.IGNORECASE)
_SMALLER = re.compile(r"\b(?:smaller|less|fewer)\b", re.IGNORECASE)


def _larger_class(answer: Answer) -> str | None:
    """The class of the larger of two masks on one image, where the question compares them; None if it does not."""
    if len(answer.steps) != 2 or len({step.image for step in answer.steps}) != 1:
        return None
    if not _LARGER.search(answer.question) or _SMALLER.search(answer.question):
        return None
    names = [_class_of(step.text) for step in answer.steps]
    sizes = [step.measurement.area_m2 or step.measurement.num_pixels for step in answer.steps]
    if None in names or names[0] == names[1] or sizes[0] == sizes[1]:
        return None
    return names[0] if sizes[0] > sizes[1] else names[1]


def _class_of(text: str) -> str | None:
    """The class that a step's text names: "The crops:"; None if it is no class."""
    try:
        return TERRASCOPE[TERRASCOPE.id_of(text.strip(" :.").removeprefix("The "))].name
    except QuestionError:
        return None
