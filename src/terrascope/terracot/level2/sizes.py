"""Spatial rules about sizes: ratio of two classes, largest and smallest, ranking of three, several together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from terrascope import spatial
from terrascope.quantities import format_area, format_share
from terrascope.tasks.options import even_integers, even_values
from terrascope.terracot.layout import Cover
from terrascope.terracot.level2.drafting import MIN_SHARE, Desk, Draft, are_clear
from terrascope.terracot.nouns import enumerate_words


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Asks how many times as large as another a class is.

    Attributes:
        min_share: least share of the image of either class: below, rounding would decide the ratio.
        ratios: least and largest ratio that is asked about.
        rounding: how far the ratio of the shares as they are stated, in whole percent, may lie from the true one.
        option_ratios: neighbouring options differ by a factor within these bounds.
        min_option_ratio: to which factor the bounds may shrink for the truth to have any rank among the options.
    """

    task: str = "spatial/ratio"
    rounding: float = 0.05
    min_share: float = 0.04
    ratios: tuple[float, float] = (1.3, 20.0)
    option_ratios: tuple[float, float] = (1.4, 2.0)
    min_option_ratio: float = 1.2

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        for pair in desk.groups(desk.large(date, self.min_share), 2):
            large, small = sorted(pair, key=lambda cover: -cover.share)
            ratio = spatial.ratio(large.mask, small.mask, desk.layout.labelled.pixel_size)
            # Who reckons with the stated shares must come to the same.
            stated = round(100 * large.share) / round(100 * small.share)
            if not self.ratios[0] <= ratio <= self.ratios[1] or abs(stated - ratio) > self.rounding * ratio:
                continue
            a, b = desk.noun(large), desk.noun(small)
            where = desk.in_image(date)
            truth = _times(ratio)
            steps = [desk.point(cover, desk.say_share(cover, area=True)) for cover in pair]
            # Nothing below 1, as the question says which is larger.
            wrong = even_values(
                ratio, desk.rng, num=3, ratios=self.option_ratios, min_ratio=self.min_option_ratio, low=1.1
            )
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"how many times as large as {b.the} {a.is_} {a.the}{where}?",
                    f"by what factor {a.does} {a.the} exceed {b.the} in size{where}?",
                    f"how many times does the size of {b.the} fit into that of {a.the}{where}?",
                    f"what is the ratio of {a.text} to {b.text}{where}?",
                ),
                steps=steps,
                conclusion=desk.wording.pick(
                    f"So {a.the} {a.is_} {truth} as large as {b.the}.",
                    f"Thus the size of {a.the} is {truth} that of {b.the}.",
                    f"Therefore the ratio of {a.text} to {b.text} is {truth.removesuffix(' times')}.",
                ),
                truth=truth,
                wrong=[_times(wrong) for wrong in wrong or ()],
                value=ratio,
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Extreme:
    """Asks which of three classes is the largest, or the smallest.

    Attributes:
        min_ratio: the sizes of the three differ by at least this factor.
    """

    largest: bool
    min_share: float = MIN_SHARE
    min_ratio: float = 1.2

    @property
    def task(self) -> str:
        return "spatial/largest" if self.largest else "spatial/smallest"

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        for group in desk.groups(desk.large(date, self.min_share), 3):
            if not are_clear(*(cover.share for cover in group), ratio=self.min_ratio):
                continue
            ordered = sorted(group, key=lambda cover: -cover.share if self.largest else cover.share)
            noun = desk.noun(ordered[0])
            words = [desk.noun(cover).text for cover in group]
            listed = f"{', '.join(words[:-1])} or {words[-1]}"
            which, more = ("largest", "most") if self.largest else ("smallest", "least")
            image = desk.image(date)
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"which covers the {which} part of {image}: {listed}?",
                    f"which of {enumerate_words(words)} has the {which} share of {image}?",
                    f"of {enumerate_words(words)}, which one takes up {more} of {image}?",
                    f"compare {enumerate_words(words)} in {image}: which is the {which}?",
                ),
                steps=[desk.point(cover, desk.say_share(cover)) for cover in group],
                conclusion=desk.wording.pick(
                    f"So {noun.the} {noun.has} the {which} share of the three.",
                    f"Thus {noun.the} {noun.is_} the {which} of the three.",
                ),
                truth=noun.text,
                wrong=[desk.noun(cover).text for cover in ordered[1:]],
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Asks for the order of three classes by size.

    Attributes:
        min_ratio: neighbours in the order differ by at least this factor.
    """

    task: str = "spatial/ranking"
    min_share: float = MIN_SHARE
    min_ratio: float = 1.2

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        for group in desk.groups(desk.large(date, self.min_share), 3):
            if not are_clear(*(cover.share for cover in group), ratio=self.min_ratio):
                continue
            ordered = sorted(group, key=lambda cover: -cover.share)
            names = [desk.noun(cover).text for cover in ordered]
            orders = [", ".join(order) for order in permutations(names) if list(order) != names]
            words = enumerate_words([desk.noun(cover).text for cover in group])
            image = desk.image(date)
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"rank {words} by their share of {image}, the largest first.",
                    f"in which order do {words} come by size in {image}, from largest to smallest?",
                    f"sort {words} from the most to the least extensive in {image}.",
                ),
                steps=[desk.point(cover, desk.say_share(cover)) for cover in group],
                conclusion=f"So the order is {', '.join(_describe_order(desk, ordered))}.",
                truth=", ".join(names),
                wrong=[orders[int(index)] for index in desk.rng.permutation(len(orders))[:3]],
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Asks what two or three classes cover together: as a share of the image, or on the ground.

    Attributes:
        gap_points: distance between options in percentage points; min_gap_points: to which it may shrink for the
            truth to have any rank among them.
        option_ratios: neighbouring options for areas differ by a factor within these bounds.
        max_share, max_area_share: largest share of the image that is asked about, and largest whose area is: above it,
            three larger areas would not fit into the image, and the truth would always be among the largest options.
    """

    areas: bool
    min_share: float = MIN_SHARE
    gap_points: int = 7
    min_gap_points: int = 2
    option_ratios: tuple[float, float] = (1.22, 1.45)
    max_share: float = 0.93
    max_area_share: float = 0.5

    @property
    def task(self) -> str:
        return "spatial/combined_area" if self.areas else "spatial/combined_share"

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        covers = desk.large(date, self.min_share)
        if self.areas and not desk.layout.has_scale:
            return None
        groups = desk.groups(covers, 2 if len(covers) < 4 or desk.wording.chance(0.6) else 3)
        limit = self.max_area_share if self.areas else self.max_share
        group = next((g for g in groups if sum(cover.share for cover in g) <= limit and _adds_up(g)), None)
        return None if group is None else self._ask_about(desk, group)

    def _ask_about(self, desk: Desk, group: tuple[Cover, ...]) -> Draft | None:
        date = group[0].date
        share, area_m2 = sum(cover.share for cover in group), sum(cover.area_m2 or 0.0 for cover in group)
        words, where = enumerate_words([desk.noun(cover).text for cover in group]), desk.in_image(date)
        steps = [desk.point(cover, desk.say_share(cover, area=self.areas)) for cover in group]
        if self.areas:
            whole_m2 = group[0].region.survey.area_m2
            wrong_m2 = even_values(
                area_m2, desk.rng, num=3, ratios=self.option_ratios, min_ratio=self.option_ratios[0], high=whole_m2
            )
            truth, wrong = format_area(area_m2), [format_area(value) for value in wrong_m2 or ()]
            texts = (
                f"what is the total area of {words}{where}?",
                f"how large is the area that {words} cover together{where}?",
                f"add up the areas of {words}{where}: how large is their total area?",
            )
        else:
            values = even_integers(
                round(100 * share), desk.rng, num=3, gap=self.gap_points, min_gap=self.min_gap_points, low=1, high=100
            )
            truth, wrong = format_share(share), [f"{value}%" for value in values or ()]
            image = desk.image(date)
            texts = (
                f"what percentage of {image} do {words} cover together?",
                f"how much of {image} do {words} take up in total?",
                f"what is the combined share of {words} in {image}?",
            )
        return desk.draft(
            task=self.task,
            text=desk.pick_text(*texts),
            steps=steps,
            conclusion=desk.wording.pick(
                f"So together they come to {truth}.",
                f"Thus {words} cover {truth} together.",
                f"So the total is {truth}.",
            ),
            truth=truth,
            wrong=wrong,
            value=area_m2 if self.areas else 100 * share,
            unit="m2" if self.areas else "%",
        )


def _adds_up(group: tuple[Cover, ...]) -> bool:
    """True if the shares as they are stated, in whole percent, add up to the stated sum."""
    return sum(round(100 * cover.share) for cover in group) == round(100 * sum(cover.share for cover in group))


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def _describe_order(desk: Desk, ordered: list[Cover]) -> list[str]:
    return [f"{desk.noun(cover).text} ({format_share(cover.share)})" for cover in ordered]
