"""Is there any water in the image? (paper, Appendix E, task 1)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import choose_region, dates_in_random_order, find_regions
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "Is there any {thing} in {image}?",
    "{is_} {thing} present in {image}?",
    "Does {image} contain {thing}?",
    "Does {image} show any {thing}?",
    "Can any {thing} be seen in {image}?",
    "Can you see {thing} in {image}?",
)


@dataclass(frozen=True, kw_only=True)
class Existence:
    """Asks for the presence of a class.

    Attributes:
        min_coverage: a present class covers at least this share; a smaller trace of it is not asked about.
        absent_share: how often a class is asked for that is not there.
    """

    name: str = "existence"
    num_options: int = 2
    min_coverage: float = 0.005
    absent_share: float = 0.3

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        for date in dates_in_random_order(labelled, rng):
            region = choose_region(
                find_regions(labelled, date), rng, min_coverage=self.min_coverage, absent_share=self.absent_share
            )
            if region is None:
                continue
            truth, other = ("Yes", "No") if region.coverage else ("No", "Yes")
            thing = name_class(region.land_class, rng)
            question = free_question(
                task=self.name,
                text=fill(TEMPLATES, rng, date=date, num_dates=labelled.num_dates, thing=thing),
                steps=[region.step(labelled.num_dates, region.coverage_finding)],
                truth=truth,
            )
            return pose(question, [other], rng) if with_options else question
        return None
