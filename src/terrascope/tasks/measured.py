"""What the masks of an answer measure for the quantity that it states: numbers are the program's, words the model's."""

from __future__ import annotations

from terrascope.predictor import Answer
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers


def measured_answer(answer: Answer) -> str | None:
    """The measured counterpart of an answer, worded like it; None where it states no quantity of its masks.

    A share, an area, a count or a part of the scene is that of the one mask of the reasoning; a length is the distance
    between its last two. With several masks a share or a count may be of anything, and nothing is claimed. Where
    an option was chosen, its text is what is stated.
    """
    text = answer.option or answer.text
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
