"""Semantic rules about what land is good for: farming, irrigation, building.

Each is a stated rule with two thresholds; between them the truth is too close to call, and nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from terrascope.quantities import format_distance, format_share
from terrascope.terracot.kinds import Kind
from terrascope.terracot.layout import Cover
from terrascope.terracot.level2.drafting import Desk, Draft, Pointed
from terrascope.terracot.nouns import capital, enumerate_words

ARABLE: tuple[Kind, ...] = ("crop", "grass")
OPEN: tuple[Kind, ...] = ("grass", "bare", "shrub")
BUILT: tuple[Kind, ...] = ("developed", "building")
WATER: tuple[Kind, ...] = ("water",)

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
        suitable: from this share on it does.
        unsuitable: up to this share it does not.
    """

    task: str = "semantic/farming"
    suitable: float = 0.45
    unsuitable: float = 0.2

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        if layout.known_share(date) < MIN_KNOWN or not layout.knows_kind(date, "crop"):
            return None
        arable = layout.of_kind(date, *ARABLE)
        share = total(arable)
        if self.unsuitable < share < self.suitable:
            return None
        suits = share >= self.suitable
        where = desk.in_image(date)
        others = tuple(cover for cover in layout.covers[date] if cover not in arable)
        steps = point_sizes(desk, arable, 2) + ([] if suits else point_sizes(desk, others, 2))
        if suits and desk.wording.chance(0.5):
            steps += self._point_at_water(desk, arable, date)
        if not steps:
            return None
        with_grass = any(cover.kind == "grass" for cover in arable)
        land = "cropland and grass make up" if with_grass else "cropland makes up"
        reason = f"{land} {format_share(share)} of the land, {'enough' if suits else 'too little'} for farming"
        return desk.draft_yes_no(
            task=self.task,
            holds=suits,
            asked=(
                f"is this region suitable for farming{where}?",
                f"judging by its land cover, is this a good place for agriculture{where}?",
                f"would this area{where} be suited to growing crops or grazing?",
            ),
            denied=(
                f"is this region unsuitable for farming{where}?",
                f"judging by its land cover, is this a poor place for agriculture{where}?",
                f"does this area{where} offer too little farmland or grass for farming?",
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
        near_m: water up to this distance is near enough; far_m: from this distance on it is too far.
        min_share: least share of the image of either.
        max_patches: in more patches than this, a speck would decide the distance.
    """

    task: str = "semantic/irrigation"
    near_m: float = 300.0
    far_m: float = 1000.0
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
            is_near = False
            reason = f"So there is no open water from which {field.the} could be irrigated."
        else:
            water = waters[0]
            if len(waters) > 1 or water.share < self.min_share or len(water.patches) > self.max_patches:
                return None
            distance_m = layout.distance_m(crop.region, water.region)
            if self.near_m < distance_m < self.far_m:
                return None
            is_near = distance_m <= self.near_m
            noun, distance = desk.noun(water), format_distance(distance_m)
            touching = layout.shared_sides(crop, water) > 0
            says = (
                f"{capital(noun.it)} {noun.verb('border')} {field.the}."
                if touching
                else f"{capital(noun.it)} {noun.is_} {distance} from {field.the}."
            )
            steps.append(desk.point(water, desk.say_share(water), says))
            reason = f"So the nearest water is {'close enough' if is_near else 'too far away'} for irrigation."
        where = desk.in_image(date)
        return desk.draft_yes_no(
            task=self.task,
            holds=is_near,
            asked=(
                f"could {field.the} be irrigated from open water nearby{where}?",
                f"is there open water close enough to irrigate {field.the}{where}?",
            ),
            denied=(
                f"{field.is_} {field.the} too far from open water to be irrigated{where}?",
                f"{field.does} {field.the} lack open water nearby for irrigation{where}?",
            ),
            steps=steps,
            conclusion=reason,
        )


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Asks whether built-up land has room to grow: open land (grass, shrubs, bare ground) beside it.

    Attributes:
        much, little: shares of the image of the open land that borders built-up land, from which it has and up to
            which it lacks room.
        min_share: least share of built-up land.
    """

    task: str = "semantic/urban_expansion"
    much: float = 0.25
    little: float = 0.08
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
        if self.little < share < self.much:
            return None
        has_room = share >= self.much
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
                f"is there room for {town.the} to expand onto open land{where}?",
                f"{town.does} {town.the} have potential to grow onto neighboring open land{where}?",
                f"could new housing be built on open land next to {town.the}{where}?",
            ),
            denied=(
                f"{town.does} {town.the} lack open land to expand onto{where}?",
                f"is the expansion of {town.the} hindered by a lack of open land{where}?",
            ),
            steps=steps,
            conclusion=f"So {open_land}, which leaves room to build."
            if has_room
            else f"So {open_land if share else 'no open land lies beside ' + town.the}, too little to build on.",
        )
