"""What data sets themselves ask: questions about a marked region, and samples that are grounded already.

A question about a region (TEOChatlas; paper, Appendix E.2: region-based change question answering) is answered with the
region's mask on every date. A question about the whole image rests on no mask, and makes no sample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import shapely

from terrascope import masks
from terrascope.sample import Sample
from terrascope.sources.chips import Chip
from terrascope.tasks import Question
from terrascope.trace import Step, Trace

WRITER = "data set"
REGION = "region"
"""What the mask of a marked region is said to show: the data set names no class."""


@runtime_checkable
class SampleSource(Protocol):
    """A source that has grounded samples of its own."""

    def samples(self, key: str) -> tuple[Sample, ...]:
        """The samples of a chip.

        Raises:
            ChipError: the chip cannot be used.
        """
        ...


def ask(chip: Chip) -> list[Question]:
    """The data set's questions about regions of a chip, in its order, but for regions that hold no pixel."""
    questions = []
    num_dates = len(chip.scene.pairs)
    for given in chip.questions:
        if given.polygon is None:
            continue
        exterior, *holes = given.polygon
        mask = masks.rasterize([shapely.make_valid(shapely.Polygon(exterior, holes))], chip.scene.shape)
        if not mask.any():
            continue
        steps = tuple(
            Step(text="The region:", image=date if num_dates > 1 else None, mask=mask & pair.valid)
            for date, pair in enumerate(chip.scene.pairs, 1)
        )
        questions.append(
            Question(
                task=f"given/{given.kind}",
                text=given.text,
                options=(),
                trace=Trace(steps=steps, answer=given.answer),
                truth=given.answer,
                classes=(REGION,) * num_dates,
            )
        )
    return questions


def take_samples(source: SampleSource, chip: Chip) -> list[Sample]:
    """The samples that a source has of a chip, as samples of that chip: named after it, and read again by its key."""
    return [
        replace(
            sample,
            id=f"{chip.source}/{chip.key}/{sample.level}/{number}",
            source=chip.source,
            key=chip.key,
            place=chip.place,
            split=chip.split,
        )
        for number, sample in enumerate(source.samples(chip.key), 1)
    ]
