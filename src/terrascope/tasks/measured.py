"""What the masks of an answer measure for the quantity that it states: numbers are the program's, words the model's."""

from __future__ import annotations

import re

from terrascope.answer import Answer
from terrascope.landcover import NOMENCLATURES, TERRASCOPE
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers


def measured_answer(answer: Answer) -> str | None:
    """The measured counterpart of an answer, worded like it; None where it states no quantity of its masks.

    A share, an area, a count or a part of the scene is that of the one mask of the reasoning; a length is the distance
    between its last two. Asked which of two classes is larger, it is the one with the larger of the two masks. Of
    buildings, and of destroyed ones on a later image, a count is that of the latter, a share that of the former's
    number. With several other masks a share or a count may be of anything, and nothing is claimed; nor where the one
    mask is of another class than the question names. Where an option was chosen, its text is what is stated.
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
    buildings = _count_buildings(answer)
    if buildings is not None and unit in ("%", "count"):
        total, destroyed = buildings
        return str(destroyed) if unit == "count" else format_share(min(1.0, destroyed / total)) if total else None
    if len(answer.steps) != 1 or doubt_class(answer) is not None:
        return None
    if unit in SQUARE_METRES:
        area_m2 = last.measurement.area_m2
        return format_area(area_m2) if area_m2 is not None else None
    if unit == "%":
        return format_share(last.measurement.coverage)
    return str(last.measurement.num_objects) if unit == "count" else None


def doubt_class(answer: Answer) -> str | None:
    """That the only mask is of another class than the question names, in a sentence; None where it is not, or where
    either names none or several."""
    if len(answer.steps) != 1:
        return None
    asked, shown = class_of(answer.question), class_of(answer.steps[0].text)
    if asked == "building" and _DESTROYED.search(answer.question):
        asked = "destroyed building"
    if asked is None or shown is None or asked == shown or not {asked, shown} <= set(TERRASCOPE.names):
        return None
    return f"The question asks about {_plural(asked)}, but the mask is of {_plural(shown)}."


def _plural(name: str) -> str:
    return TERRASCOPE[TERRASCOPE.id_of(name)].plural


_DESTROYED = re.compile(r"\bdestroy(?:ed|s)?\b", re.IGNORECASE)
_LARGER = re.compile(r"\b(?:larger|bigger|greater|more)\b", re.IGNORECASE)
_SMALLER = re.compile(r"\b(?:smaller|less|fewer)\b", re.IGNORECASE)


def _larger_class(answer: Answer) -> str | None:
    """The class of the larger of two masks on one image, where the question compares them; None if it does not."""
    if len(answer.steps) != 2 or len({step.image for step in answer.steps}) != 1:
        return None
    if not _LARGER.search(answer.question) or _SMALLER.search(answer.question):
        return None
    names = [class_of(step.text) for step in answer.steps]
    sizes = [step.measurement.area_m2 or step.measurement.num_pixels for step in answer.steps]
    if None in names or names[0] == names[1] or sizes[0] == sizes[1]:
        return None
    return names[0] if sizes[0] > sizes[1] else names[1]


def _count_buildings(answer: Answer) -> tuple[int, int] | None:
    """The buildings of an image, and the destroyed ones of a later, where the two masks are of these; else None."""
    if len(answer.steps) != 2:
        return None
    before, after = answer.steps
    if (class_of(before.text), class_of(after.text)) != ("building", "destroyed building"):
        return None
    if before.image >= after.image:
        return None
    return before.measurement.num_objects, after.measurement.num_objects


def class_of(text: str) -> str | None:
    """The one class that a sentence names: "The crops:", "First I locate the crops:"; None for none or several."""
    names = {_CLASS_NAMES[word.lower()] for word in _CLASS_WORD.findall(text)}
    return names.pop() if len(names) == 1 else None


def _class_names() -> dict[str, str]:
    """The words for classes and the name of the class; where nomenclatures differ, that of `nano`'s."""
    names: dict[str, str] = {}
    for nomenclature in (TERRASCOPE, *NOMENCLATURES.values()):
        for land_class in nomenclature.classes:
            for word in land_class.words:
                names.setdefault(word.lower(), land_class.name)
    return names


_CLASS_NAMES = _class_names()
# The longest word first: a destroyed building is no building.
_CLASS_WORD = re.compile(
    rf"(?<![\w-])(?:{'|'.join(re.escape(word) for word in sorted(_CLASS_NAMES, key=len, reverse=True))})(?![\w-])",
    re.IGNORECASE,
)
