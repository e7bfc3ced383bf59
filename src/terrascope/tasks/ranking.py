"""Which is larger, water or crop? (paper, Section 4: Comparative Area Ranking)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrascope.quantities import format_share
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, dates_in_random_order, find_regions, pairs_in_random_order
from terrascope.tasks.wording import fill

TEMPLATES = (
    "Which is larger{in_image}, {first} or {second}?",
    "Which covers more of {image}, {first} or {second}?",
    "Which has the larger area in {image}, {first} or {second}?",
    "Which is more extensive in {image}, {first} or {second}?",
    "Which of the two covers a larger share of {image}, {first} or {second}?",
)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Asks which of two classes covers more of the image.

    Attributes:
        min_coverage: least share of the image of either class.
        min_ratio: pairs whose areas differ by less than this factor are dropped.
    """

    name: str = "ranking"
    num_options: int = 2
    min_coverage: float = 0.01
    min_ratio: float = 1.25

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        num_dates = labelled.num_dates
        for date in dates_in_random_order(labelled, rng):
            regions = [region for region in find_regions(labelled, date) if region.coverage >= self.min_coverage]
            for first, second in pairs_in_random_order(regions, rng):
                smaller, larger = sorted((first, second), key=lambda region: region.coverage)
                if not self.can_tell(smaller, larger):
                    continue
                question = free_question(
                    task=self.name,
                    text=fill(
                        TEMPLATES,
                        rng,
                        date=date,
                        num_dates=num_dates,
                        # The answer is one of the two words.
                        first=first.name,
                        second=second.name,
                    ),
                    num_dates=num_dates,
                    steps=[(region, region.coverage_finding) for region in (first, second)],
                    conclusion=word_conclusion(larger),
                    truth=larger.name,
                )
                return pose(question, [smaller.name], rng) if with_options else question
        return None

    def can_tell(self, smaller: Region, larger: Region) -> bool:
        """True if the areas differ by enough, and still do once they are written as whole percentages."""
        enough = larger.coverage >= self.min_ratio * smaller.coverage
        return enough and format_share(larger.coverage) != format_share(smaller.coverage)


def word_conclusion(larger: Region) -> str:
    """What the reasoning concludes."""
    return f"So the {larger.name} is larger."
