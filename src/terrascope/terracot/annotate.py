"""TerraScope-Cap: a model labels a chip and describes it (paper, Section 3.3 and Appendix E.2).

A model that captions is asked to describe the scene; the masks of its reasoning become the label maps. Any other is
asked for every class in turn. Either way the result is a chip as a data set would give it, so that all later stages
work on it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from terrascope import masks
from terrascope.answer import Answer
from terrascope.errors import QuestionError, TerraScopeError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED, Nomenclature
from terrascope.masks import Mask
from terrascope.predictor import ManySegmenter, Predictor
from terrascope.scene import LabelMap, Scene
from terrascope.sources.chips import Chip
from terrascope.tasks.question import Question
from terrascope.terracot.naming import named_classes
from terrascope.terracot.refine import MIN_KEPT, refine_caption, refine_labels
from terrascope.terracot.tools import Labelled
from terrascope.terracot.verify import check

LOW_CONFIDENCE = "predicted mask of low confidence"
EMPTY = "predicted mask is empty"
TOO_SMALL = "predicted mask is too small"
HIDDEN = "predicted mask below more confident ones"
NO_CLASS = "predicted mask of no known class"
UNKNOWN_TO_MODEL = "class that the model does not know"
BAD_CAPTION = "predicted caption: {}"


@dataclass(frozen=True, kw_only=True)
class AnnotationSettings:
    """What is asked of a model, and what of it is believed.

    Attributes:
        min_confidence: masks below (mean probability inside the mask, 0.5 to 1) are dropped.
        min_pixels: masks with fewer pixels are dropped.
        min_kept: least share (0-1) of a mask that an annotation must leave of it.
        instruction: what a model that captions is asked; None to ask for classes at once.
        min_words: an answer with fewer words is no description.
        class_names: what a model that does not caption is asked for; None for all of the nomenclature.
    """

    min_confidence: float = 0.7
    min_pixels: int = 16
    min_kept: float = MIN_KEPT
    instruction: str | None = "Describe the image."
    min_words: int = 8
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Predicted:
    """A mask bool `[H, W]` as a model made it, of a class on a date (from 0)."""

    class_id: int
    date: int
    mask: Mask
    confidence: float


def annotate(chip: Chip, predictor: Predictor, settings: AnnotationSettings | None = None) -> Labelled:
    """Label a chip by a model.

    - Masks of low confidence and those that are too small are dropped; their pixels are unlabelled where no other
      mask has them, and the map does not vouch for their class.
    - Where masks overlap, the more confident one has the pixel; of equally confident ones the smaller.
    - A pixel in no mask is of none of the classes that the map vouches for (`landcover.OTHER`). Of a model that was
      asked for a class, an empty mask that it is confident of says that the class is absent; of a description, nothing
      follows for classes that it does not mention.
    - Where the chip has labels, the masks are intersected with them (`terrascope.terracot.refine`).
    - A description whose numbers hold for the masks that are left joins the captions of the chip.

    Returns:
        the chip with label maps of the chip's own nomenclature (`landcover.TERRASCOPE` if it had no labels), one a
        date; `predicted` or `refined`; why what was dropped was dropped.
    """
    settings = settings or AnnotationSettings()
    nomenclature = chip.labels[0].nomenclature if chip.labels else TERRASCOPE
    rejected: list[str] = []
    described = None
    if settings.instruction is not None:
        answer = predictor.ask(chip.scene, settings.instruction)
        described = _as_caption(answer, settings, nomenclature)
    if described is not None:
        found = list(_described_masks(answer, nomenclature, rejected))
    else:
        found = list(_segmented_masks(chip.scene, predictor, settings, nomenclature, rejected))
    labels = tuple(
        _paint(
            [predicted for predicted in found if predicted.date == date],
            pair.valid,
            nomenclature,
            settings,
            rejected,
            asked=described is None,
        )
        for date, pair in enumerate(chip.scene.pairs)
    )
    if chip.labels:
        refined = [
            refine_labels(predicted, annotated, min_kept=settings.min_kept)
            for predicted, annotated in zip(labels, chip.labels, strict=True)
        ]
        labels = tuple(each.labels for each in refined)
        rejected += [reason for each in refined for reason in each.dropped]
    annotated_chip = replace(chip, labels=labels)
    if described is not None:
        caption = _checked_caption(described, annotated_chip, settings, rejected)
        annotated_chip = replace(annotated_chip, captions=(*chip.captions, *caption))
    return Labelled(chip=annotated_chip, labels="refined" if chip.labels else "predicted", rejected=tuple(rejected))


def _as_caption(answer: Answer, settings: AnnotationSettings, nomenclature: Nomenclature) -> Question | None:
    """An answer as a grounded caption; None if it is no description: too short, or no mask of it is of a class."""
    classes = [_class_of(step.text, nomenclature) for step in answer.steps]
    if len(answer.text.split()) < settings.min_words or not any(classes):
        return None
    return Question(
        task="caption",
        text=answer.question,
        options=(),
        trace=answer.trace,
        truth=answer.text,
        classes=tuple(name or "" for name in classes),
    )


def _class_of(text: str, nomenclature: Nomenclature) -> str | None:
    """The class that the words before a mask name; the last, as in `Next to the water, the crops:`."""
    named = named_classes(text, nomenclature)
    return named[-1] if named else None


def _described_masks(answer: Answer, nomenclature: Nomenclature, rejected: list[str]) -> Iterator[_Predicted]:
    for step in answer.steps:
        name = _class_of(step.text, nomenclature)
        if name is None:
            rejected.append(NO_CLASS)
            continue
        yield _Predicted(
            class_id=nomenclature.id_of(name), date=step.image - 1, mask=step.mask, confidence=step.confidence
        )


def _segmented_masks(
    scene: Scene,
    predictor: Predictor,
    settings: AnnotationSettings,
    nomenclature: Nomenclature,
    rejected: list[str],
) -> Iterator[_Predicted]:
    names = settings.class_names or nomenclature.names
    for name, answer in zip(names, _segment_all(scene, predictor, names), strict=True):
        if isinstance(answer, QuestionError):
            rejected.append(UNKNOWN_TO_MODEL)
            continue
        if isinstance(answer, TerraScopeError):
            raise answer
        for step in answer.steps:
            yield _Predicted(
                class_id=nomenclature.id_of(name), date=step.image - 1, mask=step.mask, confidence=step.confidence
            )


def _segment_all(scene: Scene, predictor: Predictor, names: Sequence[str]) -> Iterator[Answer | TerraScopeError]:
    if isinstance(predictor, ManySegmenter):
        yield from predictor.segment_many(scene, names)
        return
    for name in names:
        try:
            yield predictor.segment(scene, name)
        except QuestionError as error:
            yield error


def _paint(
    found: Sequence[_Predicted],
    valid: NDArray[np.bool_],
    nomenclature: Nomenclature,
    settings: AnnotationSettings,
    rejected: list[str],
    *,
    asked: bool,
) -> LabelMap:
    """The label map of one date, from all of its masks; where classes were `asked` for, empty ones tell of absence."""
    ids = np.full(valid.shape, OTHER, np.uint8)
    doubtful = np.zeros_like(valid)
    believed, known = [], set[int]()
    for predicted in found:
        mask = predicted.mask & valid
        num_pixels = masks.count(mask)
        if predicted.confidence < settings.min_confidence:
            rejected.append(LOW_CONFIDENCE)
            doubtful |= mask
        elif not num_pixels:
            rejected.append(EMPTY)
            if asked:
                known.add(predicted.class_id)
        elif num_pixels < settings.min_pixels:
            rejected.append(TOO_SMALL)
            doubtful |= mask
        else:
            believed.append((predicted.confidence, -num_pixels, predicted.class_id, mask))
    ids[doubtful] = UNLABELLED
    # The later one stays on top.
    for _, _, class_id, mask in sorted(believed, key=lambda each: each[:3]):
        ids[mask] = class_id
    for class_id in sorted({class_id for _, _, class_id, _ in believed}):
        left = ids == class_id
        if masks.count(left) < settings.min_pixels:
            rejected.append(HIDDEN)
            ids[left] = UNLABELLED
            known.discard(class_id)
        else:
            known.add(class_id)
    ids[~valid] = UNLABELLED
    return LabelMap(ids=ids, nomenclature=nomenclature, class_ids_known=tuple(sorted(known)))


def _checked_caption(
    described: Question, annotated: Chip, settings: AnnotationSettings, rejected: list[str]
) -> tuple[str, ...]:
    """The words of a description, if they hold for the masks that are left."""
    if not all(described.classes):
        rejected.append(BAD_CAPTION.format(NO_CLASS))
        return ()
    refined = refine_caption(described, annotated.labelled, min_kept=settings.min_kept)
    rejected += [BAD_CAPTION.format(reason) for reason in refined.dropped]
    if refined.question is None:
        return ()
    faults = check(refined.question, annotated.labelled)
    rejected += [BAD_CAPTION.format(fault) for fault in faults[:1]]
    return () if faults else (refined.question.truth,)
