"""Predicted masks made better by annotations where there are some: their intersection (paper, Appendix E.2).

A pixel of a predicted mask is given up where an annotation says otherwise; where none says anything it stays. The label
maps that are left are the truth of all later stages, which measure them anew. A caption that was written for the masks
as they were predicted states numbers that may hold no more: `refine_caption` says what becomes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from terrascope import masks, spatial, trace
from terrascope.landcover import OTHER, UNLABELLED
from terrascope.masks import Mask
from terrascope.quantities import format_share
from terrascope.scene import LabelMap
from terrascope.tasks.question import LabelledScene, Question
from terrascope.terracot.naming import named_classes
from terrascope.trace import METRES, Step

MIN_KEPT = 0.5
"""Least share of a predicted mask that must be left of it; a mask that loses more was mistaken."""

NOTHING_LEFT = "nothing left of a predicted mask"
LITTLE_LEFT = "little left of a predicted mask"
NO_MASK_LEFT = "caption without a mask left"
NO_CAPTION_LEFT = "caption without a sentence left"

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, kw_only=True, eq=False)
class RefinedLabels:
    """A refined label map, and why the masks of which it holds nothing were dropped: one reason for each."""

    labels: LabelMap
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RefinedCaption:
    """A refined caption, None if nothing of it is left; and why steps, or all of it, were dropped."""

    question: Question | None
    dropped: tuple[str, ...] = ()


def contradicted(annotated: LabelMap, class_id: int) -> Mask:
    """bool `[H, W]`: True where an annotation says that a pixel is not of a class.

    It does where it names another class, and where it names none (`landcover.OTHER`) although it tells this one apart.
    """
    is_other = annotated.ids == OTHER if class_id in annotated.class_ids_known else False
    is_named = (annotated.ids != UNLABELLED) & (annotated.ids != OTHER)
    return np.asarray((is_named & (annotated.ids != class_id)) | is_other, np.bool_)


def refine_labels(predicted: LabelMap, annotated: LabelMap, *, min_kept: float = MIN_KEPT) -> RefinedLabels:
    """The intersection of predicted and annotated masks, class by class.

    Pixels about which the two differ become `UNLABELLED`: neither is believed. A class that keeps less than `min_kept`
    (0-1) of its predicted pixels, or none, loses the rest too, and the map does not vouch for it any more; nor for a
    class that is annotated but was not predicted at all. Objects are those of the annotation.

    Raises:
        ValueError: the maps are of different nomenclatures or sizes.
    """
    if predicted.nomenclature != annotated.nomenclature or predicted.ids.shape != annotated.ids.shape:
        raise ValueError("predicted and annotated labels must share one nomenclature and one grid")
    ids = predicted.ids.copy()
    known, dropped = [], []
    for class_id in predicted.class_ids_known:
        mask = predicted.mask(class_id)
        kept = mask & ~contradicted(annotated, class_id)
        num, num_kept = masks.count(mask), masks.count(kept)
        if num and (not num_kept or num_kept < min_kept * num):
            dropped.append(LITTLE_LEFT if num_kept else NOTHING_LEFT)
            ids[mask] = UNLABELLED
            continue
        ids[mask & ~kept] = UNLABELLED
        if num or not annotated.mask(class_id).any():
            known.append(class_id)
    # No class was predicted here, but one is annotated.
    ids[(predicted.ids == OTHER) & (annotated.ids != UNLABELLED) & (annotated.ids != OTHER)] = UNLABELLED
    labels = LabelMap(
        ids=ids,
        nomenclature=predicted.nomenclature,
        class_ids_known=tuple(known),
        objects=annotated.objects,
    )
    return RefinedLabels(labels=labels, dropped=tuple(dropped))


def refine_caption(question: Question, labelled: LabelledScene, *, min_kept: float = MIN_KEPT) -> RefinedCaption:
    """A caption whose masks are intersected with label maps, and whose words hold for what is left of them.

    - A step of whose mask nothing, or less than `min_kept` (0-1), is left is dropped with all it says.
    - In the findings of the others, a sentence with a number that the refined mask contradicts
      (`trace.check_step`) is dropped; one that stated a share is replaced by one with the measured share.
    - Of the conclusion and the caption, the sentences are dropped that state a number which no refined mask bears out,
      or that speak of a class of which every step was dropped.
    - What is said without numbers stays: a mask that keeps most of its pixels is still what and where it was.

    Raises:
        ValueError: the question is no caption (the answers of others are computed from refined label maps), or a step
            has no mask.
    """
    if question.task != "caption" or question.options:
        raise ValueError(f"only captions are refined, got {question.task}")
    images = trace.resolve_images(question.trace, labelled.num_dates)
    leading = [step for step in question.trace.steps if not step.grounded]
    steps, classes, bounds, dropped = list[Step](), list[str](), list[_Measured](), list[str]()
    for step, name, image in zip(question.trace.grounded_steps, question.classes, images, strict=True):
        if step.mask is None:
            raise ValueError(f"the step {step.text!r} has no mask")
        label_map = labelled.labels[image - 1]
        mask = step.mask & label_map.mask(label_map.nomenclature.id_of(name)) & labelled.measured(image - 1)
        num, num_kept = masks.count(step.mask), masks.count(mask)
        if not num_kept or num_kept < min_kept * num:
            dropped.append(LITTLE_LEFT if num_kept else NOTHING_LEFT)
            continue
        measured = _measure(mask, bounds[-1].mask if bounds else None, labelled, image - 1)
        steps.append(replace(step, mask=mask, finding=_refine_finding(step.finding, measured)))
        classes.append(name)
        bounds.append(measured)
    if not steps:
        return RefinedCaption(question=None, dropped=(*dropped, NO_MASK_LEFT))
    gone = set(question.classes) - set(classes)
    nomenclature = labelled.labels[0].nomenclature

    def holds(sentence: str) -> bool:
        if gone & set(named_classes(sentence, nomenclature)):
            return False
        return all(any(not _disagrees(number, measured) for measured in bounds) for number in _numbers(sentence))

    answer = " ".join(sentence for sentence in _sentences(question.trace.answer) if holds(sentence))
    if not answer:
        return RefinedCaption(question=None, dropped=(*dropped, NO_CAPTION_LEFT))
    conclusion = " ".join(sentence for sentence in _sentences(question.trace.conclusion) if holds(sentence))
    refined = replace(question.trace, steps=(*leading, *steps), conclusion=conclusion, answer=answer)
    return RefinedCaption(
        question=replace(question, trace=refined, truth=answer, classes=tuple(classes)), dropped=tuple(dropped)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """A refined mask and what it measures; metres only where the scale is known."""

    mask: Mask
    coverage: float
    area_m2: float | None
    num_objects: int
    distance_m: float | None


def _measure(mask: Mask, before: Mask | None, labelled: LabelledScene, date: int) -> _Measured:
    size = labelled.pixel_size
    return _Measured(
        mask=mask,
        coverage=spatial.coverage(mask, labelled.measured(date)),
        area_m2=None if size is None else spatial.area_m2(mask, size),
        num_objects=spatial.count_objects(mask),
        distance_m=None if size is None or before is None else spatial.distance_m(before, mask, size),
    )


def _refine_finding(finding: str, measured: _Measured) -> str:
    kept = []
    for sentence in _sentences(finding):
        if not _disagrees(sentence, measured):
            kept.append(sentence)
        elif any(number.unit == "%" and number.subject == "mask" for number in trace.stated_numbers(sentence)):
            kept.append(f"It covers {format_share(measured.coverage)} of the image.")
    return " ".join(dict.fromkeys(kept))


def _disagrees(sentence: str, measured: _Measured) -> bool:
    # A distance to a mask that was dropped, or that there is none before, cannot be borne out.
    if measured.distance_m is None and any(number.unit in METRES for number in trace.stated_numbers(sentence)):
        return True
    return bool(
        trace.check_step(
            Step(text="", finding=sentence),
            coverage=measured.coverage,
            area_m2=measured.area_m2,
            num_objects=measured.num_objects,
            distance_m=measured.distance_m,
        )
    )


def _numbers(sentence: str) -> list[str]:
    """The numbers of a sentence that a mask can bear out, each as a sentence of its own."""
    units = {"%": "%", "count": " areas"}
    return [
        f"{number.value:.10g}{units.get(number.unit, f' {number.unit}')}"
        for number in trace.stated_numbers(sentence)
        if number.subject == "mask" and number.unit != "px"
    ]


def _sentences(text: str) -> Sequence[str]:
    return [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]
