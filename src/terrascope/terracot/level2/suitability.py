"""Semantic rules about what land is good for: farming, irrigation, building.

Each is a rule with a threshold that the question states, drawn such that neither answer is the likelier one; where the
truth is too close to call, nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from terrascope.quantities import format_distance, format_share
from terrascope.terracot.kinds import Kind
from terrascope.terracot.layout import Cover
from terrascope.terracot.level2.drafting import ONE_SIDED_SHARE, Desk, Draft, Pointed
from terrascope.terracot.nouns import capital, enumerate_words

ARABLE: tuple[Kind, ...] = ("crop", "grass")
OPEN: tuple[Kind, ...] = ("grass", "bare", "shrub")
BUILT: tuple[Kind, ...] = ("developed", "building")
WATER: tuple[Kind, ...] = ("water",)

DISTANCES_M = (20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 500.0, 700.0, 1000.0, 1500.0, 2000.0)
"""Distances that questions name as near enough."""

MIN_KNOWN = 0.85
"""Least share of the image whose class is named, for a rule to speak of the whole landscape."""


def total(covers: tuple[Cover, ...]) -> float:
    """What several classes cover together (0-1)."""
    return sum(cover.share for cover in covers)


def point_sizes(desk: Desk, covers: tuple[Cover, ...], num: int = 3) -> list[Pointed]:
    """Steps that point at the largest of the classes and say how large they are."""
    return [desk.point(cover, desk.say_share(cover)) for cover in covers[:num] if cover.share >= 0.01]


def words_of(desk: Desk, covers: tuple[Cover, ...]) -> str:
    return enumerate_words([desk.noun(cover).text for cover in covers])


@dataclass(frozen=True, kw_only=True)
class Farming:
    """Asks whether a region suits farming: by the share of cropland and grass, the land that can be tilled or grazed.

    Attributes:
        thresholds: shares from which it does; the question states one.
        gap: least distance of the share from it.
    """

    task: str = "semantic/farming"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    gap: float = 0.05

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        if layout.known_share(date) < MIN_KNOWN or not layout.knows_kind(date, "crop"):
            return None
        arable = layout.of_kind(date, *ARABLE)
        share = total(arable)
        threshold = desk.draw_threshold(share, self.thresholds, gap=self.gap)
        if threshold is None:
            return None
        suits, least = share >= threshold, f"{threshold:.0%}"
        where = desk.in_image(date)
        others = tuple(cover for cover in layout.covers[date] if cover not in arable)
        steps = point_sizes(desk, arable, 2) + ([] if suits else point_sizes(desk, others, 2))
        if suits and desk.wording.chance(0.5):
            steps += self._point_at_water(desk, arable, date)
        if not steps:
            return None
        with_grass = any(cover.kind == "grass" for cover in arable)
        land = "cropland and grass make up" if with_grass else "cropland makes up"
        reason = f"{land} {format_share(share)} of the land, {'at least' if suits else 'less than'} {least}"
        return desk.draft_yes_no(
            task=self.task,
            holds=suits,
            asked=(
                f"is this region suitable for farming{where}, if that takes at least {least} of cropland and grass?",
                f"is this a good place for agriculture{where}, if cropland and grass must make up at least {least}?",
                f"would this area{where} be suited to growing crops or grazing, if at least {least} of it must be "
                "cropland or grass?",
            ),
            denied=(
                f"is this region unsuitable for farming{where}, if that takes at least {least} of cropland and grass?",
                f"is this a poor place for agriculture{where}, if cropland and grass must make up at least {least}?",
                f"does this area{where} offer too little cropland and grass to farm, if at least {least} is needed?",
            ),
            steps=steps,
            conclusion=f"So {reason if share else 'there is neither cropland nor grass'}.",
        )

    def _point_at_water(self, desk: Desk, arable: tuple[Cover, ...], date: int) -> list[Pointed]:
        """Water that borders the farmland shown last helps; that it is there is no condition."""
        waters = desk.layout.of_kind(date, *WATER)
        if not waters or waters[0].share < 0.01 or not desk.layout.shared_sides(waters[0], arable[0]):
            return []
        noun, field = desk.noun(waters[0]), desk.noun(arable[0])
        return [
            desk.point(
                waters[0],
                f"{capital(noun.it)} {noun.verb('border')} {field.the}, which helps with irrigation.",
            )
        ]


@dataclass(frozen=True, kw_only=True)
class Irrigation:
    """Asks whether cropland could be irrigated from open water nearby. Needs a scale.

    Attributes:
        thresholds_m: distances up to which water is near enough; the question states one.
        ratio: the distance is at least so many times as large or as small.
        min_share: least share of the image of either.
        max_patches: in more patches than this, a speck would decide the distance.
    """

    task: str = "semantic/irrigation"
    thresholds_m: tuple[float, ...] = DISTANCES_M
    ratio: float = 1.3
    min_share: float = 0.02
    max_patches: int = 200

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        crops = [cover for cover in layout.of_kind(date, "crop") if cover.share >= self.min_share]
        if not crops or not layout.has_scale or not layout.knows_kind(date, "water"):
            return None
        waters = layout.of_kind(date, *WATER)
        crop = crops[0]
        field = desk.noun(crop)
        steps = [desk.point(crop, desk.say_share(crop))]
        if not waters:
            threshold_m = desk.wording.pick(*self.thresholds_m) if desk.wording.chance(ONE_SIDED_SHARE) else None
            is_near = False
            reason = f"So there is no open water from which {field.the} could be irrigated."
        else:
            water = waters[0]
            if len(waters) > 1 or water.share < self.min_share or len(water.patches) > self.max_patches:
                return None
            distance_m = layout.distance_m(crop.region, water.region)
            threshold_m = desk.draw_threshold(distance_m, self.thresholds_m, ratio=self.ratio)
            is_near = threshold_m is not None and distance_m <= threshold_m
            noun, distance = desk.noun(water), format_distance(distance_m)
            touching = layout.shared_sides(crop, water) > 0
            says = (
                f"{capital(noun.it)} {noun.verb('border')} {field.the}."
                if touching
                else f"{capital(noun.it)} {noun.is_} {distance} from {field.the}."
            )
            steps.append(desk.point(water, desk.say_share(water), says))
            reason = f"So the nearest water is {'close enough' if is_near else 'too far away'} for irrigation."
        if threshold_m is None:
            return None
        where, within = desk.in_image(date), f"within {format_distance(threshold_m)}"
        return desk.draft_yes_no(
            task=self.task,
            holds=is_near,
            asked=(
                f"could {field.the} be irrigated from open water {within}{where}?",
                f"is there open water {within} to irrigate {field.the}{where}?",
            ),
            denied=(
                f"{field.is_} {field.the} too far from open water to be irrigated{where}, if it must lie {within}?",
                f"{field.does} {field.the} lack open water {within} for irrigation{where}?",
            ),
            steps=steps,
            conclusion=reason,
        )


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Asks whether built-up land has room to grow: open land (grass, shrubs, bare ground) beside it.

    Attributes:
        thresholds: shares of the image of the open land that borders built-up land from which it has room; the question
            states one.
        gap: least distance of the share from it.
        min_share: least share of built-up land.
    """

    task: str = "semantic/urban_expansion"
    thresholds: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    gap: float = 0.03
    min_share: float = 0.02

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        if layout.known_share(date) < MIN_KNOWN:
            return None
        built = [cover for cover in layout.of_kind(date, "developed") if cover.share >= self.min_share]
        if not built:
            return None
        town = desk.noun(built[0])
        beside = tuple(cover for cover in layout.of_kind(date, *OPEN) if layout.shared_sides(cover, built[0]))
        share = total(beside)
        threshold = desk.draw_threshold(share, self.thresholds, gap=self.gap)
        if threshold is None:
            return None
        has_room, least = share >= threshold, f"at least {threshold:.0%} of the image"
        steps = [desk.point(built[0], desk.say_share(built[0]))]
        if has_room:
            steps += [
                desk.point(cover, desk.say_share(cover), f"{capital(desk.noun(cover).it)} "
                           f"{desk.noun(cover).verb('border')} {town.the}.")
                for cover in beside[:3] if cover.share >= 0.01
            ]  # fmt: skip
        else:
            taken = tuple(c for c in layout.covers[date] if c not in beside and c is not built[0])
            steps += point_sizes(desk, taken, 2)
        where = desk.in_image(date)
        open_land = f"open land beside {town.the} comes to {format_share(share)} of the image"
        return desk.draft_yes_no(
            task=self.task,
            holds=has_room,
            asked=(
                f"is there room for {town.the} to expand{where}, if that takes open land beside {town.them} on "
                f"{least}?",
                f"{town.does} {town.the} have potential to grow{where}, if open land beside {town.them} must cover "
                f"{least}?",
                f"could new housing be built next to {town.the}{where}, if that takes open land on {least}?",
            ),
            denied=(
                f"{town.does} {town.the} lack open land to expand onto{where}, if {least} is needed beside "
                f"{town.them}?",
                f"is the expansion of {town.the} hindered{where}, if open land beside {town.them} must cover {least}?",
            ),
            steps=steps,
            conclusion=f"So {open_land}, which is {'' if has_room else 'not '}{least}."
            if share
            else f"So there is no open land beside {town.the} to build on.",
        )
