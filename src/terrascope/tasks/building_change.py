"""How many buildings were destroyed? (paper, Section 4: Building Change Estimation; thresholds of Appendix D)"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from terrascope.quantities import format_share
from terrascope.tasks.counting import count_distractors
from terrascope.tasks.options import even_integers, spaced_integers
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, find_objects, find_regions
from terrascope.trace import Tolerance

COUNT_TEMPLATES = (
    "How many buildings were destroyed?",
    "How many buildings were destroyed between the two images?",
    "How many of the buildings were destroyed by the disaster?",
    "Count the buildings that were destroyed.",
    "What is the number of destroyed buildings?",
)
SHARE_TEMPLATES = (
    "What percentage of buildings were destroyed?",
    "What percentage of the buildings was destroyed between the two images?",
    "What share of the buildings was destroyed?",
    "How large is the share of destroyed buildings?",
    "What percentage of the buildings was destroyed by the disaster?",
)


@dataclass(frozen=True, kw_only=True)
class BuildingChange:
    """Asks how many of the buildings of the first date, or what share of them, are destroyed on the last.

    Attributes:
        min_buildings, min_destroyed: fewer buildings than this are not asked about; 10 and 3 in the paper.
        count_share: how often the number is asked for, else the percentage.
        relative_gap: distance between options for the number, as a share of the truth; at least one building.
        gap_points: least distance between options for the percentage, in points.
        balanced: give options only where the truth can have any rank among them, each as likely; ask freely elsewhere.
        min_gap_points: to how many points the distance may shrink for that.
        tolerance: how far numbered buildings and a mask's components may differ in number.
    """

    name: str = "building_change"
    num_options: int = 4
    min_buildings: int = 10
    min_destroyed: int = 3
    count_share: float = 0.5
    relative_gap: float = 0.2
    gap_points: int = 8
    balanced: bool = False
    min_gap_points: int = 2
    tolerance: Tolerance = field(default_factory=Tolerance)

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        if labelled.num_dates < 2:
            return None
        before = self._find(labelled, 0, "building")
        after = self._find(labelled, labelled.num_dates - 1, "destroyed building")
        if before is None or after is None:
            return None
        (buildings, total), (ruins, destroyed) = before, after
        if total < self.min_buildings or not self.min_destroyed <= destroyed <= total:
            return None
        asks_count = bool(rng.random() < self.count_share)
        templates = COUNT_TEMPLATES if asks_count else SHARE_TEMPLATES
        share = format_share(destroyed / total)
        question = free_question(
            task=self.name,
            text=templates[int(rng.integers(len(templates)))],
            num_dates=labelled.num_dates,
            steps=list(zip((buildings, ruins), word_findings(total, destroyed), strict=True)),
            conclusion=word_conclusion(total, destroyed),
            truth=str(destroyed) if asks_count else share,
            value=float(destroyed) if asks_count else 100 * destroyed / total,
            unit="count" if asks_count else "%",
        )
        if not with_options:
            return question
        num = self.num_options - 1
        if asks_count:
            wrong = count_distractors(destroyed, rng, num=num, relative_gap=self.relative_gap, balanced=self.balanced)
        else:
            wrong = self._draw_shares(round(100 * destroyed / total), rng)
        if wrong is None:
            return question if self.balanced else None
        return pose(question, wrong, rng)

    def _draw_shares(self, percent: int, rng: np.random.Generator) -> list[str] | None:
        num, gap = self.num_options - 1, self.gap_points
        if self.balanced:
            values = even_integers(percent, rng, num=num, gap=gap, min_gap=self.min_gap_points, low=1, high=100)
        else:
            values = spaced_integers(percent, rng, num=num, gap=gap, low=1, high=100)
        return None if values is None else [f"{value}%" for value in values]

    def _find(self, labelled: LabelledScene, date: int, name: str) -> tuple[Region, int] | None:
        region = next((region for region in find_regions(labelled, date) if region.name == name), None)
        return None if region is None else find_objects(region, self.tolerance)


def word_findings(total: int, destroyed: int) -> tuple[str, str]:
    """What the reasoning finds of the buildings before, and of the destroyed ones."""
    return f"There are {total} buildings.", f"{destroyed} are destroyed."


def word_conclusion(total: int, destroyed: int) -> str:
    """What the reasoning concludes."""
    return f"So {format_share(destroyed / total)} of the buildings are destroyed."
