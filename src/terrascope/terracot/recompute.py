"""The truth of a composed question, computed again from the label maps: what can be, need not be believed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from terrascope import spatial
from terrascope.tasks.question import LabelledScene, Question
from terrascope.tasks.survey import Region
from terrascope.terracot.layout import lay_out
from terrascope.terracot.naming import named_classes
from terrascope.trace import METRES, SQUARE_METRES, Tolerance, stated_numbers

RELATIVE = 0.1
"""How far an answer's number may lie from the recomputed one, as a share of it; for shares, `Tolerance` decides."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The right answer of a rule: yes or no, class names in order, or a number in `unit` (`ratio` for one without)."""

    classes: tuple[str, ...] = ()
    yes: bool | None = None
    value: float | None = None
    unit: str | None = None

    def agrees(self, question: Question, labelled: LabelledScene, tolerance: Tolerance) -> bool:
        """True if a question's truth says the same. What cannot be read as an answer of this form does not."""
        if self.yes is not None:
            return _yes_or_no(question.truth) == self.yes
        if self.classes:
            return _classes_in(question.truth, labelled) == self.classes
        stated = question.value if question.value is not None else _number_in(question.truth, self.unit)
        if stated is None or self.value is None:
            return False
        if self.unit == "ratio" and stated:
            # Which of the two is asked for, only the words of the question tell.
            stated = max(stated, 1 / stated)
        allowed = RELATIVE * abs(self.value)
        if self.unit in ("%", "points"):
            allowed = max(tolerance.coverage_points, allowed)
        if self.unit == "count":
            return tolerance.accepts_count(stated, self.value)
        return abs(stated - self.value) <= allowed


Rule = Callable[[LabelledScene, Sequence[Region]], Truth | None]


def recompute(rule: str, classes: Sequence[str], labelled: LabelledScene, images: Sequence[int] = ()) -> Truth | None:
    """The truth of a rule about classes, straight from the label maps.

    Args:
        rule: one of `RULES`.
        classes: names of classes in the order in which the reasoning points at them; for `nearest` and `farthest`, the
            one that distances are measured from comes first, and repetitions count for nothing.
        images: the image (from 1) of each class; the first for all where empty.

    Returns:
        None where the rule is not one that can be recomputed, or does not fit these classes.
    """
    if rule not in RULES or len(images) not in (0, len(classes)):
        return None
    regions = []
    for name, image in zip(classes, images or [1] * len(classes), strict=True):
        if not 1 <= image <= labelled.num_dates:
            return None
        region = next((region for region in labelled.surveys[image - 1].regions if region.name == name), None)
        if region is None:
            return None
        if region not in regions:
            regions.append(region)
    return RULES[rule](labelled, regions)


def _coverage(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    """The share of one class, or of several together on one date."""
    if not regions or len({region.date for region in regions}) > 1:
        return None
    return Truth(value=100 * sum(region.coverage for region in regions), unit="%")


def _area(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    if not regions or regions[0].survey.pixel_size is None or len({region.date for region in regions}) > 1:
        return None
    return Truth(value=sum(region.area_m2 for region in regions), unit="m2")


def _ratio(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    """How many times the smaller of two classes fits into the larger."""
    if not _are_there(regions, 2) or len(regions) != 2:
        return None
    large, small = sorted(regions, key=lambda region: -region.num_pixels)
    return Truth(value=spatial.ratio(large.mask, small.mask, large.survey.pixel_size), unit="ratio")


def _distance(labelled: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    if not _are_there(regions, 2) or len(regions) != 2 or regions[0].survey.pixel_size is None:
        return None
    return Truth(value=lay_out(labelled).distance_m(*regions), unit="m")


def _adjacency(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    """Whether every class touches the next."""
    if len(regions) < 2 or len({region.date for region in regions}) > 1:
        return None
    pairs = pairwise(regions)
    return Truth(yes=all(spatial.are_adjacent(first.mask, second.mask) for first, second in pairs))


def _by_size(regions: Sequence[Region], *, largest: bool) -> Truth | None:
    if len(regions) < 2 or len({region.date for region in regions}) > 1:
        return None
    ordered = sorted(regions, key=lambda region: region.num_pixels, reverse=largest)
    if ordered[0].num_pixels == ordered[1].num_pixels:
        return None
    return Truth(classes=(ordered[0].name,))


def _ranking(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    if len(regions) < 2 or len({region.date for region in regions}) > 1:
        return None
    return Truth(classes=tuple(region.name for region in sorted(regions, key=lambda region: -region.num_pixels)))


def _by_distance(labelled: LabelledScene, regions: Sequence[Region], *, nearest: bool) -> Truth | None:
    if not _are_there(regions, 3):
        return None
    reference, *others = regions
    distances = sorted((_apart(labelled, reference, other), other.name) for other in others)
    return Truth(classes=(distances[0 if nearest else -1][1],))


def _count(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    return Truth(value=float(regions[0].num_objects), unit="count") if len(regions) == 1 else None


def _change(_: LabelledScene, regions: Sequence[Region]) -> Truth | None:
    """By how many points of the image the share of a class differs between two dates, without a sign."""
    if len(regions) != 2 or regions[0].name != regions[1].name or regions[0].date == regions[1].date:
        return None
    return Truth(value=100 * abs(regions[1].coverage - regions[0].coverage), unit="points")


def _apart(labelled: LabelledScene, a: Region, b: Region) -> float:
    """The smallest distance of two classes: in metres, or in pixels where there is no scale."""
    return spatial.distance_px(a.mask, b.mask) if labelled.pixel_size is None else lay_out(labelled).distance_m(a, b)


def _are_there(regions: Sequence[Region], num: int) -> bool:
    """True if there are at least `num` regions of one date, none of them empty."""
    return (
        len(regions) >= num
        and len({region.date for region in regions}) == 1
        and all(region.num_pixels for region in regions)
    )


RULES: Mapping[str, Rule] = {
    "coverage": _coverage,
    "area": _area,
    "combined_share": _coverage,
    "combined_area": _area,
    "ratio": _ratio,
    "distance": _distance,
    "adjacency": _adjacency,
    "adjacency_chain": _adjacency,
    "larger": lambda _, regions: _by_size(regions, largest=True),
    "smaller": lambda _, regions: _by_size(regions, largest=False),
    "largest": lambda _, regions: _by_size(regions, largest=True),
    "smallest": lambda _, regions: _by_size(regions, largest=False),
    "ranking": _ranking,
    "nearest": lambda labelled, regions: _by_distance(labelled, regions, nearest=True),
    "farthest": lambda labelled, regions: _by_distance(labelled, regions, nearest=False),
    "count": _count,
    "change": _change,
}
"""The rules whose truth can be computed again, by the word after the slash of a question's task."""


def _yes_or_no(text: str) -> bool | None:
    match = re.match(r"\s*(yes|no)\b", text, re.I)
    return None if match is None else match[1].lower() == "yes"


def _classes_in(text: str, labelled: LabelledScene) -> tuple[str, ...]:
    """The classes that a short answer names, in order: it is cut at commas, `and`, `then` and `>`."""
    nomenclature = labelled.labels[0].nomenclature
    names: list[str] = []
    for part in re.split(r"\s*(?:,|>|\band\b|\bthen\b)\s*", text):
        word = re.sub(r"^the\s+", "", part.strip(" .").lower())
        if not word:
            continue
        named = named_classes(word, nomenclature)
        if len(named) != 1:
            return ()
        names += named
    return tuple(names)


def _number_in(text: str, unit: str | None) -> float | None:
    """The number of a short answer, in the unit of a truth."""
    number = next(iter(stated_numbers(text)), None)
    if number is not None and number.unit in SQUARE_METRES and unit == "m2":
        return number.value * SQUARE_METRES[number.unit]
    if number is not None and number.unit in METRES and unit == "m":
        return number.value * METRES[number.unit]
    if number is not None and number.unit == unit:
        return number.value
    plain = re.search(r"\d+(?:\.\d+)?", text.replace(",", ""))
    return float(plain[0]) if plain and unit in ("ratio", "count", "points", "%") else None
