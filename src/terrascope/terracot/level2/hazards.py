"""Semantic rules about floods and damage: what lies near water, how bad it is, what it hits."""

from __future__ import annotations

from dataclasses import dataclass, field

from terrascope import masks
from terrascope.quantities import format_distance, format_share
from terrascope.tasks.regions import find_objects
from terrascope.terracot.layout import Cover
from terrascope.terracot.level2.drafting import ONE_SIDED_SHARE, Desk, Draft, Pointed
from terrascope.terracot.level2.suitability import BUILT, DISTANCES_M, WATER
from terrascope.terracot.nouns import capital
from terrascope.trace import Tolerance


@dataclass(frozen=True, kw_only=True)
class FloodExposure:
    """Asks whether built-up land is exposed to floods, by its distance from open water. Needs a scale.

    Attributes:
        thresholds_m: distances up to which it is; the question states one.
        ratio: the distance is at least so many times as large or as small.
        min_share: least share of the image of either.
        max_patches: in more patches than this, a speck would decide the distance.
    """

    task: str = "semantic/flood_exposure"
    thresholds_m: tuple[float, ...] = DISTANCES_M
    ratio: float = 1.3
    min_share: float = 0.01
    max_patches: int = 200

    def draft(self, desk: Desk) -> Draft | None:
        layout, date = desk.layout, desk.draw_date()
        built = [cover for cover in layout.of_kind(date, *BUILT) if cover.share >= self.min_share]
        waters = layout.of_kind(date, *WATER)
        if not built or not layout.has_scale or not layout.knows_kind(date, "water"):
            return None
        town = desk.wording.pick(*built)
        noun = desk.noun(town)
        steps = [desk.point(town, desk.say_share(town))]
        if not waters:
            threshold_m = desk.wording.pick(*self.thresholds_m) if desk.wording.chance(ONE_SIDED_SHARE) else None
            is_exposed, reason = False, "there is no open water that could flood the place"
        else:
            water = waters[0]
            if len(waters) > 1 or water.share < self.min_share or len(water.patches) > self.max_patches:
                return None
            distance_m = layout.distance_m(town.region, water.region)
            threshold_m = desk.draw_threshold(distance_m, self.thresholds_m, ratio=self.ratio)
            is_exposed = threshold_m is not None and distance_m <= threshold_m
            wet = desk.noun(water)
            touching = layout.shared_sides(town, water) > 0
            says = (
                f"{capital(wet.it)} {wet.verb('border')} {noun.the}."
                if touching
                else f"{capital(wet.it)} {wet.is_} {format_distance(distance_m)} from {noun.the}."
            )
            steps.append(desk.point(water, desk.say_share(water), says))
            reason = f"{noun.the} {noun.verb('come') if is_exposed else noun.does + ' not come'} so close to open water"
        if threshold_m is None:
            return None
        where, within = desk.in_image(date), f"within {format_distance(threshold_m)} of open water"
        return desk.draft_yes_no(
            task=self.task,
            holds=is_exposed,
            asked=(
                f"{noun.is_} {noun.the} exposed to flooding{where}, if whatever lies {within} is?",
                f"would rising water threaten {noun.the}{where}, if it reaches what lies {within}?",
                f"{noun.is_} any of {noun.the} {within}, where a flood could reach {noun.them}{where}?",
            ),
            denied=(
                f"{noun.is_} {noun.the} safe from floods{where}, if whatever lies {within} is not?",
                f"{noun.does} {noun.the} keep a safe distance{where}, if nothing {within} is safe?",
            ),
            steps=steps,
            conclusion=f"So {reason}.",
        )


@dataclass(frozen=True, kw_only=True)
class FloodSeverity:
    """Asks how severe a flood is, by the share of the image under flood water.

    Attributes:
        cuts: shares that part minor, moderate, severe and extreme floods.
        margin: a share that lies nearer to a cut, relative to it, is not asked about.
    """

    task: str = "semantic/flood_severity"
    cuts: tuple[float, float, float] = (0.05, 0.2, 0.45)
    margin: float = 0.15
    min_share: float = 0.005

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        floods = [cover for cover in desk.layout.of_kind(date, "flood") if cover.share >= self.min_share]
        if len(floods) != 1:
            return None
        flood = floods[0]
        level = grade(flood.share, self.cuts, self.margin)
        if level is None:
            return None
        names = ("minor flood", "moderate flood", "severe flood", "extreme flood")
        noun, (low, middle, high) = desk.noun(flood), self.cuts
        return desk.draft(
            task=self.task,
            text=desk.pick_text(
                f"how severe is the flood{desk.in_image(date)}, if up to {low:.0%} of the image under water is minor, "
                f"up to {middle:.0%} moderate, up to {high:.0%} severe and more extreme?",
                f"grade the flood{desk.in_image(date)}: minor (up to {low:.0%} of the image), moderate (up to "
                f"{middle:.0%}), severe (up to {high:.0%}) or extreme?",
            ),
            steps=[desk.point(flood, desk.say_share(flood, area=True))],
            conclusion=f"So with {format_share(flood.share)} under {noun.text}, this is "
            f"{'an' if names[level][0] == 'e' else 'a'} {names[level]}.",
            truth=names[level],
            wrong=[name for name in names if name != names[level]],
        )


@dataclass(frozen=True, kw_only=True)
class FloodEffect:
    """Asks which land cover of the first date a flood on the last hits most.

    Attributes:
        min_flood: least share of the image of the flood.
        min_part: least part of the flood on that land cover.
        min_lead: it is at least so many times as much as on the next.
    """

    task: str = "semantic/flood_effect"
    min_flood: float = 0.02
    min_part: float = 0.35
    min_lead: float = 1.3

    def draft(self, desk: Desk) -> Draft | None:
        layout, last = desk.layout, desk.layout.num_dates - 1
        if not last:
            return None
        flood = next((cover for cover in layout.of_kind(last, "flood") if cover.share >= self.min_flood), None)
        before = layout.covers[0]
        if flood is None or len(before) < 2:
            return None
        hit = sorted(
            ((masks.count(flood.mask & cover.mask), cover) for cover in before if cover.kind != "flood"),
            key=lambda entry: -entry[0],
        )
        if not hit or hit[0][0] < self.min_part * flood.num_pixels:
            return None
        num, cover = hit[0]
        if len(hit) > 1 and num < self.min_lead * hit[1][0]:
            return None
        wet, noun = desk.noun(flood), desk.noun(cover)
        part = num / flood.num_pixels
        return desk.draft(
            task=self.task,
            text=desk.pick_text(
                "which land cover of the first image is hit most by the flood?",
                "what was there before on most of the flooded land?",
                "which land cover loses the most ground to the flood between the images?",
                "on which land cover of the first image does most of the flood water stand later?",
            ),
            steps=[
                desk.point(flood, desk.say_share(flood)),
                Pointed(
                    mask=flood.mask & cover.mask,
                    class_name=cover.name,
                    date=0,
                    lead=f"The {noun.text} that {noun.verb('get')} flooded:",
                    finding=f"That is {format_share(part)} of {wet.the}.",
                ),
            ],
            conclusion=f"So {noun.the} {noun.is_} hit most.",
            truth=noun.text,
            wrong=desk.other_classes(cover, 0, 3, [entry[1] for entry in hit[1:]]),
        )


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Asks how badly buildings are damaged: by the share of the first date's buildings that is destroyed on the last.

    Attributes:
        min_buildings: fewer are not asked about.
        cuts: shares that part light, moderate and severe damage.
        margin: a share that lies nearer to a cut, relative to it, is not asked about.
        tolerance: how far numbered buildings and a mask's components may differ in number.
    """

    task: str = "semantic/damage"
    min_buildings: int = 4
    cuts: tuple[float, float] = (0.2, 0.5)
    margin: float = 0.15
    tolerance: Tolerance = field(default_factory=Tolerance)

    def draft(self, desk: Desk) -> Draft | None:
        layout, last = desk.layout, desk.layout.num_dates - 1
        houses = next(iter(layout.of_kind(0, "building")), None)
        if not last or houses is None or not layout.knows_kind(last, "ruin"):
            return None
        standing = find_objects(houses.region, self.tolerance)
        ruins = next(iter(layout.of_kind(last, "ruin")), None)
        ruined = find_objects(ruins.region, self.tolerance) if ruins else None
        if standing is None or standing[1] < self.min_buildings or (ruins and (ruined is None or not ruined[1])):
            return None
        share = ruined[1] / standing[1] if ruined else 0.0
        level = grade(share, self.cuts, self.margin) if ruined else -1
        if level is None or share > 1:
            return None
        names = ("no damage", "light damage", "moderate damage", "severe damage")
        truth = names[level + 1]
        light, severe = self.cuts
        steps = [self._point(desk, houses, standing[0].mask, f"There are {standing[1]} buildings.")]
        if ruins and ruined:
            are = "is" if ruined[1] == 1 else "are"
            steps.append(self._point(desk, ruins, ruined[0].mask, f"{ruined[1]} {are} destroyed."))
            conclusion = f"So {format_share(share)} of the buildings are destroyed, which is {truth}."
        else:
            conclusion = "So not one of them is destroyed."
        return desk.draft(
            task=self.task,
            text=desk.pick_text(
                f"how bad is the damage, if up to {light:.0%} of the buildings destroyed is light, up to {severe:.0%} "
                "moderate and more severe?",
                f"grade the damage to the buildings: none, light (up to {light:.0%} destroyed), moderate (up to "
                f"{severe:.0%}) or severe?",
            ),
            steps=steps,
            conclusion=conclusion,
            truth=truth,
            wrong=[name for name in names if name != truth],
        )

    def _point(self, desk: Desk, cover: Cover, mask: masks.Mask, finding: str) -> Pointed:
        lead = f"{capital(desk.noun(cover).the)}:"
        return Pointed(mask=mask, class_name=cover.name, date=cover.date, lead=lead, finding=finding)


def grade(share: float, cuts: tuple[float, ...], margin: float) -> int | None:
    """The grade of a share: the number of cuts below it; None where it lies too near to one."""
    if any(abs(share - cut) < margin * cut for cut in cuts):
        return None
    return sum(share > cut for cut in cuts)
