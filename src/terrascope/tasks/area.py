"""What is the area of the cropland? (paper, Section 4: Absolute Area Quantification)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from terrascope.quantities import format_area
from terrascope.tasks.options import scaled_values
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import choose_region, dates_in_random_order, find_regions
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "What is the area of {thing}{in_image}?",
    "What is the area of the {thing} in {image}?",
    "How large is the area of {thing} in {image}?",
    "How large {is_} the {thing}{in_image}?",
    "What area {does} {thing} cover in {image}?",
    "What area is covered by {thing} in {image}?",
)


@dataclass(frozen=True, kw_only=True)
class Area:
    """Asks for the area of a class on the ground: the sum of its pixels' areas. Needs a scale.

    Attributes:
        min_coverage: least share of the image of a class that is asked about.
        option_ratios: neighbouring options differ by a factor within these bounds.
        weights: how much likelier each class is asked about; all the same where there are none.
    """

    name: str = "area"
    num_options: int = 4
    min_coverage: float = 0.01
    option_ratios: tuple[float, float] = (1.4, 2.2)
    weights: Mapping[str, float] = field(default_factory=dict)

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        if labelled.pixel_size is None:
            return None
        for date in dates_in_random_order(labelled, rng):
            region = choose_region(
                find_regions(labelled, date),
                rng,
                min_coverage=self.min_coverage,
                absent_share=0.0,
                weights=self.weights,
            )
            if region is None:
                continue
            area = format_area(region.area_m2)
            question = free_question(
                task=self.name,
                text=fill(
                    TEMPLATES, rng, date=date, num_dates=labelled.num_dates, thing=name_class(region.land_class, rng)
                ),
                num_dates=labelled.num_dates,
                steps=[(region, f"{region.coverage_finding} The area is {area}.")],
                truth=area,
                value=region.area_m2,
                unit="m2",
            )
            if not with_options:
                return question
            wrong = scaled_values(
                region.area_m2,
                rng,
                num=self.num_options - 1,
                ratios=self.option_ratios,
                high=region.survey.area_m2,
            )
            return pose(question, [format_area(value) for value in wrong], rng)
        return None
