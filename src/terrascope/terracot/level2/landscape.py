"""Semantic rules about a landscape as a whole: its type, how far people have shaped it, how connected its forest is."""

from __future__ import annotations

from dataclasses import dataclass

from terrascope.quantities import format_share
from terrascope.terracot.kinds import MODIFIED, Kind
from terrascope.terracot.level2.drafting import Desk, Draft
from terrascope.terracot.level2.suitability import MIN_KNOWN, point_sizes, total, words_of
from terrascope.terracot.nouns import capital

TYPES: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("forest landscape", ("forest",)),
    ("farming landscape", ("crop",)),
    ("urban landscape", ("developed", "building", "ruin")),
    ("water landscape", ("water", "wetland", "flood")),
    ("open landscape of grass, shrubs or bare land", ("grass", "shrub", "bare")),
    ("snow landscape", ("snow",)),
)
"""Types of landscape, and the kinds of class that make them."""


@dataclass(frozen=True, kw_only=True)
class LandscapeType:
    """Asks for the type of the landscape: the group of kinds with the largest share.

    Attributes:
        min_share: least share of that group.
        min_lead: least lead over the next group, in shares of the image.
    """

    task: str = "semantic/landscape_type"
    min_share: float = 0.45
    min_lead: float = 0.12

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        if layout.known_share(date) < MIN_KNOWN:
            return None
        groups = [(name, layout.of_kind(date, *kinds)) for name, kinds in TYPES]
        groups.sort(key=lambda group: -total(group[1]))
        (name, covers), (_, next_covers) = groups[:2]
        share, next_share = total(covers), total(next_covers)
        if share < self.min_share or share - next_share < self.min_lead:
            return None
        where = desk.in_image(date)
        steps = point_sizes(desk, covers, 3) + point_sizes(desk, next_covers, 1)
        lead = f", well ahead of {words_of(desk, next_covers[:1])}" if next_share >= 0.01 else ""
        verb = "make up" if len(covers) > 1 else desk.noun(covers[0]).verb("make up")
        others = [other for other, _ in TYPES if other != name]
        return desk.draft(
            task=self.task,
            text=desk.pick_text(
                f"what type of landscape is this{where}?",
                f"which kind of landscape does {desk.image(date)} mainly show?",
                f"how would you classify the dominant landscape{where}?",
                f"what is the dominant type of land use or landscape{where}?",
            ),
            steps=steps,
            conclusion=f"So {words_of(desk, covers)} {verb} {format_share(share)} of the image{lead}.",
            truth=name,
            wrong=[others[int(index)] for index in desk.rng.permutation(len(others))[:3]],
        )


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Asks whether people have shaped most of the landscape: fields and everything built.

    Attributes:
        thresholds: shares of such land from which they have; the question states one.
        gap: least distance of the share from it.
    """

    task: str = "semantic/human_footprint"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    gap: float = 0.05

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        if layout.known_share(date) < MIN_KNOWN or not layout.knows_kind(date, "crop"):
            return None
        made = layout.of_kind(date, *MODIFIED)
        rest = tuple(cover for cover in layout.covers[date] if cover not in made)
        share = total(made)
        threshold = desk.draw_threshold(share, self.thresholds, gap=self.gap)
        if threshold is None:
            return None
        is_made, least = share >= threshold, f"at least {threshold:.0%}"
        where = desk.in_image(date)
        steps = point_sizes(desk, made, 3) + ([] if is_made else point_sizes(desk, rest, 2))
        if not steps:
            return None
        said = format_share(share)
        return desk.draft_yes_no(
            task=self.task,
            holds=is_made,
            asked=(
                f"is this landscape shaped by people{where}, if that takes {least} of farmed or built-up land?",
                f"does human use mark this landscape{where}: is {least} of the land farmed or built on?",
                f"is {least} of the land{where} farmed or built on?",
            ),
            denied=(
                f"is this landscape rather natural{where}: is less than {threshold:.0%} of it farmed or built on?",
                f"is less than {threshold:.0%} of the land{where} farmed or built on?",
            ),
            steps=steps,
            conclusion=f"So farmed and built-up land comes to {said} of the image, "
            f"which is {'' if is_made else 'not '}{least}."
            if share
            else "So there is neither farmed nor built-up land.",
        )


@dataclass(frozen=True, kw_only=True)
class Habitat:
    """Asks whether the forest is well connected as a habitat, by its largest patch and the number of patches.

    Attributes:
        thresholds: parts in one patch from which it is; the question states one.
        gap: least distance of the part from it.
        min_share: least share of the image of the forest.
    """

    task: str = "semantic/habitat"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    gap: float = 0.05
    min_share: float = 0.05

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        forests = [cover for cover in desk.layout.of_kind(date, "forest") if cover.share >= self.min_share]
        if len(forests) != 1 or total(desk.layout.of_kind(date, "forest")) > forests[0].share + 0.01:
            return None
        forest = forests[0]
        part, num = forest.largest_patch_share, len(forest.patches)
        threshold = desk.draw_threshold(part, self.thresholds, gap=self.gap)
        if threshold is None:
            return None
        is_connected, least = part >= threshold, f"at least {threshold:.0%}"
        noun, where = desk.noun(forest), desk.in_image(date)
        patches = f"{capital(noun.it)} {noun.verb('form')} {num} patch{'es' if num > 1 else ''}."
        if num > 1:
            patches += f" The largest holds {format_share(part)} of {noun.the}."
        return desk.draft_yes_no(
            task=self.task,
            holds=is_connected,
            asked=(
                f"{noun.is_} {noun.the} well connected as a habitat{where}, if {least} must be in one patch?",
                f"could forest animals move through {least} of {noun.the} without leaving {noun.them}{where}?",
                f"{noun.does} {noun.the} offer a continuous habitat{where}, with {least} in one patch?",
            ),
            denied=(
                f"{noun.is_} {noun.the} fragmented as a habitat{where}, if {least} must be in one patch?",
                f"would forest animals have to cross other land to use {least} of {noun.the}{where}?",
                f"{noun.is_} {noun.the} split up such that no patch holds {least} of {noun.them}{where}?",
            ),
            steps=[desk.point(forest, desk.say_share(forest), patches)],
            conclusion=f"So {noun.the} {noun.is_} {'a connected habitat' if is_connected else 'a fragmented habitat'}: "
            f"the largest patch holds {format_share(part)}, {'' if is_connected else 'not '}{least}.",
        )
