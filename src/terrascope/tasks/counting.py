"""How many buildings are there in the image? (paper, Appendix E, task 2)"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from terrascope.tasks.options import even_integers, spaced_integers
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, dates_in_random_order, find_objects, find_regions
from terrascope.tasks.wording import fill, name_class
from terrascope.trace import Tolerance

COUNTABLE = ("building", "destroyed building")
"""Classes whose components are things of their own; of all others, separate areas are counted."""

OBJECT_TEMPLATES = (
    "How many {thing} are there in {image}?",
    "How many {thing} can be seen in {image}?",
    "How many {thing} does {image} show?",
    "Count the {thing} in {image}.",
    "What is the number of {thing} in {image}?",
)
AREA_TEMPLATES = (
    "How many separate areas of {thing} are there in {image}?",
    "How many separate areas of {thing} can be seen in {image}?",
    "How many separate areas of {thing} does {image} show?",
    "Count the separate areas of {thing} in {image}.",
    "What is the number of separate areas of {thing} in {image}?",
)
OWN_AREA_TEMPLATES = tuple(template.replace("areas of {thing}", "{thing}") for template in AREA_TEMPLATES)
"""For what is called areas itself: `separate developed areas`."""


def name_count(region: Region, num_objects: int) -> str:
    """`1 building`, `7 buildings`, `1 separate area`, `7 separate areas`."""
    if region.name in COUNTABLE:
        return f"{num_objects} {region.name if num_objects == 1 else region.land_class.plural}"
    return f"{num_objects} separate {'area' if num_objects == 1 else 'areas'}"


def count_distractors(
    num_objects: int, rng: np.random.Generator, *, num: int, relative_gap: float, balanced: bool = False
) -> list[str] | None:
    """Wrong counts, apart by at least one and by at least `relative_gap` of the truth; None where they do not fit.

    With `balanced`, the truth has every rank among them alike, for which the gap may shrink to one.
    """
    gap = max(1, math.ceil(relative_gap * num_objects))
    high = num_objects + 2 * num * gap
    if balanced:
        counts = even_integers(num_objects, rng, num=num, gap=gap, min_gap=1, low=1, high=high)
    else:
        counts = spaced_integers(num_objects, rng, num=num, gap=gap, low=1, high=high)
    return None if counts is None else [str(count) for count in counts]


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Asks for the number of buildings, or of separate areas of another class.

    Attributes:
        min_coverage: least share of the image of a class that is asked about.
        max_objects: more objects than this are not asked for, except buildings.
        max_buildings: the same for buildings.
        single_share: how often a class in one piece is asked about when it comes up. Many are in one piece; "1" would
            be right too often.
        relative_gap: distance between options as a share of the truth; at least one object.
        balanced: give options only where the truth can have any rank among them, each as likely; ask freely elsewhere.
        tolerance: how far numbered objects and the mask's components may differ in number.
    """

    name: str = "counting"
    num_options: int = 4
    min_coverage: float = 0.003
    max_objects: int = 12
    max_buildings: int = 40
    single_share: float = 1.0
    relative_gap: float = 0.2
    balanced: bool = False
    tolerance: Tolerance = field(default_factory=Tolerance)

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        for date in dates_in_random_order(labelled, rng):
            regions = [region for region in find_regions(labelled, date) if region.coverage >= self.min_coverage]
            # Things come first: they are what the question is about where there are any.
            order = sorted(rng.permutation(len(regions)), key=lambda index: regions[index].name not in COUNTABLE)
            for index in order:
                question = self._ask_about(labelled, regions[index], rng, with_options=with_options)
                if question is not None:
                    return question
        return None

    def _ask_about(
        self, labelled: LabelledScene, region: Region, rng: np.random.Generator, *, with_options: bool
    ) -> Question | None:
        things = region.name in COUNTABLE
        found = find_objects(region, self.tolerance) if things else (region, region.num_objects)
        if found is None or not 0 < found[1] <= (self.max_buildings if things else self.max_objects):
            return None
        region, num_objects = found
        if num_objects == 1 and self.single_share < 1 and rng.random() >= self.single_share:
            return None
        thing = region.land_class.plural if things else name_class(region.land_class, rng)
        areas = OWN_AREA_TEMPLATES if thing.endswith("areas") else AREA_TEMPLATES
        templates = OBJECT_TEMPLATES if things else areas
        verb = "is" if num_objects == 1 else "are"
        question = free_question(
            task=self.name,
            text=fill(templates, rng, date=region.date, num_dates=labelled.num_dates, thing=thing),
            num_dates=labelled.num_dates,
            steps=[(region, f"There {verb} {name_count(region, num_objects)}.")],
            truth=str(num_objects),
            value=float(num_objects),
            unit="count",
        )
        if not with_options:
            return question
        distractors = count_distractors(
            num_objects, rng, num=self.num_options - 1, relative_gap=self.relative_gap, balanced=self.balanced
        )
        if distractors is None:
            return question if self.balanced else None
        return pose(question, distractors, rng)
