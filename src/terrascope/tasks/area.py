"""What is the area of the cropland? (paper, Section 4: Absolute Area Quantification)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from terrascope.quantities import format_area
from terrascope.tasks.options import even_values, scaled_values
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, choose_region, dates_in_random_order, find_regions
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "What is the area of {thing}{in_image}?",
    "What is the area of the {thing} in {image}?",
    "How large is the area of {thing} in {image}?",
    "What area {does} the {thing} cover{in_image}?",
    "What area {does} {thing} cover in {image}?",
    "What area is covered by {thing} in {image}?",
)
COVER_TEMPLATES = TEMPLATES[3:]
"""Those for what is called an area itself: nobody speaks of the area of developed areas."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """Asks for the area of a class on the ground: the sum of its pixels' areas. Needs a scale.

    Attributes:
        min_coverage: least share of the image of a class that is asked about.
        option_ratios: neighbouring options differ by a factor within these bounds.
        balanced: give options only where the truth can have any rank among them, each as likely; ask freely elsewhere.
        min_ratio: to which factor the bounds may shrink for that.
        weights: how much likelier each class is asked about; all the same where there are none.
    """

    name: str = "area"
    num_options: int = 4
    min_coverage: float = 0.01
    option_ratios: tuple[float, float] = (1.4, 2.2)
    balanced: bool = False
    min_ratio: float = 1.2
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
            thing = name_class(region.land_class, rng)
            templates = COVER_TEMPLATES if "area" in thing else TEMPLATES
            question = free_question(
                task=self.name,
                text=fill(templates, rng, date=date, num_dates=labelled.num_dates, thing=thing),
                num_dates=labelled.num_dates,
                steps=[(region, word_finding(region))],
                truth=format_area(region.area_m2),
                value=region.area_m2,
                unit="m2",
            )
            wrong = self._draw_wrong(region, rng) if with_options else None
            return question if wrong is None else pose(question, [format_area(value) for value in wrong], rng)
        return None

    def _draw_wrong(self, region: Region, rng: np.random.Generator) -> list[float] | None:
        num, ratios, whole_m2 = self.num_options - 1, self.option_ratios, region.survey.area_m2
        if not self.balanced:
            return scaled_values(region.area_m2, rng, num=num, ratios=ratios, high=whole_m2)
        return even_values(region.area_m2, rng, num=num, ratios=ratios, min_ratio=self.min_ratio, high=whole_m2)


def word_finding(region: Region) -> str:
    """What the reasoning finds of the class; only where the scale is known."""
    return f"{region.coverage_finding} The area is {format_area(region.area_m2)}."
