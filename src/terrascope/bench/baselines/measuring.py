"""From masks to an answer, without a language model: what they measure for what is asked, and the option nearest to it.

What is asked for is read off the options (shares, areas, lengths, counts, yes or no, classes, parts of the image); of a
free question, off its words. The geometry is that of `terrascope.spatial`, so that true masks give the right answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from terrascope import spatial, trace
from terrascope.answer import Answer, Grounding
from terrascope.choice import nearest_option, quantity_in
from terrascope.errors import ScaleError
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.question import LETTERS
from terrascope.scene import Scene
from terrascope.tasks.survey import NOTHING

Quantity = Literal["share", "area", "length", "count", "yes or no", "class", "part"]

_YES_NO = ("yes", "no")
_SMALLER = re.compile(r"\b(?:smaller|smallest|less|least|fewer)\b", re.I)
_FREE: tuple[tuple[Quantity, re.Pattern[str]], ...] = (
    ("yes or no", re.compile(r"^(?:is|are|do|does|can)\b", re.I)),
    ("share", re.compile(r"%|\bper ?cent|\bshare\b|\bcoverage\b|\bhow much\b", re.I)),
    ("length", re.compile(r"\bdistance\b|\bhow far\b", re.I)),
    ("count", re.compile(r"\bhow many\b|\bnumber of\b|^count\b", re.I)),
    ("part", re.compile(r"^where\b|\bpart\b", re.I)),
    ("class", re.compile(r"^which\b", re.I)),
    ("area", re.compile(r"\barea\b|\bhow (?:large|big)\b", re.I)),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A mask, bool `[H, W]`, of a class on an image (from 1), and how sure its finder is, 0 to 1."""

    name: str
    image: int
    mask: NDArray[np.bool_] = field(repr=False)
    confidence: float = 1.0


def asked_for(question: str, options: Sequence[str] = ()) -> Quantity | None:
    """What an answer must be; None where nothing tells."""
    if not options:
        return next((quantity for quantity, words in _FREE if words.search(question)), None)
    said = [option.strip().lower().rstrip(".") for option in options]
    if all(text.split(",")[0] in _YES_NO for text in said):
        return "yes or no"
    if all(text.endswith(" part") for text in said):
        return "part"
    known = {quantity[0] for quantity in map(quantity_in, said) if quantity is not None}
    for kind in ("share", "area", "length", "count"):
        if kind in known:
            return kind
    return "class"


def measure(scene: Scene, question: str, options: Sequence[str], found: Sequence[Found]) -> str | None:
    """What the masks measure for what is asked, worded as tasks word it; None where they do not tell it.

    A share, an area, a count or a part is that of the last mask. Of two masks on two images, the share is that of the
    number of objects: so many of the buildings are destroyed. Two masks answer yes if they share a boundary, one if
    there is anything. A length is the distance of the last two masks; a class, that of the larger of two.
    """
    if not found:
        return None
    quantity = asked_for(question, options)
    last = found[-1]
    valid = scene.pairs[last.image - 1].valid
    masks = [entry.mask & scene.pairs[entry.image - 1].valid for entry in found]
    if quantity == "share":
        if len(found) == 2 and found[0].image != last.image:
            total = spatial.count_objects(masks[0])
            return format_share(spatial.count_objects(masks[1]) / total) if total else None
        return format_share(spatial.coverage(masks[-1], valid))
    if quantity == "count":
        return str(spatial.count_objects(masks[-1]))
    if quantity == "part":
        return spatial.position(masks[-1], valid) if masks[-1].any() else None
    if quantity == "yes or no":
        yes = bool(masks[0].any()) if len(found) == 1 else spatial.are_adjacent(masks[-2], masks[-1])
        return "Yes" if yes else "No"
    if quantity == "class":
        return _larger(question, found, masks)
    return _on_the_ground(scene, quantity, masks)


def _larger(question: str, found: Sequence[Found], masks: Sequence[NDArray[np.bool_]]) -> str | None:
    if len(found) < 2:
        return None
    larger = spatial.larger(masks[-2], masks[-1])
    if larger is None:
        return None
    asks_smaller = bool(_SMALLER.search(question))
    return found[-2].name if (larger == "first") != asks_smaller else found[-1].name


def _on_the_ground(scene: Scene, quantity: Quantity | None, masks: Sequence[NDArray[np.bool_]]) -> str | None:
    try:
        size = scene.georeference.pixel_size(*scene.shape)
    except ScaleError:
        return None
    if quantity == "area":
        return format_area(spatial.area_m2(masks[-1], size))
    if quantity == "length" and len(masks) > 1 and masks[-2].any() and masks[-1].any():
        return format_distance(spatial.distance_m(masks[-2], masks[-1], size))
    return None


def answer_from_masks(
    scene: Scene, question: str, options: Sequence[str], found: Sequence[Found], model: str
) -> Answer:
    """The answer that masks give: with options, the letter of the nearest; empty where they tell none.

    Args:
        found: in the order in which a reasoning would point at them.
        model: name of the predictor.
    """
    measured = measure(scene, question, options, found)
    place = nearest_option(measured, options) if measured is not None and options else None
    text = (measured or "") if not options else "" if place is None else LETTERS[place]
    several = len(scene.pairs) > 1
    steps = tuple(
        trace.Step(text=f"The {entry.name}:", image=entry.image if several else None, finding=_finding(scene, entry))
        for entry in found
    )
    groundings = [
        Grounding(
            mask=entry.mask, image=entry.image, confidence=entry.confidence, num_optical_tokens=0, num_sar_tokens=0
        )
        for entry in found
    ]
    return Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=trace.render(trace.Trace(steps=steps, answer=text)),
        groundings=groundings,
        model=model,
    )


def _finding(scene: Scene, entry: Found) -> str:
    share = spatial.coverage(entry.mask, scene.pairs[entry.image - 1].valid)
    return f"It covers {format_share(share)} of the image." if share else NOTHING
