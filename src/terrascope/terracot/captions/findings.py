"""What a caption's reasoning says of one class once it has its mask: size, place, pattern, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from terrascope import masks
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.tasks.counting import COUNTABLE
from terrascope.terracot.captions.places import direction_between, place_of, say_place
from terrascope.terracot.layout import Cover, Layout
from terrascope.terracot.nouns import Noun, Wording, capital, enumerate_words
from terrascope.trace import Tolerance

CLEAR_BORDER = 8
"""Fewest pixel sides in common for two classes to be said to border each other in a caption."""

ENCLOSED, MOSTLY = 0.97, 0.6
"""Share of an outline that must lie against another class for it to be enclosed, or mostly surrounded, by it."""

GAP_PX = 2
"""Two classes are apart if this many pixels of growth do not bring one onto the other."""

ELONGATED, ELONGATED_PATCH = 3.5, 0.7
"""Ratio of the principal axes, and share in the largest patch, from which a class is called long and narrow."""

FRAGMENTED, FRAGMENTED_PATCH = 10, 0.35
"""Fewest patches, and largest share of the biggest of them, of a class that is called broken up."""

BEARINGS = ("from north to south", "from northeast to southwest", "from east to west", "from northwest to southeast")

Shape = Literal["elongated", "one", "compact", "few", "fragmented", "patchy"]


def shape_of(cover: Cover) -> Shape:
    """The pattern that a class makes."""
    num, largest = len(cover.patches), cover.largest_patch_share
    if cover.axes[0] >= ELONGATED and largest >= ELONGATED_PATCH:
        return "elongated"
    if num == 1:
        return "one"
    if largest >= 0.85:
        return "compact"
    if num >= FRAGMENTED and largest <= FRAGMENTED_PATCH:
        return "fragmented"
    return "few" if num <= 9 else "patchy"


def bearing(cover: Cover) -> str:
    """The way in which a long class runs: `from north to south`."""
    return BEARINGS[round(cover.axes[1] / 45) % 4]


def say_size(cover: Cover, noun: Noun, wording: Wording) -> str:
    """A sentence without its stop: `It covers 43% of the image, about 2.1 km2`."""
    share = format_share(cover.share)
    exact = (
        share if share.startswith("less") else f"{wording.pick('', '', 'about ', 'roughly ', 'approximately ')}{share}"
    )
    it = capital(noun.it)
    verbs = (
        noun.verb("cover"),
        noun.verb("take up"),
        noun.verb("make up"),
        noun.verb("occupy"),
        noun.verb("account for"),
    )
    sentence = f"{it} {wording.pick(*verbs)} {exact} of the {wording.pick('image', 'image', 'scene')}"
    if cover.area_m2 is not None and wording.chance(0.55):
        area = format_area(cover.area_m2)
        sentence += wording.pick(f", {area} in all", f", or {area}", f", an area of {area}", f" ({area})")
    return sentence


def is_numbered(cover: Cover) -> bool:
    """True for buildings that the label map numbers one by one."""
    return cover.name in COUNTABLE and cover.region.survey.label_map.objects is not None


def num_objects(cover: Cover) -> int:
    """How many numbered objects are mostly of the class; only where it `is_numbered`."""
    return cover.region.whole_objects[1]


def say_objects(num: int, noun: Noun) -> str:
    """`There are 198 buildings.`"""
    return f"There are {num} {noun.text}." if num != 1 else f"There is one {noun.text.removesuffix('s')}."


def say_shape(cover: Cover, noun: Noun, wording: Wording) -> str:
    """A sentence on the pattern of a class."""
    if is_numbered(cover):
        num = num_objects(cover)
        # Patches of a mask are no buildings where two stand wall to wall.
        return say_objects(num, noun) if Tolerance().accepts_count(num, len(cover.patches)) else ""
    it, pick = capital(noun.it), wording.pick
    num, shape = len(cover.patches), shape_of(cover)
    if shape == "elongated":
        runs = bearing(cover)
        return pick(
            f"{it} {noun.verb('form')} a long, narrow strip {runs}.",
            f"{it} {noun.verb('run')} {runs} as a narrow band.",
            f"{capital(noun.its)} shape is elongated, {runs}.",
        )
    if shape == "one":
        return pick(f"{it} {noun.is_} in one piece.", f"{it} {noun.verb('form')} a single patch.",
                    f"{it} {noun.verb('form')} one continuous patch.")  # fmt: skip
    if shape == "compact":
        return pick(
            f"Nearly all of {noun.them} {noun.verb('belong')} to a single large patch.",
            f"{it} {noun.verb('form')} a single large patch and little beside it.",
            f"Most of {noun.them} {noun.verb('lie')} in the largest of {num} patches.",
        )
    if shape == "fragmented":
        return pick(
            f"{it} {noun.is_} broken up into {num} patches.",
            f"{it} {noun.is_} fragmented into {num} separate patches.",
            f"{it} {noun.verb('consist')} of {num} patches, all of them rather small.",
        )
    if shape == "few":
        return pick(
            f"{it} {noun.verb('form')} {num} separate patches.",
            f"{it} {noun.verb('consist')} of {num} patches.",
            f"There are {num} patches of {noun.them}.",
        )
    return pick(
        f"{it} {noun.verb('form')} {num} patches of very different size.",
        f"{it} {noun.verb('come')} in {num} patches, some large and many small.",
        f"The largest of {noun.its} {num} patches is much larger than most others.",
    )


def say_relation(
    layout: Layout, cover: Cover, noun: Noun, earlier: Sequence[tuple[Cover, Noun]], wording: Wording
) -> str:
    """A sentence on how a class lies to those that were pointed at before; empty if nothing clear can be said."""
    ways = [
        sentence
        for relation in (_enclosure, _neighbours, _direction)
        if (sentence := relation(layout, cover, noun, earlier, wording))
    ]
    # What encloses or is enclosed says more than what touches.
    return (ways[0] if wording.chance(0.6) else wording.pick(*ways)) if ways else ""


def say_distance(layout: Layout, cover: Cover, noun: Noun, before: tuple[Cover, Noun], wording: Wording) -> str:
    """How far a class is from the one pointed at just before, where they are clearly apart; else empty."""
    other, other_noun = before
    if not layout.has_scale or layout.shared_sides(cover, other) or not are_apart(cover, other):
        return ""
    distance = format_distance(layout.distance_m(cover.region, other.region))
    it = capital(noun.it)
    return wording.pick(
        f"{it} {noun.verb('lie')} {distance} from {other_noun.the}.",
        f"{it} {noun.does} not touch {other_noun.the}, {distance} away.",
        f"The gap to {other_noun.the} is {distance} wide.",
    )


def are_apart(a: Cover, b: Cover) -> bool:
    """True if a gap of more than GAP_PX pixels lies between two classes."""
    return not (masks.dilate(a.mask, GAP_PX) & b.mask).any()


def _enclosure(
    layout: Layout, cover: Cover, noun: Noun, earlier: Sequence[tuple[Cover, Noun]], wording: Wording
) -> str:
    it = capital(noun.it)
    for other, other_noun in earlier:
        if layout.is_inside(cover) and layout.border_share(cover, other) >= ENCLOSED:
            return wording.pick(
                f"{it} {noun.is_} enclosed by {other_noun.the}.",
                f"{capital(other_noun.the)} {other_noun.verb('enclose')} {noun.them} on all sides.",
                f"{it} {noun.is_} completely surrounded by {other_noun.the}.",
            )
        if layout.is_inside(other) and layout.border_share(other, cover) >= ENCLOSED:
            return wording.pick(
                f"{it} {noun.verb('enclose')} {other_noun.the}.",
                f"{it} {noun.verb('surround')} {other_noun.the} on all sides.",
            )
        if layout.border_share(cover, other) >= MOSTLY:
            return wording.pick(
                f"Most of {noun.its} outline lies against {other_noun.the}.",
                f"{it} mostly {noun.verb('border')} {other_noun.the}.",
                f"{it} {noun.is_} largely surrounded by {other_noun.the}.",
            )
    return ""


def _neighbours(
    layout: Layout, cover: Cover, noun: Noun, earlier: Sequence[tuple[Cover, Noun]], wording: Wording
) -> str:
    touching = [other.the for seen, other in earlier if layout.shared_sides(cover, seen) >= CLEAR_BORDER]
    if not touching:
        return ""
    others = enumerate_words(touching[:3])
    it = capital(noun.it)
    return wording.pick(
        f"{it} {noun.verb('border')} {others}.",
        f"{it} {noun.is_} adjacent to {others}.",
        f"{it} {noun.verb('share')} a boundary with {others}.",
        f"{it} {noun.verb('lie')} next to {others}.",
        f"{it} {noun.verb('meet')} {others}.",
    )


def _direction(
    layout: Layout, cover: Cover, noun: Noun, earlier: Sequence[tuple[Cover, Noun]], wording: Wording
) -> str:
    for other, other_noun in earlier:
        if direction := direction_between(cover, other):
            return wording.pick(
                f"{capital(noun.it)} {noun.verb('lie')} {direction} of {other_noun.the}.",
                f"Most of {noun.them} {noun.verb('lie')} {direction} of {other_noun.the}.",
                f"{capital(noun.it)} {noun.is_} situated to the {direction} of {other_noun.the}.",
            )
    return ""


def say_place_of(cover: Cover, noun: Noun, wording: Wording) -> str:
    """A sentence on where a class lies."""
    return f"{capital(noun.it)} {say_place(place_of(cover), noun, wording)}."
