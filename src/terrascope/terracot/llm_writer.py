"""Captions and composed questions by a language model, by the paper's prompts; each draft is checked on the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from terrascope import spatial, trace
from terrascope.llm import Endpoint
from terrascope.sources.chips import Chip
from terrascope.tasks.question import LabelledScene, Question
from terrascope.terracot.captions import CHANGE_INSTRUCTIONS, INSTRUCTIONS
from terrascope.terracot.marked_picture import draw_marked
from terrascope.terracot.marks import Marks, number_regions
from terrascope.terracot.nouns import capital
from terrascope.terracot.prompts import (
    CAPTION_SYSTEM,
    DEEP_SYSTEM,
    NO_RULE,
    CaptionDraft,
    DeepDraft,
    DeepDrafts,
    word_caption_prompt,
    word_deep_prompt,
)
from terrascope.terracot.recompute import Truth, recompute
from terrascope.terracot.verify import AREA_OFF, COUNT_OFF, DISTANCE_OFF, SHARE_OFF, TOLERANCE, check
from terrascope.terracot.writer import Written
from terrascope.trace import METRES

WRONG_MARK = "a mark without its region"
UNMENTIONED = "a region is not mentioned"
TOO_SHORT = "the caption is too short"
NO_RULE_FITS = "a rule that does not fit its regions"
WORD_LIMITS = "a question or an answer of the wrong length"

_MIN_CAPTION_WORDS = 8
_MAX_ANSWER_WORDS = 30
_CATEGORIES = {"Spatial Reasoning": "spatial", "Semantic Reasoning": "semantic"}
_UNITS = {"%": "%", "m2": "m2", "m": "m", "count": "count"}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A draft after it was read.

    Attributes:
        question: what it says; to be kept only if there is no fault.
        reasons: its faults, in words that are the same for every draft with such a fault.
        faults: the same as the model is told of them.
    """

    question: Question
    reasons: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LlmWriter:
    """A `terrascope.terracot.writer.Writer` behind an endpoint.

    Each draft must point at regions by their marks, and pass `terrascope.terracot.verify.check`. A reply with faults is
    sent back with the faults named, up to the endpoint's `max_rounds`; drafts that still have some are dropped, and
    named in `Written.rejected`.

    Attributes:
        endpoint: where the model is asked.
        min_share: regions with a smaller share (0-1) of their image are not spoken of.
        max_regions: most regions of one date that are.
        max_questions: most composed questions that are kept of a chip.

    A chip for which the endpoint has no reply raises `terrascope.llm.NoReply`; a wrong key or address `EndpointError`.
    """

    endpoint: Endpoint
    min_share: float = 0.005
    max_regions: int = 8
    max_questions: int = 3

    @property
    def name(self) -> str:
        return self.endpoint.model

    def caption(self, chip: Chip, rng: np.random.Generator) -> Written:
        """A caption with its reasoning, from the picture with its masks (Appendix E.2, Cap-CoT)."""
        marks = self._marks(chip)
        instructions = CHANGE_INSTRUCTIONS if marks.num_dates > 1 else INSTRUCTIONS
        text = instructions[int(rng.integers(len(instructions)))]
        if not marks.regions:
            return Written()
        reply = self.endpoint.complete(
            CAPTION_SYSTEM,
            word_caption_prompt(chip, marks),
            draw_marked(chip, marks),
            schema=CaptionDraft,
            check=lambda draft: read_caption(draft, text, marks, chip.labelled).faults,
        )
        return _written([read_caption(reply.parsed, text, marks, chip.labelled)])

    def compose(self, chip: Chip, caption: str, pairs: Sequence[Question], rng: np.random.Generator) -> Written:
        """Composed questions, from a caption and simple questions with their answers (Appendix E.2, L2)."""
        marks = self._marks(chip)
        if not marks.regions:
            return Written()

        def read(drafts: DeepDrafts) -> list[Draft]:
            return [read_deep(draft, marks, chip.labelled) for draft in drafts.questions[: self.max_questions]]

        def find_faults(drafts: DeepDrafts) -> list[str]:
            named = [f"Question {n}: {fault}" for n, draft in enumerate(read(drafts), 1) for fault in draft.faults]
            given = {draft.category for draft in drafts.questions[: self.max_questions]}
            return named + [
                f"There is no question of the category {name}." for name in _CATEGORIES if name not in given
            ]

        reply = self.endpoint.complete(
            DEEP_SYSTEM,
            word_deep_prompt(chip, marks, caption, pairs),
            schema=DeepDrafts,
            check=find_faults,
        )
        return _written(read(reply.parsed))

    def _marks(self, chip: Chip) -> Marks:
        return number_regions(chip.labelled, min_share=self.min_share, max_per_date=self.max_regions)


def read_caption(draft: CaptionDraft, text: str, marks: Marks, labelled: LabelledScene) -> Draft:
    """A drafted caption as a question, and its faults; `text` is what it answers."""
    parsed, regions, wrong = marks.read(draft.think, draft.caption)
    question = Question(
        task="caption",
        text=text,
        options=(),
        trace=parsed,
        truth=parsed.answer,
        classes=tuple(region.name for region in regions),
    )
    reasons, faults = [WRONG_MARK] * len(wrong), list(wrong)
    for number, region in enumerate(marks.regions, 1):
        # A class that is seen on several dates need not be spoken of on each.
        if region.name not in question.classes and not wrong:
            reasons.append(UNMENTIONED)
            faults.append(f"The reasoning does not mention {marks.mark(number)}.")
    if len(parsed.answer.split()) < _MIN_CAPTION_WORDS:
        reasons.append(TOO_SHORT)
        faults.append(f"The caption has fewer than {_MIN_CAPTION_WORDS} words.")
    return _checked(Draft(question=question, reasons=tuple(reasons), faults=tuple(faults)), labelled)


def read_deep(draft: DeepDraft, marks: Marks, labelled: LabelledScene) -> Draft:
    """A drafted question as one of level L2, and its faults. Its answer is the rule's, where a rule gives it."""
    parsed, regions, wrong = marks.read(draft.reasoning, draft.answer)
    classes = tuple(region.name for region in regions)
    question = Question(
        task=f"{_CATEGORIES[draft.category]}/{draft.rule}",
        text=marks.without_marks(draft.question),
        options=(),
        trace=parsed,
        truth=parsed.answer,
        classes=classes,
    )
    reasons, faults = [WRONG_MARK] * len(wrong), list(wrong)
    if len(parsed.answer.split()) > _MAX_ANSWER_WORDS or len(question.text.split()) < 3:
        reasons.append(WORD_LIMITS)
        faults.append("A question is a sentence, and its answer a short phrase.")
    truth = None
    if draft.rule != NO_RULE and not wrong:
        images = trace.resolve_images(parsed, labelled.num_dates)
        truth = recompute(draft.rule, classes, labelled, images)
        if truth is None:
            reasons.append(NO_RULE_FITS)
            faults.append(f"The rule {draft.rule} gives nothing for the regions pointed at: {', '.join(classes)}.")
    elif draft.rule == NO_RULE and draft.category == "Spatial Reasoning":
        reasons.append(NO_RULE_FITS)
        faults.append(f"A spatial question needs another rule than {NO_RULE}.")
    read = _checked(Draft(question=question, reasons=tuple(reasons), faults=tuple(faults)), labelled, truth)
    if truth is not None and not read.reasons and truth.unit in _UNITS:
        # Only now: with a value, the check would believe it instead of reading the answer.
        read = replace(read, question=replace(question, value=truth.value, unit=_UNITS[truth.unit]))
    return read


def _checked(draft: Draft, labelled: LabelledScene, truth: Truth | None = None) -> Draft:
    """The draft with what `verify.check` finds, too; numbers that are off are told with what the mask measures."""
    found = check(draft.question, labelled)
    told = [f"{capital(fault)}." for fault in found]
    if {SHARE_OFF, AREA_OFF, COUNT_OFF, DISTANCE_OFF} & set(found):
        told += _disagreements(draft.question, labelled)
    if truth is not None and not truth.agrees(draft.question, labelled, TOLERANCE):
        told.append(f"The rule gives {_word_truth(truth)}, and the answer is {draft.question.truth!r}.")
    return replace(draft, reasons=draft.reasons + found, faults=draft.faults + tuple(told))


def _disagreements(question: Question, labelled: LabelledScene) -> list[str]:
    """The stated numbers that the masks contradict, each with what its mask measures."""
    told = []
    before = None
    images = trace.resolve_images(question.trace, labelled.num_dates)
    for step, name, image in zip(question.trace.grounded_steps, question.classes, images, strict=True):
        mask, pixel_size = step.mask, labelled.pixel_size
        if mask is None or not mask.any():
            continue
        distance_m = None
        if before is not None and pixel_size is not None and _states_distance(step.finding):
            distance_m = spatial.distance_m(before, mask, pixel_size)
        disagreements = trace.check_step(
            step,
            coverage=spatial.coverage(mask, labelled.measured(image - 1)),
            area_m2=None if pixel_size is None else spatial.area_m2(mask, pixel_size),
            num_objects=spatial.count_objects(mask),
            distance_m=distance_m,
        )
        told += [f"On the {name}: {disagreement}" for disagreement in disagreements]
        before = mask
    return told


def _states_distance(finding: str) -> bool:
    return any(number.unit in METRES for number in trace.stated_numbers(finding))


def _word_truth(truth: Truth) -> str:
    if truth.yes is not None:
        return "Yes" if truth.yes else "No"
    if truth.classes:
        return ", ".join(truth.classes)
    return f"{truth.value:.3g} {truth.unit}"


def _written(drafts: Sequence[Draft]) -> Written:
    return Written(
        questions=tuple(draft.question for draft in drafts if not draft.reasons),
        # The first fault of a draft: so that as many are counted as were dropped.
        rejected=tuple(draft.reasons[0] for draft in drafts if draft.reasons),
    )
