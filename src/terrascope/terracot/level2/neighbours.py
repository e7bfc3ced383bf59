"""Spatial rules about neighbours: chains of borders, what lies between, nearest and farthest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from terrascope.quantities import format_distance
from terrascope.terracot.layout import Cover, Layout
from terrascope.terracot.level2.drafting import MIN_SHARE, Desk, Draft, Pointed
from terrascope.terracot.nouns import capital, enumerate_words

CLEAR_SIDES = 8
"""Fewest pixel sides in common for two classes to count as bordering each other."""

CLEAR_GAP_PX = 3.0
"""Least distance in pixels for two classes to count as not touching."""


def touch(layout: Layout, a: Cover, b: Cover) -> bool | None:
    """Whether two classes border each other; None where it is too close to call."""
    sides = layout.shared_sides(a, b)
    if sides:
        return True if sides >= CLEAR_SIDES else None
    return False if a.region.survey.are_apart(a.region, b.region, CLEAR_GAP_PX) else None


@dataclass(frozen=True, kw_only=True)
class AdjacencyChain:
    """Asks whether a first class borders a second, and the second a third.

    Attributes:
        chained_share: how often a chain that holds is looked for; as most hold, broken ones are looked for more often.
    """

    task: str = "spatial/adjacency_chain"
    min_share: float = MIN_SHARE
    chained_share: float = 0.2

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        wanted = desk.wording.chance(self.chained_share)
        found: tuple[tuple[Cover, ...], bool, bool] | None = None
        for chain in desk.groups(desk.large(date, self.min_share), 3):
            for order in permutations(chain):
                first, second = touch(desk.layout, order[0], order[1]), touch(desk.layout, order[1], order[2])
                if first is None or second is None:
                    continue
                if (first and second) == wanted:
                    return self._ask_about(desk, order, first, second)
                found = found or (order, first, second)
        # Where a broken chain is wanted and there is none, nothing is asked, or nearly all would hold.
        return self._ask_about(desk, *found) if found and wanted else None

    def _ask_about(self, desk: Desk, chain: tuple[Cover, ...], first: bool, second: bool) -> Draft:
        a, b, c = (desk.noun(cover) for cover in chain)
        where = desk.in_image(chain[0].date)
        holds = first and second
        says_b = _say_touch(desk, chain[1], chain[0], first)
        says_c = _say_touch(desk, chain[2], chain[1], second)
        return desk.draft(
            task=self.task,
            text=desk.pick_text(
                f"{a.does} {a.the} border {b.the}, and {b.does} {b.the} border {c.the}{where}?",
                f"{a.is_} {a.the} adjacent to {b.the}, and {b.the} to {c.the}{where}?",
                f"can one go from {a.the} through {b.the} to {c.the} without crossing any other land cover{where}?"
                if holds
                else f"{a.does} {a.the} touch {b.the} while {b.the} {b.verb('touch')} {c.the}{where}?",
                f"is it true that {a.the} {a.verb('touch')} {b.the} and {b.the} {b.verb('touch')} {c.the}{where}?",
            ),
            steps=[
                desk.point(chain[0], desk.say_share(chain[0])),
                desk.point(chain[1], desk.say_share(chain[1]), says_b),
                desk.point(chain[2], desk.say_share(chain[2]), says_c),
            ],
            conclusion="So both borders are there."
            if holds
            else f"So the chain is broken{'' if first or second else ' twice'}.",
            truth="Yes" if holds else "No",
            wrong=("No" if holds else "Yes",),
        )


@dataclass(frozen=True, kw_only=True)
class Between:
    """Asks which class borders two others that do not touch each other; only where a single class does."""

    task: str = "spatial/between"
    min_share: float = MIN_SHARE

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        layout = desk.layout
        for a, c in desk.groups(desk.large(date, self.min_share), 2):
            if touch(layout, a, c) is not False:
                continue
            links = [(cover, touch(layout, cover, a), touch(layout, cover, c)) for cover in layout.covers[date]]
            links = [link for link in links if link[0] is not a and link[0] is not c]
            both = [cover for cover, to_a, to_c in links if to_a and to_c]
            # What borders one of the two by a few pixels may be taken to border it or not.
            doubtful = any(to_a is not False and to_c is not False for cover, to_a, to_c in links if cover not in both)
            if len(both) != 1 or doubtful or both[0].share < self.min_share:
                continue
            middle = both[0]
            noun_a, noun_b, noun_c = desk.noun(a), desk.noun(middle), desk.noun(c)
            where = desk.in_image(date)
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"which land cover borders both {noun_a.the} and {noun_c.the}{where}?",
                    f"{noun_a.the} and {noun_c.the} do not touch; which land cover connects them{where}?",
                    f"what lies between {noun_a.the} and {noun_c.the} and touches both{where}?",
                ),
                steps=[
                    desk.point(a, desk.say_share(a)),
                    desk.point(c, _say_touch(desk, c, a, False)),
                    desk.point(middle, f"{capital(noun_b.it)} {noun_b.verb('border')} {noun_a.the} and {noun_c.the}."),
                ],
                conclusion=f"So {noun_b.the} {noun_b.verb('connect')} {noun_a.the} and {noun_c.the}.",
                truth=noun_b.text,
                wrong=desk.other_classes(middle, date, 3, without=(a, c)),
            )
        return None


@dataclass(frozen=True, kw_only=True)
class ByDistance:
    """Asks which of two or three classes is nearest to, or farthest from, another. Needs a scale.

    Attributes:
        min_ratio: the decisive distance differs from the next by at least this factor.
        min_gap_px: and by at least so many pixels.
        max_patches: classes in more patches than this are not asked about: a speck would decide the distance.
        apart_share: how often, where that can be, the nearest is looked for among classes that do not touch the other.
    """

    nearest: bool
    min_share: float = 0.01
    min_ratio: float = 1.3
    min_gap_px: float = 3.0
    max_patches: int = 60
    apart_share: float = 0.7

    @property
    def task(self) -> str:
        return "spatial/nearest" if self.nearest else "spatial/farthest"

    def draft(self, desk: Desk) -> Draft | None:
        layout, date = desk.layout, desk.draw_date()
        covers = desk.large(date, self.min_share)
        if not layout.has_scale or len(covers) < 3:
            return None
        for reference in desk.shuffle(covers):
            # Two that touch are equally near; at most one of the candidates may.
            others = [cover for cover in desk.shuffle(covers) if cover is not reference]
            touching = [cover for cover in others if layout.shared_sides(reference, cover)]
            apart = [cover for cover in others if not layout.shared_sides(reference, cover)]
            candidates = [*apart[:2], *touching[:1]]
            if self.nearest and len(apart) > 1 and desk.wording.chance(self.apart_share):
                candidates = apart[:3]
            if len(candidates) < 2 or not apart:
                continue
            if any(len(cover.patches) > self.max_patches for cover in [reference, *candidates]):
                continue
            draft = self._ask_about(
                desk, reference, [candidates[int(i)] for i in desk.rng.permutation(len(candidates))]
            )
            if draft is not None:
                return draft
        return None

    def _ask_about(self, desk: Desk, reference: Cover, candidates: list[Cover]) -> Draft | None:
        layout = desk.layout
        assert layout.labelled.pixel_size is not None
        pixel_m = float(layout.labelled.pixel_size.height_m.mean())
        distances = {cover.name: layout.distance_m(reference.region, cover.region) for cover in candidates}
        ordered = sorted(candidates, key=lambda cover: distances[cover.name], reverse=not self.nearest)
        near, far = sorted(distances[cover.name] for cover in ordered[:2])
        if far < self.min_ratio * near or far - near < self.min_gap_px * pixel_m:
            return None
        noun, ref = desk.noun(ordered[0]), desk.noun(reference)
        steps: list[Pointed] = []
        for cover in candidates:
            # A distance is that to the mask before, so the reference is pointed at anew each time.
            lead = "" if not steps else f"{capital(ref.the)} again:"
            steps.append(desk.point(reference, "" if steps else desk.say_share(reference), lead=lead))
            it = desk.noun(cover)
            says = (
                f"{capital(it.it)} {it.verb('touch')} {ref.the}."
                if layout.shared_sides(reference, cover)
                else f"{capital(it.it)} {it.is_} {format_distance(distances[cover.name])} from {ref.the}."
            )
            steps.append(desk.point(cover, says))
        words = [desk.noun(cover).text for cover in candidates]
        listed = f"{', '.join(words[:-1])} or {words[-1]}"
        two = len(candidates) == 2
        if self.nearest:
            which, other = ("nearer to", "closer to") if two else ("nearest to", "closest to")
        else:
            which, other = ("farther from", "more distant from") if two else ("farthest from", "most distant from")
        where = desk.in_image(reference.date)
        return desk.draft(
            task=self.task,
            text=desk.pick_text(
                f"which is {which} {ref.the}{where}: {listed}?",
                f"which land cover lies {which} {ref.the}{where}, {listed}?",
                f"of {enumerate_words(words)}, which is {other} {ref.the}{where}?",
                f"measured from {ref.the}, which is {which.split()[0]}{where}: {listed}?",
            ),
            steps=steps,
            conclusion=f"So {noun.the} {noun.is_} {which} {ref.the}.",
            truth=noun.text,
            wrong=[desk.noun(cover).text for cover in ordered[1:]],
        )


def _say_touch(desk: Desk, cover: Cover, other: Cover, touching: bool) -> str:
    it, the = desk.noun(cover), desk.noun(other).the
    if touching:
        return desk.wording.pick(
            f"{capital(it.it)} {it.verb('border')} {the}.", f"{capital(it.it)} {it.verb('touch')} {the}."
        )
    return f"{capital(it.it)} {it.does} not touch {the}."
