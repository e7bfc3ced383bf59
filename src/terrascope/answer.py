"""An answer: a reasoning with a mask at each of its steps, measured and checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope import answer_arrays, answer_display, answer_files, answer_json, spatial, trace
from terrascope.errors import ScaleError
from terrascope.question import LETTERS, Quantity, asked_quantity
from terrascope.scene import Scene
from terrascope.spatial import Measurement
from terrascope.trace import Disagreement, Trace

if TYPE_CHECKING:
    import geopandas
    import xarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounding:
    """What stands behind one [SEG] of a reasoning.

    Attributes:
        mask: bool `[H, W]` on the scene's grid, True where the step points.
        image: the pair that the mask lies on, counted from 1 ("Image: t").
        confidence: how decided the mask's logits are, 0 to 1.
        num_optical_tokens, num_sar_tokens: visual tokens that were injected after this [SEG], per modality.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    image: int
    confidence: float
    num_optical_tokens: int
    num_sar_tokens: int


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundedStep:
    """One step of an answer: what it says, the mask it says it of, and what the program measures on that mask.

    Attributes:
        text: the words that lead to the mask.
        finding: what the reasoning says after it has seen the mask.
        image: the pair that the mask lies on, counted from 1.
        mask: bool `[H, W]` on the scene's grid.
        measurement: pixels, coverage, area, objects and position of the mask.
        confidence: how decided the mask's logits are, 0 to 1.
        num_optical_tokens, num_sar_tokens: visual tokens that were injected, per modality.
        distance_m: smallest distance to the mask of the step before; None for the first step and without a scale.
        disagreements: numbers in `finding` that the mask contradicts.
    """

    text: str
    finding: str
    image: int
    mask: NDArray[np.bool_] = field(repr=False)
    measurement: Measurement
    confidence: float
    num_optical_tokens: int
    num_sar_tokens: int
    distance_m: float | None = None
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Visual tokens that were injected, of both modalities."""
        return self.num_optical_tokens + self.num_sar_tokens


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Answer:
    """A question, its reasoned answer, and a mask for every step of the reasoning.

    Attributes:
        scene: what was asked.
        question: in words.
        options: the texts to choose from, without letters; empty for a free answer.
        text: the answer; with options, the letter of the chosen one.
        reasoning: all that the predictor wrote, tags included.
        trace: the same, parsed, with the masks at their steps.
        steps: the grounded steps with their measurements, in order.
        model: name of the predictor.
        measured: what the masks measure for the quantity that the answer states, worded like it; None where it states
            none, or nothing is known.
        notes: what a reader should know beside the answer, one sentence each.
    """

    scene: Scene
    question: str
    options: tuple[str, ...] = ()
    text: str
    reasoning: str
    trace: Trace
    steps: tuple[GroundedStep, ...]
    model: str
    measured: str | None = None
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def from_reasoning(
        cls,
        *,
        scene: Scene,
        question: str,
        options: Sequence[str] = (),
        reasoning: str,
        groundings: Sequence[Grounding],
        model: str,
        notes: Sequence[str] = (),
    ) -> Answer:
        """Parse a reasoning, attach its masks, measure each of them, and check the stated numbers against them.

        Args:
            reasoning: in the grammar of `terrascope.trace`.
            groundings: one for every [SEG] of the reasoning, in order.
            notes: what the predictor itself has to say, e.g. that it was cut off.

        Raises:
            ValueError: the groundings and the [SEG]s of the reasoning are not equally many, or a grounding lies on no
                image of the scene.
        """
        parsed = trace.parse(reasoning)
        if len(parsed.grounded_steps) != len(groundings):
            raise ValueError(f"{len(parsed.grounded_steps)} [SEG] tokens, but {len(groundings)} masks")
        waiting = iter(groundings)
        parsed = replace(
            parsed,
            steps=tuple(replace(step, mask=next(waiting).mask) if step.grounded else step for step in parsed.steps),
        )
        steps: list[GroundedStep] = []
        for step, grounding in zip(parsed.grounded_steps, groundings, strict=True):
            steps.append(_ground(scene, step, grounding, steps[-1] if steps else None))
        text, doubts = _read_answer(parsed, len(options))
        missing = trace.missing_images(parsed, len(scene.pairs))
        doubts += [f"The reasoning names Image: {image}, which the scene does not have." for image in missing]
        doubts += [f"The mask of step {n} is empty." for n, step in enumerate(steps, 1) if not step.mask.any()]
        doubts += [*_doubt_kind(question, parsed.answer), *_doubt_answer(parsed.answer, steps)] if not options else []
        if len({(step.text, step.image) for step in steps}) < len(steps):
            doubts.append("Two steps show the same thing; the question may name something else.")
        return cls(
            scene=scene,
            question=question,
            options=tuple(options),
            text=text,
            reasoning=reasoning,
            trace=parsed,
            steps=tuple(steps),
            model=model,
            notes=(*notes, *scene.notes, *doubts),
        )

    @property
    def masks(self) -> tuple[NDArray[np.bool_], ...]:
        """The masks, bool `[H, W]`, one per grounded step."""
        return tuple(step.mask for step in self.steps)

    @property
    def option(self) -> str | None:
        """The text of the chosen option; None for a free answer, or if the answer names no option."""
        chosen = LETTERS.find(self.text) if len(self.text) == 1 else -1
        return self.options[chosen] if 0 <= chosen < len(self.options) else None

    @property
    def num_disagreements(self) -> int:
        """Stated numbers that a mask contradicts, over all steps."""
        return sum(len(step.disagreements) for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON values (schema `terrascope-answer/1`): masks run-length coded, units in the keys."""
        return answer_json.to_dict(self)

    def to_xarray(self) -> xarray.Dataset:
        """The masks as an `xarray.Dataset` with dimensions `step`, `y` and `x` (`terrascope.answer_arrays`).

        Raises:
            OutputError: xarray is not installed.
        """
        return answer_arrays.to_xarray(self)

    def to_geodataframe(self) -> geopandas.GeoDataFrame:
        """The outlines of the masks as a `geopandas.GeoDataFrame` in the scene's own CRS, one row per step.

        Raises:
            OutputError: geopandas is not installed.
        """
        return answer_arrays.to_geodataframe(self)

    def __repr__(self) -> str:
        steps = "1 step" if len(self.steps) == 1 else f"{len(self.steps)} steps"
        return f"<Answer {(self.option or self.text)!r} to {self.question!r}: {steps}, by {self.model}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return answer_display.to_html(self)

    def save(self, directory: str | os.PathLike[str]) -> dict[str, Path]:
        """Write the files of `docs/answer-json.md`.

        Always `report.html`, `answer.json` and `overlay.png`; where there is a mask, `masks.tif`, `steps.tif` with
        `steps.tif.aux.xml`, `masks.geojson` and `masks.parquet`; where the scene is located, `item.json`. All of
        them appear together or not at all; files of an earlier answer are replaced.

        Returns:
            the path of each file by its name.

        Raises:
            OutputError: the folder cannot be written, or a file stands in the way.
        """
        return answer_files.save(self, directory)


def _ground(scene: Scene, step: trace.Step, grounding: Grounding, before: GroundedStep | None) -> GroundedStep:
    if not 1 <= grounding.image <= len(scene.pairs):
        raise ValueError(f"a mask lies on image {grounding.image}, but the scene has {len(scene.pairs)}")
    valid = scene.pairs[grounding.image - 1].valid
    measurement = spatial.measure(grounding.mask, valid=valid, georeference=scene.georeference)
    distance_m = _distance_m(scene, before, grounding.mask & valid)
    return GroundedStep(
        text=step.text,
        finding=step.finding,
        image=grounding.image,
        mask=grounding.mask,
        measurement=measurement,
        confidence=grounding.confidence,
        num_optical_tokens=grounding.num_optical_tokens,
        num_sar_tokens=grounding.num_sar_tokens,
        distance_m=distance_m,
        disagreements=trace.check_step(
            step,
            coverage=measurement.coverage,
            area_m2=measurement.area_m2,
            num_objects=measurement.num_objects,
            distance_m=distance_m,
        ),
    )


def _distance_m(scene: Scene, before: GroundedStep | None, mask: NDArray[np.bool_]) -> float | None:
    if before is None or not mask.any():
        return None
    mask_before = before.mask & scene.pairs[before.image - 1].valid
    if not mask_before.any():
        return None
    try:
        pixel_size = scene.georeference.pixel_size(*scene.shape)
        return spatial.distance_m(mask_before, mask, pixel_size)
    except ScaleError:
        return None


def _doubt_kind(question: str, answer: str) -> list[str]:
    """A quantity of another kind than the question asks for."""
    asked = asked_quantity(question)
    stated = {_kind_of(number.unit) for number in trace.stated_numbers(answer) if number.unit != "px"}
    if asked is None or not stated or asked in stated:
        return []
    named = " and ".join(f"{'an' if kind == 'area' else 'a'} {kind}" for kind in sorted(stated))
    return [f"The question asks for {'an' if asked == 'area' else 'a'} {asked}, but the answer states {named}."]


def _kind_of(unit: trace.Unit) -> Quantity:
    if unit == "%":
        return "share"
    return "length" if unit in trace.METRES else "area" if unit in trace.SQUARE_METRES else "number"


def _doubt_answer(answer: str, steps: Sequence[GroundedStep]) -> list[str]:
    """Quantities in a free answer that the masks contradict: of the one mask, or the distance of the last two."""
    if not steps:
        return []
    last = steps[-1]
    units = {number.unit for number in trace.stated_numbers(answer)}
    if len(steps) > 1 and not units <= set(trace.METRES):
        return []
    found = trace.check_step(
        trace.Step(text=last.text, finding=answer),
        coverage=last.measurement.coverage,
        area_m2=last.measurement.area_m2,
        num_objects=last.measurement.num_objects,
        distance_m=last.distance_m,
    )
    return [f"The answer does not fit: {disagreement}" for disagreement in found]


def _read_answer(parsed: Trace, num_options: int) -> tuple[str, list[str]]:
    """The answer's text (with options, its letter), and what there is to say against it."""
    if not parsed.answer:
        return "", ["The reasoning ended without an answer."]
    if not num_options:
        return parsed.answer, []
    letter = trace.answer_letter(parsed.answer, num_options)
    if letter is None:
        return parsed.answer, ["The answer names none of the options."]
    return letter, []
