"""What percentage of the image is covered by water? (paper, Section 4: Coverage Percentage Analysis)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from terrascope.quantities import format_share
from terrascope.tasks.options import even_integers, spaced_integers
from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, choose_region, dates_in_random_order, find_regions
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "What percentage of {image} is covered by {thing}?",
    "How much of {image} {does} {thing} cover?",
    "How much of {image} is covered by {thing}?",
    "What share of {image} {does} {thing} cover?",
    "What percentage of {image} {does} {thing} cover?",
    "What is the coverage of {thing} in {image}?",
)
FLOOD_TEMPLATES = (
    "How much of {image} is flooded?",
    "What percentage of {image} is flooded?",
    "What share of {image} is under flood water?",
    "What percentage of {image} is covered by the flood?",
    "How much of {image} does the flood cover?",
)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Asks for the share of the image that a class covers: mask pixels / known pixels.

    Attributes:
        min_coverage: a present class covers at least this share; a smaller trace of it is not asked about.
        absent_share: how often a class is asked for that is not there.
        gap_points: least distance between options in percentage points.
        balanced: give options only where the truth can have any rank among them, each as likely; ask freely elsewhere.
        min_gap_points: to how many points the distance may shrink for that.
        only_class: ask about this class alone, on the last of at least two dates; None asks about all.
        templates: the wordings of the question.
        weights: how much likelier each class is asked about; all the same where there are none.
    """

    name: str = "coverage"
    num_options: int = 4
    min_coverage: float = 0.005
    absent_share: float = 0.3
    gap_points: int = 8
    balanced: bool = False
    min_gap_points: int = 2
    only_class: str | None = None
    templates: tuple[str, ...] = TEMPLATES
    weights: Mapping[str, float] = field(default_factory=dict)

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        if self.only_class is not None and labelled.num_dates < 2:
            return None
        dates = dates_in_random_order(labelled, rng) if self.only_class is None else iter([labelled.num_dates - 1])
        for date in dates:
            regions = find_regions(labelled, date)
            if self.only_class is not None:
                regions = tuple(region for region in regions if region.name == self.only_class)
            region = choose_region(
                regions, rng, min_coverage=self.min_coverage, absent_share=self.absent_share, weights=self.weights
            )
            if region is not None:
                return self._ask_about(labelled, region, rng, with_options=with_options)
        return None

    def _ask_about(
        self, labelled: LabelledScene, region: Region, rng: np.random.Generator, *, with_options: bool
    ) -> Question | None:
        thing = name_class(region.land_class, rng)
        question = free_question(
            task=self.name,
            text=fill(self.templates, rng, date=region.date, num_dates=labelled.num_dates, thing=thing),
            num_dates=labelled.num_dates,
            steps=[(region, region.coverage_finding)],
            truth=format_share(region.coverage),
            value=100 * region.coverage,
            unit="%",
        )
        if not with_options:
            return question
        percent = 0 if region.coverage < 0.01 else round(100 * region.coverage)
        low = 0 if region.coverage < 0.01 else 1
        num, gap = self.num_options - 1, self.gap_points
        if self.balanced:
            wrong = even_integers(percent, rng, num=num, gap=gap, min_gap=self.min_gap_points, low=low, high=100)
            return question if wrong is None else pose(question, [f"{value}%" for value in wrong], rng)
        wrong = spaced_integers(percent, rng, num=num, gap=gap, low=low, high=100)
        return None if wrong is None else pose(question, [f"{value}%" for value in wrong], rng)


FLOOD = Coverage(name="flood", only_class="flood", templates=FLOOD_TEMPLATES)
"""The share that is flooded on the last date."""
