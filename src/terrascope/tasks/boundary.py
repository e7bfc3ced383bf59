"""Does forest border water? (paper, Section 4: Boundary Relationship Detection; thresholds of Appendix D)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, dates_in_random_order, find_regions, pairs_in_random_order
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "{does} {first} border {second}{in_image}?",
    "{does} the {first} border the {second} in {image}?",
    "{does} {first} touch {second} in {image}?",
    "Do {first} and {second} touch{in_image}?",
    "Is there a boundary between {first} and {second} in {image}?",
    "Do {first} and {second} share a boundary in {image}?",
)


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Asks whether two classes share a boundary: one mask, dilated by a pixel, meets the other.

    Attributes:
        min_coverage: least share of the image of either class; 3 % in the paper.
        max_objects: classes in more pieces than this are not asked about; 5 in the paper.
        touching_share: how often a touching pair is looked for first. Most pairs touch; without this, "Yes" would
            nearly always be right.
        balanced: ask only where one pair touches and another does not, so that neither answer is the likelier one.
    """

    name: str = "boundary"
    num_options: int = 2
    min_coverage: float = 0.03
    max_objects: int = 5
    touching_share: float = 0.5
    balanced: bool = False

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        num_dates = labelled.num_dates
        for date in dates_in_random_order(labelled, rng):
            regions = [
                region
                for region in find_regions(labelled, date)
                if region.coverage >= self.min_coverage and region.num_objects <= self.max_objects
            ]
            wanted = bool(rng.random() < self.touching_share)
            pairs = [
                (first, second, first.survey.are_adjacent(first, second))
                for first, second in pairs_in_random_order(regions, rng)
            ]
            if not pairs or (self.balanced and len({touching for _, _, touching in pairs}) < 2):
                continue
            first, second, touching = next((pair for pair in pairs if pair[2] == wanted), pairs[0])
            truth, other = ("Yes", "No") if touching else ("No", "Yes")
            question = free_question(
                task=self.name,
                text=fill(
                    TEMPLATES,
                    rng,
                    date=date,
                    num_dates=num_dates,
                    first=name_class(first.land_class, rng),
                    second=name_class(second.land_class, rng),
                ),
                num_dates=num_dates,
                steps=list(zip((first, second), word_findings(first, second, touching=touching), strict=True)),
                truth=truth,
            )
            return pose(question, [other], rng) if with_options else question
        return None


def word_findings(first: Region, second: Region, *, touching: bool) -> tuple[str, str]:
    """What the reasoning finds of either class."""
    told = "They touch." if touching else "They do not touch."
    return first.coverage_finding, f"{second.coverage_finding} {told}"
