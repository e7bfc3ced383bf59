"""What all rules for composed questions share: the desk at which they draft, the draft, and the face of a rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Protocol

import numpy as np

from terrascope.masks import Mask
from terrascope.quantities import format_area, format_share
from terrascope.tasks.question import Question
from terrascope.tasks.wording import name_image
from terrascope.terracot.layout import Cover, Layout
from terrascope.terracot.nouns import Noun, Wording, capital
from terrascope.trace import Step, Trace

MIN_SHARE = 0.02
"""Least share of the image of a class that composed questions are about."""


ONE_SIDED_SHARE = 0.05
"""How often a question is asked all the same where a scene allows one answer alone, which would be the frequent one."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A free question, and wrong answers that could stand beside the right one as options; none for a free question."""

    question: Question
    wrong: tuple[str, ...] = ()


class Rule(Protocol):
    """One kind of composed question. Its thresholds are the fields of the frozen dataclass that implements it."""

    @property
    def task(self) -> str:
        """`spatial` or `semantic`, a slash, and the rule's name."""
        ...

    def draft(self, desk: Desk) -> Draft | None:
        """A question, or None where nothing can be asked, or the truth is too close to call."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointed:
    """A step in the making: a mask, the class it shows, its date (from 0), what leads to it and what is found."""

    mask: Mask
    class_name: str
    date: int
    lead: str
    finding: str


class Desk:
    """A scene, words and chance, as a rule needs them.

    `preferred` are the classes that the simple questions about the scene were about: composed ones build on them.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator, preferred: frozenset[str] = frozenset()) -> None:
        self.layout, self.rng, self.preferred = layout, rng, preferred
        self.wording = Wording(rng)

    def draw_date(self) -> int:
        """One of the dates (from 0) on which there is anything; the first where there is nothing on any."""
        dates = [date for date, covers in enumerate(self.layout.covers) if covers] or [0]
        return dates[int(self.rng.integers(len(dates)))]

    def draw_threshold(
        self, value: float, thresholds: Sequence[float], *, gap: float = 0, ratio: float = 1
    ) -> float | None:
        """A threshold that `value` reaches, or one that it misses, each as likely, and clearly so.

        Args:
            gap, ratio: a threshold lies at least so far from the value, and at least so many times above or below.

        Returns:
            One of the two nearest on its side; mostly None where there are only such as are reached, or are missed.
        """
        missed = sorted(one for one in thresholds if one >= value + gap and one >= value * ratio)[:2]
        reached = sorted((one for one in thresholds if one <= value - gap and one * ratio <= value), reverse=True)[:2]
        if reached and missed:
            return self.wording.pick(*(reached if self.wording.chance(0.5) else missed))
        one_sided = reached or missed
        return self.wording.pick(*one_sided) if one_sided and self.wording.chance(ONE_SIDED_SHARE) else None

    def noun(self, cover: Cover) -> Noun:
        return self.wording.noun(cover.region.land_class)

    def pick_text(self, *templates: str) -> str:
        return capital(self.wording.pick(*templates))

    def image(self, date: int) -> str:
        """`the image`, or which of several."""
        return name_image(date, self.layout.num_dates, self.rng)

    def in_image(self, date: int) -> str:
        """` in the second image`; empty where there is only one."""
        return f" in {self.image(date)}" if self.layout.num_dates > 1 else ""

    def shuffle(self, covers: Iterable[Cover]) -> list[Cover]:
        """Covers in random order; those of the simple questions tend to come first."""
        listed = list(covers)
        if len(listed) < 2:
            return listed
        keys = self.rng.random(len(listed)) + [0.0 if cover.name in self.preferred else 0.5 for cover in listed]
        return [listed[int(index)] for index in np.argsort(keys)]

    def groups(self, covers: Sequence[Cover], num: int) -> list[tuple[Cover, ...]]:
        """All groups of `num` classes, in random order, those of the simple questions first, each shuffled."""
        groups = list(combinations(self.shuffle(covers), num))
        return [tuple(group[int(index)] for index in self.rng.permutation(num)) for group in groups]

    def large(self, date: int, min_share: float = MIN_SHARE) -> tuple[Cover, ...]:
        """The classes of a date with at least this share of the image, the largest first."""
        return tuple(cover for cover in self.layout.covers[date] if cover.share >= min_share)

    def say_share(self, cover: Cover, *, area: bool = False) -> str:
        """`It covers 43% of the image (2.1 km2).`"""
        noun = self.noun(cover)
        verb = self.wording.pick("cover", "cover", "take up", "make up", "occupy")
        more = f" ({format_area(cover.area_m2)})" if area and cover.area_m2 is not None else ""
        return f"{capital(noun.it)} {noun.verb(verb)} {format_share(cover.share)} of the image{more}."

    def point(self, cover: Cover, *findings: str, lead: str = "") -> Pointed:
        """A step that points at a class."""
        return Pointed(
            mask=cover.mask,
            class_name=cover.name,
            date=cover.date,
            lead=lead or f"{capital(self.noun(cover).the)}:",
            finding=" ".join(finding for finding in findings if finding),
        )

    def draft(
        self,
        *,
        task: str,
        text: str,
        steps: Sequence[Pointed],
        conclusion: str,
        truth: str,
        wrong: Sequence[str] = (),
        value: float | None = None,
        unit: str | None = None,
    ) -> Draft:
        """The question that its parts make."""
        numbered = self.layout.num_dates > 1
        trace_steps = tuple(
            Step(
                text=step.lead,
                image=step.date + 1 if numbered else None,
                finding=step.finding,
                mask=step.mask,
            )
            for step in steps
        )
        question = Question(
            task=task,
            text=text,
            options=(),
            trace=Trace(steps=trace_steps, conclusion=conclusion, answer=truth),
            truth=truth,
            value=value,
            unit=unit,
            classes=tuple(step.class_name for step in steps),
        )
        return Draft(question=question, wrong=tuple(wrong))

    def draft_yes_no(
        self,
        *,
        task: str,
        holds: bool,
        asked: Sequence[str],
        denied: Sequence[str],
        steps: Sequence[Pointed],
        conclusion: str,
    ) -> Draft:
        """A question with `Yes` or `No`, each as likely whatever holds: `denied` are wordings that ask the opposite."""
        yes = self.wording.chance(0.5)
        text = self.pick_text(*(asked if holds == yes else denied))
        truth, other = ("Yes", "No") if yes else ("No", "Yes")
        return self.draft(task=task, text=text, steps=steps, conclusion=conclusion, truth=truth, wrong=(other,))

    def other_classes(
        self, truth: Cover, date: int, num: int, named: Sequence[Cover] = (), without: Sequence[Cover] = ()
    ) -> tuple[str, ...]:
        """Nouns of `num` other classes for options: those in question first, then others there, then absent ones."""
        there = [cover.region for cover in (*named, *self.shuffle(self.layout.covers[date]))]
        excluded = {cover.name for cover in (truth, *without)}
        classes = {region.name: region.land_class for region in (*there, *self.layout.regions[date])}
        return tuple(self.wording.noun(one).text for name, one in classes.items() if name not in excluded)[:num]


def are_clear(*shares: float, ratio: float) -> bool:
    """True if every two of the shares differ by this ratio, and still differ once written as whole percentages."""
    ordered = sorted(shares)
    neighbours = pairwise(ordered)
    return all(high >= ratio * low and format_share(high) != format_share(low) for low, high in neighbours)
