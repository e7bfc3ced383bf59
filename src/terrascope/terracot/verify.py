"""Is a drafted question true of its masks? Whoever drafted it, composer or language model, it must pass here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from terrascope import spatial, trace
from terrascope.landcover import Nomenclature
from terrascope.masks import Mask
from terrascope.tasks.question import LabelledScene, Question
from terrascope.tasks.survey import Region
from terrascope.terracot.layout import lay_out
from terrascope.terracot.nouns import NOUNS
from terrascope.terracot.recompute import recompute
from terrascope.trace import LETTERS, METRES, SQUARE_METRES, Step, Tolerance, Unit

NO_QUESTION = "no question"
NO_STEP = "no step with a mask"
NO_MASK = "a [SEG] without its mask"
WRONG_GRID = "a mask that is not on the grid"
EMPTY_MASK = "an empty mask"
UNMEASURED = "a mask on unmeasured ground"
NO_IMAGE = "an image that is not there"
NUM_CLASSES = "not one class for every mask"
UNKNOWN_CLASS = "an unknown class"
OTHER_CLASS = "a mask of another class"
NOT_READ_BACK = "reasoning that does not read back"
SHARE_OFF = "a stated share is off"
AREA_OFF = "a stated area is off"
COUNT_OFF = "a stated count is off"
DISTANCE_OFF = "a stated distance is off"
NO_SCALE = "metres without a scale"
NO_ANSWER = "no answer"
CAPTION_OFF = "a share in the caption is off"
OPTIONS_ALIKE = "options not distinct"
NOT_AN_OPTION = "right option missing"
WRONG_OPTION = "the answer is not the right option"
ANSWER_OFF = "answer contradicts the masks"
UNTRUE_TRUTH = "answer and truth differ"

FAULTS = (
    NO_QUESTION, NO_STEP, NO_MASK, WRONG_GRID, EMPTY_MASK, UNMEASURED, NO_IMAGE, NUM_CLASSES, UNKNOWN_CLASS,
    OTHER_CLASS, NOT_READ_BACK, SHARE_OFF, AREA_OFF, COUNT_OFF, DISTANCE_OFF, NO_SCALE, NO_ANSWER, CAPTION_OFF,
    OPTIONS_ALIKE, NOT_AN_OPTION, WRONG_OPTION, ANSWER_OFF, UNTRUE_TRUTH,
)  # fmt: skip
"""Every fault that `check` can name."""

TOLERANCE = Tolerance()
"""How far a stated number may lie from the measured one."""

OWN_SHARE = 0.5
"""Least share of a mask's pixels that must be of the class that it is said to show; ruins keep a house's outline."""

_CLAUSE = re.compile(r"[.;](?:\s|$)|,\s|\bwhile\b")


def check(question: Question, labelled: LabelledScene, *, tolerance: Tolerance = TOLERANCE) -> tuple[str, ...]:
    """The faults of a drafted question, each once and in fixed words; none if it may be kept.

    Masks must be there, lie on measured ground and on the class that they are said to show; numbers in the reasoning
    must agree with their masks (`trace.check_step`); the answer must be the truth, and, where the rule named after the
    slash of the task is one that can be recomputed, the truth of the label maps.
    """
    faults = dict.fromkeys(_faults(question, labelled, tolerance))
    return tuple(faults)


def _faults(question: Question, labelled: LabelledScene, tolerance: Tolerance) -> Iterator[str]:
    if not question.text.strip():
        yield NO_QUESTION
    yield from _answer_faults(question)
    steps = question.trace.grounded_steps
    if not steps or not labelled.num_dates:
        yield NO_STEP if not steps else NO_IMAGE
        return
    if len(question.classes) != len(steps):
        yield NUM_CLASSES
        return
    if trace.missing_images(question.trace, labelled.num_dates):
        yield NO_IMAGE
    if not _reads_back(question):
        yield NOT_READ_BACK
    images = trace.resolve_images(question.trace, labelled.num_dates)
    before: Mask | None = None
    sound = True
    for step, name, image in zip(steps, question.classes, images, strict=True):
        found = list(_mask_faults(step, name, image, labelled))
        if not found and step.mask is not None:
            found = list(_number_faults(step, image, before, labelled, tolerance))
            before = step.mask
        else:
            before, sound = None, False
        yield from found
    if not sound:
        return
    if question.task == "caption":
        yield from _caption_faults(question, labelled, tolerance)
    truth = recompute(question.task.partition("/")[2], question.classes, labelled, images)
    if truth is not None and not truth.agrees(question, labelled, tolerance):
        yield ANSWER_OFF


def _answer_faults(question: Question) -> Iterator[str]:
    answer, options = question.trace.answer.strip(), question.options
    if not answer or not question.truth.strip():
        yield NO_ANSWER
        return
    if not options:
        if answer != question.truth.strip():
            yield UNTRUE_TRUTH
        return
    if len({" ".join(option.lower().split()) for option in options}) < len(options):
        yield OPTIONS_ALIKE
    if question.truth not in options:
        yield NOT_AN_OPTION
    elif LETTERS[: len(options)].find(answer) != options.index(question.truth) or len(answer) != 1:
        yield WRONG_OPTION


def _reads_back(question: Question) -> bool:
    """True if the reasoning, written out and parsed, is the same steps with the same answer."""
    return trace.parse(trace.render(question.trace)) == question.trace


def _mask_faults(step: Step, name: str, image: int, labelled: LabelledScene) -> Iterator[str]:
    mask, label_map = step.mask, labelled.labels[image - 1]
    names = label_map.nomenclature.names
    class_id = names.index(name) if name in names else None
    if class_id is None or class_id not in label_map.class_ids_known:
        yield UNKNOWN_CLASS
    if mask is None:
        yield NO_MASK
        return
    if mask.shape != labelled.valid.shape or mask.dtype != np.bool_:
        yield WRONG_GRID
        return
    num = int(np.count_nonzero(mask))
    if not num:
        yield EMPTY_MASK
        return
    region = _known_region(mask, labelled, image)
    if region is not None:
        if region.name != name:
            yield OTHER_CLASS
        return
    if (mask & ~labelled.measured(image - 1)).any():
        yield UNMEASURED
    if class_id is not None and np.count_nonzero(mask & label_map.mask(class_id)) < OWN_SHARE * num:
        yield OTHER_CLASS


def _number_faults(
    step: Step, image: int, before: Mask | None, labelled: LabelledScene, tolerance: Tolerance
) -> Iterator[str]:
    """The numbers in a step's finding against its own mask. Nothing is measured that the step does not speak of."""
    mask = step.mask
    assert mask is not None
    units = {number.unit for number in trace.stated_numbers(step.finding) if number.subject == "mask"}
    if not units:
        return
    metric = units & (set(METRES) | set(SQUARE_METRES))
    if metric and labelled.pixel_size is None:
        yield NO_SCALE
    area_m2 = distance_m = None
    if labelled.pixel_size is not None and units & set(SQUARE_METRES):
        area_m2 = spatial.area_m2(mask, labelled.pixel_size)
    if labelled.pixel_size is not None and units & set(METRES):
        if before is None:
            yield DISTANCE_OFF
        else:
            distance_m = _distance_m(before, mask, labelled)
    disagreements = trace.check_step(
        step,
        coverage=spatial.coverage(mask, labelled.measured(image - 1)),
        area_m2=area_m2,
        num_objects=_num_objects(mask, labelled, image) if "count" in units else 0,
        distance_m=distance_m,
        tolerance=tolerance,
    )
    for disagreement in disagreements:
        yield _fault_of(disagreement.unit)


def _fault_of(unit: Unit) -> str:
    if unit in METRES:
        return DISTANCE_OFF
    if unit in SQUARE_METRES:
        return AREA_OFF
    return COUNT_OFF if unit == "count" else SHARE_OFF


def _known_region(mask: Mask, labelled: LabelledScene, image: int) -> Region | None:
    """The region whose very mask this is: what the survey knows of it need not be measured again."""
    regions = labelled.surveys[image - 1].regions
    return next((region for region in regions if region.num_pixels and region.mask is mask), None)


def _distance_m(before: Mask, mask: Mask, labelled: LabelledScene) -> float:
    """The distance of two masks; taken from the layout where they are whole classes of one date."""
    assert labelled.pixel_size is not None
    regions = [region for survey in labelled.surveys for region in survey.regions if region.num_pixels]
    first, second = (next((region for region in regions if region.mask is each), None) for each in (before, mask))
    if first is not None and second is not None and first.date == second.date:
        return lay_out(labelled).distance_m(first, second)
    return spatial.distance_m(before, mask, labelled.pixel_size)


def _num_objects(mask: Mask, labelled: LabelledScene, image: int) -> int:
    region = _known_region(mask, labelled, image)
    cover = None if region is None else lay_out(labelled).cover(region.name, image - 1)
    return spatial.count_objects(mask) if cover is None else len(cover.patches)


def _caption_faults(question: Question, labelled: LabelledScene, tolerance: Tolerance) -> Iterator[str]:
    """Shares in a caption that no class has: of the one class that a clause names, else of any, or of several."""
    shares = [
        {region.name: 100 * region.coverage for region in survey.regions if region.num_pixels}
        for survey in labelled.surveys
    ]
    words = _words_of(tuple(survey.label_map.nomenclature for survey in labelled.surveys))
    for clause in _CLAUSE.split(question.truth):
        numbers = trace.stated_numbers(clause)
        stated = [
            number.value for number in numbers if number.unit == "%" and number.subject == "mask" and number.value
        ]
        if not stated:
            continue
        lowered = clause.lower()
        named = {name for name, pattern in words.items() if pattern.search(lowered)}
        for value in stated:
            if len(named) == 1:
                name = next(iter(named))
                possible = [date[name] for date in shares if name in date]
            else:
                possible = [share for date in shares for share in _sums(list(date.values()))]
            if not any(_agrees(value, share, tolerance) for share in possible):
                yield CAPTION_OFF


def _agrees(stated: float, measured: float, tolerance: Tolerance) -> bool:
    """True if a stated share agrees with the measured one, both in percent."""
    return abs(stated - measured) <= max(tolerance.coverage_points, tolerance.relative * measured)


def _sums(shares: list[float]) -> Iterator[float]:
    """What one, two or all of the classes cover together, and what the smallest of them do."""
    ordered = sorted(shares)
    yield from ordered
    yield from itertools.accumulate(ordered)
    yield from itertools.accumulate(reversed(ordered))
    yield from (first + second for first, second in itertools.combinations(ordered, 2))


@lru_cache(maxsize=64)
def _words_of(nomenclatures: tuple[Nomenclature, ...]) -> dict[str, re.Pattern[str]]:
    """For every class the pattern of the words that may name it, in lower case."""
    patterns = {}
    for nomenclature in nomenclatures:
        for land_class in nomenclature.classes:
            words = {*land_class.words, *NOUNS.get(land_class.name, ())}
            ordered = sorted((re.escape(word.lower()) for word in words), key=len, reverse=True)
            patterns[land_class.name] = re.compile(rf"\b(?:{'|'.join(ordered)})s?\b")
    return patterns
