"""Is there any water in the image? (paper, Appendix E, task 1)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from terrascope.tasks.question import LabelledScene, Question, free_question, pose
from terrascope.tasks.regions import Region, choose_region, dates_in_random_order, find_regions
from terrascope.tasks.wording import fill, name_class

TEMPLATES = (
    "{is_} there any {thing} in {image}?",
    "{is_} {thing} present in {image}?",
    "Does {image} contain any {thing}?",
    "Does {image} show any {thing}?",
    "Can any {thing} be seen in {image}?",
    "Can you see {thing} in {image}?",
)

RAREST = 0.01
"""Classes that fewer images show, or fail to show, are asked for as if it were so many."""


@dataclass(frozen=True, kw_only=True)
class Existence:
    """Asks for the presence of a class.

    Attributes:
        min_coverage: a present class covers at least this share; a smaller trace of it is not asked about.
        absent_share: how often a class is asked for that is not there.
        balanced: ask only where some classes are there and others are not, so that `absent_share` holds exactly.
        presence: for every date, the share of the images that show each class, where that is known; it takes the place
            of `balanced`. What is nearly everywhere is then asked for mostly where it is missing, and the other way
            round: `absent_share` holds for every class of a date by itself, as far as one class tells nothing of
            another. What all images of a date show, or none, is not asked for there.
    """

    name: str = "existence"
    num_options: int = 2
    min_coverage: float = 0.005
    absent_share: float = 0.3
    balanced: bool = False
    presence: Sequence[Mapping[str, float]] = ()

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        for date in dates_in_random_order(labelled, rng):
            region = self._choose(find_regions(labelled, date), rng)
            if region is None and self.presence:
                # A second chance would go mostly to classes that are there on both dates.
                return None
            if region is None:
                continue
            truth, other = ("Yes", "No") if region.coverage else ("No", "Yes")
            thing = name_class(region.land_class, rng)
            question = free_question(
                task=self.name,
                text=fill(TEMPLATES, rng, date=date, num_dates=labelled.num_dates, thing=thing),
                num_dates=labelled.num_dates,
                steps=[(region, region.coverage_finding)],
                truth=truth,
            )
            return pose(question, [other], rng) if with_options else question
        return None

    def _choose(self, regions: Sequence[Region], rng: np.random.Generator) -> Region | None:
        if self.presence:
            return self._choose_by_presence(regions, rng)
        if self.balanced:
            present = any(region.coverage >= self.min_coverage for region in regions)
            if not (present and any(not region.num_pixels for region in regions)):
                return None
        return choose_region(regions, rng, min_coverage=self.min_coverage, absent_share=self.absent_share)

    def _choose_by_presence(self, regions: Sequence[Region], rng: np.random.Generator) -> Region | None:
        """The first class in random order that is taken; the likelier its answer, the likelier it is passed over."""
        for place in rng.permutation(len(regions)):
            region = regions[int(place)]
            shares = self.presence[region.date] if region.date < len(self.presence) else {}
            share = shares.get(region.name, 0.0)
            if 0 < region.coverage < self.min_coverage or not 0 < share < 1:
                continue
            share = min(max(share, RAREST), 1 - RAREST)
            odds_of_yes = share / (1 - share) * self.absent_share / (1 - self.absent_share)
            if rng.random() * (odds_of_yes if region.num_pixels else 1 / odds_of_yes) < 1:
                return region
        return None
