"""Where is the water located in the image? (paper, Appendix E, task 3)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, dates_in_random_order, draw_region, find_regions
from terrascope.tasks.wording import fill, name_class

GRID = (
    ("northwestern part", "northern part", "northeastern part"),
    ("western part", "central part", "eastern part"),
    ("southwestern part", "southern part", "southeastern part"),
)
CENTER = GRID[1][1]
CELLS = {part: (row, column) for row, parts in enumerate(GRID) for column, part in enumerate(parts)}

TEMPLATES = (
    "Where {is_} the {thing} located in {image}?",
    "Where in {image} {is_} the {thing}?",
    "Where can the {thing} be found in {image}?",
    "In which part of {image} {is_} the {thing}?",
    "Which part of {image} contains the {thing}?",
)


def far_parts(part: str) -> list[str]:
    """The parts of the image that do not touch `part`; the four corners for the central part, which all parts touch."""
    row, column = CELLS[part]
    far = [other for other, (r, c) in CELLS.items() if max(abs(r - row), abs(c - column)) > 1]
    return far or [GRID[0][0], GRID[0][2], GRID[2][0], GRID[2][2]]


@dataclass(frozen=True, kw_only=True)
class Localization:
    """Asks in which part of the image a class lies, if it lies in one part.

    Attributes:
        min_coverage, max_coverage: least and largest share of the image of a class that is asked about.
        max_spread: largest standard deviation of its pixels' rows and columns, as a share of the image's height and
            width. An even spread over the whole image has 0.29.
        center_has_options: whether options are given where the answer is the central part. It is no wrong option, as
            it touches all other parts: whoever sees it among the options knows the answer.
        weights: how much likelier each class is asked about; all the same where there are none.
    """

    name: str = "localization"
    num_options: int = 4
    min_coverage: float = 0.005
    max_coverage: float = 0.4
    max_spread: float = 0.2
    center_has_options: bool = True
    weights: Mapping[str, float] = field(default_factory=dict)

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        for date in dates_in_random_order(labelled, rng):
            regions = [region for region in find_regions(labelled, date) if self._is_in_one_part(region)]
            if not regions:
                continue
            region = draw_region(regions, rng, self.weights)
            question = free_question(
                task=self.name,
                text=fill(
                    TEMPLATES, rng, date=date, num_dates=labelled.num_dates, thing=name_class(region.land_class, rng)
                ),
                num_dates=labelled.num_dates,
                steps=[(region, f"It lies in the {region.position}.")],
                truth=region.position,
            )
            if not with_options or (region.position == CENTER and not self.center_has_options):
                return question
            distractors = rng.choice(far_parts(region.position), self.num_options - 1, replace=False)
            return pose(question, [str(other) for other in distractors], rng)
        return None

    def _is_in_one_part(self, region: Region) -> bool:
        if not self.min_coverage <= region.coverage <= self.max_coverage:
            return False
        height, width = region.mask.shape
        down, across = region.spread
        return down <= self.max_spread * height and across <= self.max_spread * width
