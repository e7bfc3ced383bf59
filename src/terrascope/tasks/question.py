"""What all tasks share: the labelled scene they ask about, the question they make, and the face of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from terrascope import masks
from terrascope.georeference import PixelSize
from terrascope.scene import LabelMap
from terrascope.tasks.survey import Region, Survey
from terrascope.trace import LETTERS, Trace


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledScene:
    """The truth of a scene, as far as tasks need it.

    Attributes:
        labels: one label map a date, in time order, all `[H, W]` on the scene's grid.
        valid: bool `[H, W]`, True where the scene was measured on every date.
        pixel_size: ground size of the pixels; None where the scale is unknown.
    """

    labels: tuple[LabelMap, ...]
    valid: NDArray[np.bool_]
    pixel_size: PixelSize | None

    @property
    def num_dates(self) -> int:
        return len(self.labels)

    def measured(self, date: int) -> NDArray[np.bool_]:
        """bool `[H, W]`: True where date `date` (from 0) has a valid pixel and a known label: the denominator."""
        return self.surveys[date].measured

    @cached_property
    def labelled_share(self) -> float:
        """Share (0-1) of the valid pixels whose label is known, on the date with the smallest; 1 without label maps.

        What is far from 1 must not be asked about as if it were the whole image: its shares are of the labelled pixels.
        """
        num_valid = masks.count(self.valid)
        return min((survey.num_measured / num_valid if num_valid else 0.0 for survey in self.surveys), default=1.0)

    @cached_property
    def surveys(self) -> tuple[Survey, ...]:
        """What each label map knows, kept for all questions about the scene."""
        return tuple(
            Survey(label_map=label_map, valid=self.valid, pixel_size=self.pixel_size, date=date)
            for date, label_map in enumerate(self.labels)
        )


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question whose answer is computed from ground-truth masks.

    Attributes:
        task: name of the task that made it.
        text: the question, without its options.
        options: texts of the options, without letters; empty for a free question.
        trace: the reasoning that answers it; every grounded step carries its ground-truth mask. `trace.answer` is a
            letter where there are options, `truth` otherwise.
        truth: the right answer as a short phrase.
        value: the right answer as an unrounded number in `unit`; None where it is not a number.
        unit: `%`, `m2`, `m` or `count`.
        classes: the class that each grounded step of the trace points at, in order.
    """

    task: str
    text: str
    options: tuple[str, ...]
    trace: Trace
    truth: str
    value: float | None = None
    unit: str | None = None
    classes: tuple[str, ...] = ()


class Task(Protocol):
    """One kind of question. Its thresholds are the fields of the frozen dataclass that implements it."""

    @property
    def name(self) -> str: ...

    @property
    def num_options(self) -> int: ...

    def ask(self, labelled: LabelledScene, rng: np.random.Generator, *, with_options: bool) -> Question | None:
        """A question about the scene, or None if nothing sensible can be asked; the same `rng` asks the same."""
        ...


def pose(question: Question, distractors: Sequence[str], rng: np.random.Generator) -> Question:
    """Turn a free question into one with options: the truth among the distractors, in random order."""
    texts = (question.truth, *distractors)
    order = rng.permutation(len(texts)).tolist()
    letter = LETTERS[order.index(0)]
    conclusion = f"{question.trace.conclusion} So the answer is {letter}.".lstrip()
    return replace(
        question,
        options=tuple(texts[index] for index in order),
        trace=Trace(steps=question.trace.steps, conclusion=conclusion, answer=letter),
    )


def free_question(
    *,
    task: str,
    text: str,
    num_dates: int,
    steps: Sequence[tuple[Region, str]],
    truth: str,
    conclusion: str = "",
    value: float | None = None,
    unit: str | None = None,
) -> Question:
    """A question without options, answered with its truth. A step is a region and what is found of it."""
    return Question(
        task=task,
        text=text,
        options=(),
        trace=Trace(
            steps=tuple(region.step(num_dates, finding) for region, finding in steps),
            conclusion=conclusion,
            answer=truth,
        ),
        truth=truth,
        value=value,
        unit=unit,
        classes=tuple(region.name for region, _ in steps),
    )
