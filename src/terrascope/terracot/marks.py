"""Regions under numbered marks such as `[SEG:1 water]`: how a language model is told of masks, and points at them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from terrascope import trace
from terrascope.quantities import format_area, format_objects, format_share
from terrascope.tasks.question import LabelledScene
from terrascope.tasks.regions import Region, find_regions
from terrascope.terracot.naming import named_classes
from terrascope.trace import SEG, Trace

_MARK = re.compile(r"(?:\bImage:\s*\d+\s*)?\[SEG\b:?\s*(?P<number>\d{0,6})(?P<name>[^\]\n]*)\]", re.I)
_TAG = re.compile(r"</?(?:think|caption|answer)>", re.I)


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """The regions of a scene that a model may point at, numbered from 1 in their order.

    Attributes:
        regions: date by date, the largest first.
        num_dates: of the scene.
    """

    regions: tuple[Region, ...]
    num_dates: int

    def mark(self, number: int) -> str:
        """`[SEG:1 water]`; with several dates `[SEG:3 water, image 2]`."""
        region = self.regions[number - 1]
        image = f", image {region.date + 1}" if self.num_dates > 1 else ""
        return f"[SEG:{number} {region.name}{image}]"

    def describe(self) -> str:
        """One line for every region: its mark, and what its mask measures."""
        return "\n".join(f"- {self.mark(n)}: {_facts(region)}" for n, region in enumerate(self.regions, 1))

    def read(self, reasoning: str, answer: str) -> tuple[Trace, tuple[Region, ...], tuple[str, ...]]:
        """A reasoning with marks as a trace, each mark a [SEG] with its mask.

        Returns:
            the trace; the regions of its grounded steps, in order; what is wrong with its marks, one sentence each.
            With faults, trace and regions are of the marks that could be read.
        """
        regions: list[Region] = []
        faults: list[str] = []

        def resolve(match: re.Match[str]) -> str:
            region, fault = self._region_of(match)
            if region is None:
                faults.append(fault)
                return " "
            regions.append(region)
            return f" Image: {region.date + 1} {SEG} " if self.num_dates > 1 else f" {SEG} "

        plain = " ".join(_MARK.sub(resolve, " ".join(_TAG.sub(" ", reasoning).split())).split())
        # A mark has no punctuation of its own: "the water [SEG]." ends before the mask.
        plain = re.sub(rf"{re.escape(SEG)}\s*[.,;:]+(?=\s|$)", SEG, plain)
        parsed = trace.parse(f"<think>{plain}</think><answer>{self.without_marks(answer)}</answer>")
        waiting = iter(regions)
        steps = tuple(replace(s, mask=next(waiting).mask) if s.grounded else s for s in parsed.steps)
        parsed = replace(parsed, steps=steps)
        if "[SEG" in f"{plain} {parsed.answer}".replace(SEG, ""):
            faults.append("A mark is not closed: it ends with a bracket.")
        if not regions and not faults:
            faults.append(f"The reasoning points at no region; write marks such as {self.mark(1)}.")
        faults += _misnamed(parsed, regions)
        return parsed, tuple(regions), tuple(faults)

    @staticmethod
    def without_marks(text: str) -> str:
        """A text on one line, without marks and tags."""
        plain = " ".join(_MARK.sub(" ", _TAG.sub(" ", text)).split())
        return re.sub(r"\s+([.,;:!?])", r"\1", plain)

    def _region_of(self, match: re.Match[str]) -> tuple[Region | None, str]:
        if not match["number"]:
            return None, f"{match[0].strip()} has no number; use the marks of the list, such as {self.mark(1)}."
        number = int(match["number"])
        if not 1 <= number <= len(self.regions):
            return None, f"There is no region {number}; the regions are numbered 1 to {len(self.regions)}."
        region, said = self.regions[number - 1], match["name"].lower()
        if said.strip(" ,:") and region.name.lower() not in said:
            return None, f"{match[0].strip()} is wrong: region {number} is {self.mark(number)}."
        return region, ""


def number_regions(labelled: LabelledScene, *, min_share: float, max_per_date: int) -> Marks:
    """The regions with at least `min_share` (0-1) of their image, date by date, at most the largest so many of each."""
    regions: list[Region] = []
    for date in range(labelled.num_dates):
        found = [region for region in find_regions(labelled, date) if region.num_pixels]
        large = sorted((r for r in found if r.coverage >= min_share), key=lambda r: -r.coverage)
        regions += large[:max_per_date]
    return Marks(regions=tuple(regions), num_dates=labelled.num_dates)


def _facts(region: Region) -> str:
    facts = [f"{format_share(region.coverage)} of the image"]
    if region.survey.pixel_size is not None:
        facts.append(format_area(region.area_m2))
    patches = format_objects(region.num_objects).replace("object", "separate patch", 1).replace("patchs", "patches")
    return ", ".join([*facts, patches, f"centered in the {region.position}"])


def _misnamed(parsed: Trace, regions: Sequence[Region]) -> list[str]:
    """Steps whose words before the mark do not name what the mask shows: nobody could tell what to look for."""
    faults = []
    for number, (step, region) in enumerate(zip(parsed.grounded_steps, regions, strict=True), 1):
        nomenclature = region.survey.label_map.nomenclature
        if region.name not in named_classes(step.text, nomenclature):
            faults.append(
                f"The words right before mark {number} of the reasoning do not name the {region.name}: "
                f"write for instance 'The {region.land_class.plural} [SEG:...]'."
            )
    return faults
