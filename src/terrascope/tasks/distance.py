"""What is the distance between cropland and water? (paper, Section 4: Distance Measurement)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrascope.quantities import format_distance
from terrascope.tasks.options import scaled_values
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, dates_in_random_order, find_regions, pairs_in_random_order
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "What is the distance between {first} and {second}{in_image}?",
    "What is the distance between the {first} and the {second} in {image}?",
    "How far apart are {first} and {second}{in_image}?",
    "How far {is_} the {first} from the {second}{in_image}?",
    "What is the shortest distance between {first} and {second} in {image}?",
)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Asks for the least distance between two classes that do not touch. Needs a scale.

    Attributes:
        min_coverage: least share of the image of either class.
        min_distance_px: pairs whose pixels' centres come closer than this are not asked about.
        max_objects: classes in more pieces than this are not asked about: a speck would decide the distance.
        option_ratios: neighbouring options differ by a factor within these bounds.
    """

    name: str = "distance"
    num_options: int = 4
    min_coverage: float = 0.005
    min_distance_px: float = 3.0
    max_objects: int = 8
    option_ratios: tuple[float, float] = (1.5, 2.5)

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        if labelled.pixel_size is None:
            return None
        for date in dates_in_random_order(labelled, rng):
            regions = [
                region
                for region in find_regions(labelled, date)
                if region.coverage >= self.min_coverage and region.num_objects <= self.max_objects
            ]
            for first, second in pairs_in_random_order(regions, rng):
                if first.survey.are_apart(first, second, self.min_distance_px):
                    return self._ask_about(labelled, first, second, rng, with_options=with_options)
        return None

    def _ask_about(
        self,
        labelled: LabelledScene,
        first: Region,
        second: Region,
        rng: np.random.Generator,
        *,
        with_options: bool,
    ) -> Question | None:
        distance_m = first.survey.distance_m(first, second)
        num_dates = labelled.num_dates
        question = free_question(
            task=self.name,
            text=fill(
                TEMPLATES,
                rng,
                date=first.date,
                num_dates=num_dates,
                first=name_class(first.land_class, rng),
                second=name_class(second.land_class, rng),
            ),
            num_dates=num_dates,
            steps=list(zip((first, second), word_findings(first, second, distance_m), strict=True)),
            truth=format_distance(distance_m),
            value=distance_m,
            unit="m",
        )
        if not with_options:
            return question
        wrong = scaled_values(distance_m, rng, num=self.num_options - 1, ratios=self.option_ratios)
        return pose(question, [format_distance(value) for value in wrong], rng)


def word_findings(first: Region, second: Region, distance_m: float) -> tuple[str, str]:
    """What the reasoning finds of either class."""
    return first.coverage_finding, f"{second.coverage_finding} They are {format_distance(distance_m)} apart."
