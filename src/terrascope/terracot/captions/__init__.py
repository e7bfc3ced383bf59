"""Cap-CoT without a language model: a caption, and the reasoning that leads to it by masks (paper, Appendix E.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from terrascope.quantities import format_share
from terrascope.sources.chips import Chip
from terrascope.tasks.question import Question
from terrascope.terracot.bounds import check_least, check_shares
from terrascope.terracot.captions.changes import Change, find_changes, say_changes, tell_change
from terrascope.terracot.captions.findings import say_distance, say_place_of, say_relation, say_shape, say_size
from terrascope.terracot.captions.places import place_of, say_place
from terrascope.terracot.captions.setting import introduce, setting_of
from terrascope.terracot.captions.summary import Named, summarize
from terrascope.terracot.layout import Cover, Layout, lay_out
from terrascope.terracot.nouns import Wording, capital, enumerate_words
from terrascope.trace import Step, Trace

INSTRUCTIONS = (
    "Describe the image.",
    "Describe this image in detail.",
    "What does this image show?",
    "Write a caption for this satellite image.",
    "Give a detailed caption of the image.",
    "Describe the land cover in this image.",
    "What can be seen in this scene?",
    "Explain what this satellite image shows.",
    "Please describe the scene step by step.",
    "Summarize the land cover of this scene.",
    "How would you describe this place?",
    "Caption this image.",
)
CHANGE_INSTRUCTIONS = (
    "Describe the images and what has changed between them.",
    "What do these images show?",
    "Describe the scene and its changes.",
    "Write a caption for this pair of satellite images.",
    "What has happened between the images?",
    "Compare the images and describe the place.",
    "Explain what these satellite images show.",
    "Describe how this place has changed.",
)


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """What a caption speaks of.

    Attributes:
        min_share: classes with a smaller share of the image are summed up without a mask.
        least_share: a class that is alone may be as small as this.
        named_share: classes with a smaller share are not mentioned at all.
        max_steps: most classes that a mask is shown of, on the first date and on the last together.
    """

    min_share: float = 0.02
    least_share: float = 0.002
    named_share: float = 0.001
    max_steps: int = 5

    def __post_init__(self) -> None:
        check_shares(self, "min_share", "least_share", "named_share")
        check_least(self, 1, "max_steps")


def describe(chip: Chip, rng: np.random.Generator, settings: CaptionSettings | None = None) -> Question | None:
    """A caption of a chip with its reasoning; None where its label maps show no class large enough to speak of."""
    settings = settings or CaptionSettings()
    if not chip.labels:
        return None
    layout, wording = lay_out(chip.labelled), Wording(rng)
    last = layout.num_dates - 1
    changes = find_changes(layout, 0, last) if last else []
    shown = _choose(layout, changes, settings)
    if not shown:
        return None
    setting = setting_of(chip)
    steps = _steps(layout, shown, wording)
    if wording.chance(0.7):
        steps.insert(0, Step(text=introduce(setting, wording), grounded=False))
    first = shown[0].date
    on_first = [cover for cover in shown if cover.date == first]
    rest = [c for c in layout.covers[first] if c not in on_first and c.share >= settings.named_share]
    minor = [cover for cover in rest if cover.share < settings.min_share]
    named = [_named(cover, wording) for cover in on_first]
    sentences = summarize(layout, setting, named, [_named(cover, wording) for cover in minor], wording)
    if last:
        sentences = [*sentences[:3], *_tell_later(layout, changes, first, wording)]
    trace = Trace(
        steps=tuple(steps),
        conclusion=_conclude(layout, named, minor, changes, wording),
        answer=" ".join(sentences[:4]),
    )
    return Question(
        task="caption",
        text=wording.pick(*(CHANGE_INSTRUCTIONS if last else INSTRUCTIONS)),
        options=(),
        trace=trace,
        truth=trace.answer,
        classes=tuple(cover.name for cover in shown),
    )


def _named(cover: Cover, wording: Wording) -> Named:
    return cover, wording.noun(cover.region.land_class)


def _choose(layout: Layout, changes: Sequence[Change], settings: CaptionSettings) -> list[Cover]:
    """The classes to show, in order: the largest of the first date with any, then the changed ones of the last."""
    last = layout.num_dates - 1
    changed = {change.land_class.name for change in changes[:2]}
    later = [c for c in layout.covers[last] if c.name in changed and c.share >= settings.least_share] if last else []
    num_first = settings.max_steps - max(len(later), min(1, last))
    earlier = [cover for cover in layout.covers[0] if cover.share >= settings.min_share]
    # A class that changes is shown before and after, even where two others are larger.
    earlier.sort(key=lambda cover: cover.name not in changed and cover not in layout.covers[0][:2])
    chosen = sorted(earlier[:num_first], key=lambda cover: -cover.share)
    if not chosen:
        chosen = [cover for cover in layout.covers[0][:1] if cover.share >= settings.least_share]
    if chosen and last and not later:
        later = [c for c in layout.covers[last] if c.name == chosen[0].name]
    if not chosen and not later:
        later = [cover for cover in layout.covers[last][:1] if cover.share >= settings.least_share]
    return chosen + later


def _steps(layout: Layout, shown: Sequence[Cover], wording: Wording) -> list[Step]:
    steps = []
    for index, cover in enumerate(shown):
        noun = wording.noun(cover.region.land_class)
        earlier = [_named(other, wording) for other in shown[:index] if other.date == cover.date]
        again = any(other.name == cover.name for other in shown[:index])
        size = say_size(cover, noun, wording)
        more = []
        if again and wording.chance(0.3):
            pass
        elif wording.chance(0.75 if place_of(cover).kind != "several" else 0.25):
            if "," not in size and wording.chance(0.45):
                size += f" and {say_place(place_of(cover), noun, wording)}"
            else:
                more.append(say_place_of(cover, noun, wording))
        if wording.chance(0.55):
            more.append(say_shape(cover, noun, wording))
        if earlier and wording.chance(0.85):
            apart = say_distance(layout, cover, noun, earlier[-1], wording) if wording.chance(0.3) else ""
            more.append(apart or say_relation(layout, cover, noun, earlier, wording))
        steps.append(
            Step(
                text=_lead(index, cover, layout, len(shown), wording),
                image=cover.date + 1 if layout.num_dates > 1 else None,
                finding=" ".join([f"{size}.", *(sentence for sentence in more if sentence)]),
                mask=cover.mask,
            )
        )
    return steps


def _lead(index: int, cover: Cover, layout: Layout, num: int, wording: Wording) -> str:
    """What leads to the mask: `Next, the crops:`."""
    noun = wording.noun(cover.region.land_class)
    the = noun.the
    if index == 0:
        plain = (f"{capital(the)}:", f"First, {the}:", f"I begin with {the}:")
        if layout.known_share(cover.date) < 0.5 or cover is not layout.covers[cover.date][0]:
            return wording.pick(*plain)
        return wording.pick(
            *plain, f"The largest land cover, {noun.text}:", f"First, I observe the dominant land cover, {noun.text}:"
        )
    if index == num - 1 and wording.chance(0.3):
        return f"Finally, {the}:"
    return wording.pick(
        f"{capital(the)}:", f"Next, {the}:", f"Then {the}:", f"Next, I notice {noun.text}:", f"I also see {noun.text}:"
    )


def _tell_later(layout: Layout, changes: Sequence[Change], first: int, wording: Wording) -> list[str]:
    """The last sentence on several dates."""
    if first == 0:
        return [tell_change(changes, layout.num_dates, wording)]
    absent = [region for region in layout.regions[0] if layout.cover(region.name, first) is not None]
    if not absent:
        return []
    nouns = enumerate_words([wording.noun(region.land_class).text for region in absent])
    return [wording.pick(f"The first image shows no {nouns}.", f"Before, there was no {nouns} at all.")]


def _conclude(
    layout: Layout, named: Sequence[Named], minor: Sequence[Cover], changes: Sequence[Change], wording: Wording
) -> str:
    """The end of the reasoning: the change between dates, or what the largest classes are together."""
    if changes:
        if any(change.kind == "seen" for change in changes[:2]):
            return f"So in image {layout.num_dates} {say_changes(changes, wording)}."
        return f"{wording.pick('So', 'Thus', 'Therefore')} {say_changes(changes, wording)}."
    if layout.num_dates > 1 and named[0][0].date == 0:
        return wording.pick("So nothing has clearly changed.", "Overall, the land cover stays the same.")
    little = enumerate_words([wording.noun(cover.region.land_class).text for cover in minor]) if minor else ""
    sentence = _conclude_one(named[0], wording) if len(named) == 1 else _conclude_several(named, wording)
    if not little:
        return f"{sentence}."
    return sentence + wording.pick(
        f", beside small amounts of {little}.",
        f"; there are traces of {little}.",
        f". Small amounts of {little} remain.",
    )


def _conclude_one(named: Named, wording: Wording) -> str:
    cover, noun = named
    if cover.share < 0.5:
        return wording.pick(
            f"So {noun.text} {noun.is_} what this image is about",
            f"Overall, {noun.text} {noun.is_} all that is known here",
        )
    return wording.pick(
        f"Overall, {noun.text} {noun.verb('dominate')} the scene", f"So the image is mostly {noun.text}"
    )


def _conclude_several(named: Sequence[Named], wording: Wording) -> str:
    (largest, noun), total = named[0], sum(cover.share for cover, _ in named)
    words = enumerate_words([other.text for _, other in named])
    two = f"{noun.text} and {named[1][1].text}"
    ways = [
        f"Overall, {noun.text} {noun.has} the largest share",
        f"Overall, {two} make up {format_share(largest.share + named[1][0].share)} of the image",
    ]
    if total >= 0.995:
        ways.append(f"So {words} make up the whole image")
    elif len(named) > 2:
        ways.append(f"Overall, {words} cover {format_share(total)} of the image")
    if largest.share >= 0.5:
        ways.append(f"So the landscape is dominated by {noun.text}")
    return wording.pick(*ways)
