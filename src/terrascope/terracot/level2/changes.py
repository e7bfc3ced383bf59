"""Semantic rules about two dates: how the share of a class has changed, and in which direction."""

from __future__ import annotations

from dataclasses import dataclass

from terrascope.quantities import format_share
from terrascope.tasks.options import even_integers
from terrascope.terracot.layout import Cover
from terrascope.terracot.level2.drafting import Desk, Draft
from terrascope.terracot.nouns import Noun, capital


@dataclass(frozen=True, kw_only=True)
class ShareChange:
    """Asks by how many percentage points the share of a class has changed from the first to the last date.

    Attributes:
        min_points: least change that is asked about.
        min_share: least share of the image on either date: both masks must be there to be shown.
        relative_gap: least distance between options, as a share of the truth; at least two points.
    """

    task: str = "semantic/change"
    min_points: float = 4.0
    min_share: float = 0.01
    relative_gap: float = 0.25

    def draft(self, desk: Desk) -> Draft | None:
        for before, after in paired(desk, self.min_share):
            points = 100 * abs(after.share - before.share)
            # Who takes one stated share from the other must come to the same.
            stated = abs(round(100 * after.share) - round(100 * before.share))
            if points < self.min_points or stated != round(points):
                continue
            noun, grows = desk.noun(before), after.share > before.share
            truth = f"{round(points)} percentage points"
            gap = max(2, round(self.relative_gap * points))
            values = even_integers(round(points), desk.rng, num=3, gap=gap, min_gap=1, low=1, high=100) or ()
            verb = "grow" if grows else "shrink"
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"by how many percentage points of the image {noun.does} {noun.the} {verb} from the first to the "
                    "last date?",
                    f"how much {'larger' if grows else 'smaller'} is the share of {noun.text} in the last image than "
                    "in the first, in percentage points?",
                    f"how many percentage points does the share of {noun.text} {'gain' if grows else 'lose'} between "
                    "the images?",
                ),
                steps=[desk.point(before, desk.say_share(before)), desk.point(after, desk.say_share(after))],
                conclusion=f"So {noun.the} {noun.verb(verb)} from {format_share(before.share)} to "
                f"{format_share(after.share)} of the image.",
                truth=truth,
                wrong=[f"{value} percentage point{'s' if value > 1 else ''}" for value in values],
                value=points,
                unit="%",
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Asks whether a class has grown, shrunk or stayed the same.

    Attributes:
        clear: relative change from which a class has grown or shrunk; same: up to which it has stayed the same.
        min_share: least share of the image on either date.
        same_share: how often a class that has stayed the same is looked for. In most scenes nothing else can be found;
            where nothing is found of what is looked for, nothing is asked.
    """

    task: str = "semantic/trend"
    clear: float = 0.12
    same: float = 0.02
    min_share: float = 0.02
    same_share: float = 0.05

    def draft(self, desk: Desk) -> Draft | None:
        same = desk.wording.chance(self.same_share)
        # Asked backwards, what has shrunk has grown: neither is the likelier one.
        backwards = desk.wording.chance(0.5)
        for before, after in paired(desk, self.min_share):
            if backwards:
                before, after = after, before
            trend = self._trend(before, after)
            if trend is None or (trend == "stayed the same") != same:
                continue
            noun = desk.noun(before)
            others = [other for other in ("grown", "shrunk", "stayed the same") if other != trend]
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"going back from the last image to the first, {noun.has} {noun.the} grown, shrunk or stayed the "
                    "same?",
                    f"seen backwards, from the last date to the first: {noun.has} {noun.the} grown, shrunk or stayed "
                    "the same?",
                )
                if backwards
                else desk.pick_text(
                    f"{noun.has} {noun.the} grown, shrunk or stayed the same between the first and the last image?",
                    f"what has become of {noun.the} between the dates: {noun.has} {noun.it} grown, shrunk or stayed "
                    "the same?",
                ),
                steps=[desk.point(before, desk.say_share(before)), desk.point(after, _compare(noun, before, after))],
                conclusion=f"So {noun.the} {noun.has} {trend}{' on the way back' if backwards else ''}.",
                truth=trend,
                wrong=others,
            )
        return None

    def _trend(self, before: Cover, after: Cover) -> str | None:
        change = after.share / before.share - 1
        if abs(change) <= self.same:
            return "stayed the same"
        differ = format_share(before.share) != format_share(after.share)
        return ("grown" if change > 0 else "shrunk") if abs(change) >= self.clear and differ else None


def paired(desk: Desk, min_share: float) -> list[tuple[Cover, Cover]]:
    """The classes that are there on the first and the last date, in random order; none of a scene with one date."""
    layout, last = desk.layout, desk.layout.num_dates - 1
    if not last:
        return []
    found = []
    for before in desk.shuffle(cover for cover in layout.covers[0] if cover.share >= min_share):
        after = layout.cover(before.name, last)
        if after is not None and after.share >= min_share:
            found.append((before, after))
    return found


def _compare(noun: Noun, before: Cover, after: Cover) -> str:
    share = format_share(after.share)
    still = "still " if format_share(before.share) == share else "now "
    return f"{capital(noun.it)} {still}{noun.verb('cover')} {share} of the image."
