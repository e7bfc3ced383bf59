"""The caption itself: two to four sentences that sum up what the reasoning has found."""

from __future__ import annotations

from collections.abc import Sequence

from terrascope.quantities import format_share
from terrascope.terracot.captions.findings import CLEAR_BORDER, bearing, is_numbered, num_objects, say_objects, shape_of
from terrascope.terracot.captions.places import adverb, direction_between, opening, place_of
from terrascope.terracot.captions.setting import Setting, name_image
from terrascope.terracot.layout import Cover, Layout
from terrascope.terracot.nouns import Noun, Wording, capital, enumerate_words

Named = tuple[Cover, Noun]

PARTS = (
    (0.93, 1.01, ("almost all", "nearly the whole")), (0.72, 0.78, ("three quarters", "about three quarters")),
    (0.635, 0.7, ("two thirds", "about two thirds")), (0.53, 0.635, ("more than half",)),
    (0.47, 0.53, ("about half", "roughly half")), (0.305, 0.36, ("a third", "about a third")),
    (0.225, 0.275, ("a quarter", "about a quarter")), (0.18, 0.22, ("a fifth", "about a fifth")),
    (0.085, 0.115, ("a tenth", "about a tenth")),
)  # fmt: skip
"""From and below which share of the image (0-1) a part has a name, and its names."""

_COUNTED = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

DOMINANT, CLOSE = 0.5, 0.08
"""From which share a class dominates an image; largest gap of the two largest shares for neither to."""


def say_part(share: float, wording: Wording, of: str = "of the image") -> str:
    """A share as a caption puts it: `43% of the image`, `about half of the image`."""
    names = next((names for low, high, names in PARTS if low <= share < high), None)
    if names and wording.chance(0.5):
        name = wording.pick(*names)
        return f"{name} {of.removeprefix('of ')}" if name.startswith("nearly the") else f"{name} {of}"
    number = format_share(share)
    return f"{number} {of}" if number.startswith("less") else f"{wording.pick('', '', 'about ', 'some ')}{number} {of}"


def summarize(
    layout: Layout, setting: Setting, named: Sequence[Named], minor: Sequence[Named], wording: Wording
) -> list[str]:
    """Sentences on one date: the largest class, the others, how they lie to each other, what little is left."""
    sentences = [_say_main(layout, setting, named, wording)]
    others = list(named[2:] if _is_even(named) else named[1:])
    if others:
        sentences.append(_say_others(others, wording))
    remark = _say_remark(layout, named, wording)
    if remark and (len(sentences) < 2 or wording.chance(0.75)):
        sentences.append(remark)
    if minor and (len(sentences) < 2 or wording.chance(0.6)):
        sentences.append(_say_minor(minor, wording))
    if len(sentences) < 2:
        sentences.append(_say_pattern(named[0], wording))
    return sentences


def _is_even(named: Sequence[Named]) -> bool:
    return len(named) > 1 and named[0][0].share < DOMINANT and named[0][0].share - named[1][0].share <= CLOSE


def _say_main(layout: Layout, setting: Setting, named: Sequence[Named], wording: Wording) -> str:
    images = name_image(setting, named[0][0].date, wording)
    pick = wording.pick
    cover, noun = named[0]
    if layout.known_share(cover.date) < DOMINANT and cover.share < DOMINANT:
        part = say_part(cover.share, wording)
        where = adverb(place_of(cover), wording)
        return pick(
            f"{images} shows {noun.text}{_after(where)}, on {part}.",
            f"In {_lower(images)} {noun.text} {noun.verb('cover')} {part}{_after(where, comma=True)}.",
        ).replace(",, ", ", ")
    if _is_even(named):
        other, other_noun = named[1]
        both = f"{noun.text} and {other_noun.text}"
        return pick(
            f"{images} shows a landscape shared by {both}, with {format_share(cover.share)} and "
            f"{format_share(other.share)} of the image.",
            f"{images} is mainly made up of {noun.text} ({format_share(cover.share)}) and {other_noun.text} "
            f"({format_share(other.share)}).",
            f"{images} shows a mix of {noun.text} and {other_noun.text}, each of which covers "
            f"{_between(cover.share, other.share)} of the area.",
            f"{images} is divided mostly between {noun.text}, on {say_part(cover.share, wording)}, and "
            f"{other_noun.text}, on {format_share(other.share)}.",
        )
    part = say_part(cover.share, wording)
    if cover.share >= 0.9:
        return pick(
            f"{images} is almost entirely covered by {noun.text}, which {noun.verb('take up')} "
            f"{format_share(cover.share)} of it.",
            f"{images} shows hardly anything but {noun.text} ({format_share(cover.share)}).",
            f"{capital(noun.text)} {noun.verb('cover')} {part} in {_lower(images)}.",
        )
    if cover.share >= DOMINANT:
        return pick(
            f"{images} is dominated by {noun.text}, which {noun.verb('cover')} {part}.",
            f"{images} shows a landscape dominated by {noun.text} ({format_share(cover.share)}).",
            f"{capital(noun.text)} {noun.verb('dominate')} {_lower(images)} and {noun.verb('take up')} {part}.",
            f"{images} consists mainly of {noun.text}, on {part}.",
            f"With {format_share(cover.share)} of the image, {noun.text} {noun.is_} the dominant land cover of "
            f"{_lower(images)}.".replace("of the image, ", "of the area, "),
        )
    return pick(
        f"{images} shows a varied landscape, in which {noun.text} {noun.has} the largest share with "
        f"{format_share(cover.share)}.",
        f"{images} shows a mosaic of {_COUNTED[len(named)]} kinds of land cover; {noun.text} {noun.verb('come')} first "
        f"with {part}." if len(named) > 2 else f"{images} shows above all {noun.text}, on {part}.",
        f"The most common land cover in {_lower(images)} is {noun.text}, on {part}.",
        f"{images} is made up of {enumerate_words([other.text for _, other in named])}, of which {noun.text} "
        f"{noun.has} the largest share ({format_share(cover.share)}).",
    )  # fmt: skip


def _say_others(others: Sequence[Named], wording: Wording) -> str:
    pick = wording.pick
    cover, noun = others[0]
    place = place_of(cover)
    where = adverb(place, wording)
    part = say_part(cover.share, wording)
    first = pick(
        f"{capital(noun.text)} {noun.verb('cover')} {part}{_after(where, comma=True)}",
        f"{capital(noun.text)} {noun.verb('take up')} {part}{_after(where, comma=True)}",
        f"{capital(noun.text)} {noun.verb('follow')} with {part}{_after(where, comma=True)}",
        f"{opening(place)}{noun.text} {noun.verb('cover')} {part}",
    )
    first = capital(first)
    if len(others) == 1:
        return f"{first}."
    rest = []
    for index, (other, other_noun) in enumerate(others[1:]):
        lies = adverb(place_of(other), wording)
        share = format_share(other.share)
        if index == 0 and len(others) == 2:
            rest.append(
                pick(
                    f", while {other_noun.text} {other_noun.verb('make up')} {share}{_after(lies, comma=True)}",
                    f", and {other_noun.text} {other_noun.verb('account')} for {share}",
                    f"; {other_noun.text} {other_noun.verb('occupy')} {share}{_after(lies, comma=True)}",
                    f", with {other_noun.text} on another {share}",
                )
            )
    if rest:
        return f"{first}{rest[0]}."
    listed = enumerate_words([f"{other_noun.text} ({format_share(other.share)})" for other, other_noun in others[1:]])
    return first + pick(
        f", followed by {listed}.", f"; smaller parts are {listed}.", f"; there {_are(others[1])} also {listed}."
    )


def _say_remark(layout: Layout, named: Sequence[Named], wording: Wording) -> str:
    """One thing of note: what encloses what, what borders what, how something is shaped."""
    remarks = [
        _say_pattern(entry, wording) for entry in named[:3] if shape_of(entry[0]) in ("elongated", "fragmented", "one")
    ]
    for cover, noun in named[1:4]:
        for other, other_noun in named:
            if other is cover:
                continue
            if layout.is_inside(cover) and layout.border_share(cover, other) >= 0.97:
                remarks.append(f"The {noun.text} {noun.is_} enclosed by {other_noun.the}.")
            elif layout.border_share(cover, other) >= 0.6:
                remarks.append(
                    wording.pick(
                        f"The {noun.text} mostly {noun.verb('border')} {other_noun.the}.",
                        f"Most of the boundary of {noun.the} is shared with {other_noun.the}.",
                    )
                )
            elif direction := direction_between(cover, other):
                remarks.append(f"The {noun.text} {noun.verb('lie')} to the {direction} of {other_noun.the}.")
        touching = [
            other.the for seen, other in named if seen is not cover and layout.shared_sides(cover, seen) >= CLEAR_BORDER
        ]
        if touching:
            remarks.append(
                wording.pick(
                    f"The {noun.text} {noun.verb('border')} {enumerate_words(touching[:2])}.",
                    f"There is a boundary between {noun.the} and {touching[0]}.",
                )
            )
    return wording.pick(*remarks) if remarks else ""


def _say_pattern(entry: Named, wording: Wording) -> str:
    cover, noun = entry
    if is_numbered(cover):
        return say_objects(num_objects(cover), noun)
    num, shape, the = len(cover.patches), shape_of(cover), capital(noun.the)
    if shape == "elongated":
        return wording.pick(
            f"{the} {noun.verb('run')} as a narrow strip {bearing(cover)}.",
            f"{the} {noun.verb('form')} a long band {bearing(cover)}.",
        )
    if shape == "one":
        return wording.pick(f"{the} {noun.is_} in one piece.", f"{the} {noun.verb('form')} a single patch.")
    if shape == "fragmented":
        return wording.pick(
            f"{the} {noun.is_} fragmented into {num} patches.", f"{the} {noun.is_} scattered over {num} patches."
        )
    if shape == "compact":
        return wording.pick(
            f"Nearly all of {noun.the} {noun.verb('belong')} to a single large patch.",
            f"{the} {noun.is_} mostly connected.",
        )
    return wording.pick(f"{the} {noun.verb('form')} {num} patches.", f"There are {num} patches of {noun.text}.")


def _say_minor(minor: Sequence[Named], wording: Wording) -> str:
    words = enumerate_words([noun.text for _, noun in minor])
    share = format_share(sum(cover.share for cover, _ in minor))
    are = "are" if len(minor) > 1 or minor[0][1].plural else "is"
    little = (
        "together less than 1%" if share.startswith("less") else f"{share} {'together' if len(minor) > 1 else 'in all'}"
    )
    return wording.pick(
        f"Small amounts of {words} are also present.",
        _say_few(minor, words),
        f"{capital(words)} {are} rare ({little}).",
        f"{capital(words)} {are} of little importance, with {little.removeprefix('together ')}.",
    )


def _say_few(minor: Sequence[Named], words: str) -> str:
    """`A few` goes with plurals alone, `a little` with what cannot be counted."""
    plurals = {noun.plural for _, noun in minor}
    if plurals == {True}:
        return f"A few {words} are seen as well."
    return f"There is also a little {words}." if plurals == {False} else f"In small places there are {words}."


def _after(where: str, *, comma: bool = False) -> str:
    return (f", {where}" if comma else f" {where}") if where else ""


def _between(first: float, second: float) -> str:
    shares = dict.fromkeys((format_share(second), format_share(first)))
    return f"between {' and '.join(shares)}" if len(shares) > 1 else f"{next(iter(shares))}"


def _are(entry: Named) -> str:
    return entry[1].is_


def _lower(images: str) -> str:
    return images[:1].lower() + images[1:]
