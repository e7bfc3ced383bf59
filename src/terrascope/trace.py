"""The reasoning trace: its grammar, both ways, and the check of the numbers it states against its own masks.

    <think>The water: Image: 2 [SEG] It covers 34% of the image. So the answer is B.</think><answer>B</answer>

Every [SEG] stands for a mask (paper, Eq. 2). What leads to it is the step's text, what follows is its finding, and a
sentence that begins with a word such as "So" opens the conclusion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SEG = "[SEG]"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_TAG = re.compile(r"</?(?:think|answer)>")
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|(?=<answer>|<think>)|\Z)", re.S)
_IMAGE = re.compile(r"(?<!\w)Image:\s*([0-9]{1,6})(?![0-9])", re.I)
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
_CONCLUSION = re.compile(r"(?:\A|(?<=[.!?])\s+|\s*\n\s*)(?=(?:So|Therefore|Thus|Hence|Overall)\b)")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the reasoning.

    Attributes:
        text: the sentence that leads to the [SEG], without "Image: t"; for a text-only step, all of its text.
        image: 1-based number of the image that the step names ("Image: t"), None where it names none.
        finding: what is said of the mask, up to the last sentence end before the next step's text.
        mask: bool `[H, W]` on the scene's grid, True where the step points; None until there is one. Not compared.
        grounded: True if the step has a [SEG].
    """

    text: str
    image: int | None = None
    finding: str = ""
    mask: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    grounded: bool = True


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Steps, a conclusion and the answer. Only the first step may be text-only: later text is a step's finding.

    Raises:
        ValueError: a later step is text-only, or a text-only step names an image or has a finding.
    """

    steps: tuple[Step, ...] = ()
    conclusion: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        if any(not step.grounded for step in self.steps[1:]):
            raise ValueError(
                "only the first step of a trace may be text-only; later text belongs to the step before it"
            )
        if any(not step.grounded and (step.finding or step.image is not None) for step in self.steps):
            raise ValueError("a text-only step has neither a finding nor an image")

    @property
    def grounded_steps(self) -> tuple[Step, ...]:
        """The steps with a [SEG], in order: one for every mask."""
        return tuple(step for step in self.steps if step.grounded)


def render(trace: Trace) -> str:
    """The trace as the text that a model is taught to write.

    `parse` reads it back exactly where every step has a text, findings are full sentences, and the conclusion begins
    with one of its words (So, Therefore, Thus, Hence, Overall). Every trace that `parse` itself makes reads back so.
    """
    return f"<think>{_render_reasoning(trace)}</think><answer>{trace.answer}</answer>"


def parse(text: str) -> Trace:
    """Read whatever a model wrote. Never fails, and gives exactly one grounded step for every [SEG] in `text`.

    The first answer tag wins; without one, the answer is what follows the reasoning. Text outside the two tags is
    dropped unless it holds a [SEG]; a [SEG] inside the answer becomes a step of its own.
    """
    tagged = _ANSWER.search(text)
    before, rest = (text[: tagged.start()], text[tagged.end() :]) if tagged else (text, "")
    preface, opened, reasoning = before.partition("<think>") if "<think>" in before else ("", "", before)
    reasoning, closed, after = reasoning.partition("</think>")
    if tagged:
        answer = tagged[1]
        outside = [after, SEG * answer.count(SEG), rest]
    else:
        if not opened and not closed and SEG not in text:
            reasoning, after = "", text
        answer = after
        outside = [SEG * answer.count(SEG)]
    parts = [part for part in (preface, reasoning, *outside) if part is reasoning or SEG in part]
    steps, conclusion = _parse_reasoning(_TAG.sub(" ", " ".join(parts)).strip())
    return Trace(steps=steps, conclusion=conclusion, answer=_TAG.sub(" ", answer.replace(SEG, " ")).strip())


def parse_image_indicator(text_before_seg: str, num_images: int | None = None) -> int | None:
    """The image that a [SEG] after this text points at: the last "Image: t" named so far, None if none was.

    With `num_images`, indicators of images that do not exist are passed over.
    """
    named = (int(number) for number in _IMAGE.findall(text_before_seg))
    valid = [image for image in named if num_images is None or 1 <= image <= num_images]
    return valid[-1] if valid else None


def resolve_images(trace: Trace, num_images: int) -> tuple[int, ...]:
    """The image (1-based) of every grounded step: the last existing one named before its [SEG], or image 1."""
    return tuple(parse_image_indicator(text, num_images) or 1 for text in _texts_before_seg(trace))


def missing_images(trace: Trace, num_images: int) -> tuple[int, ...]:
    """The images that steps name although the scene has only `num_images`, in order and once each."""
    named = (step.image for step in trace.grounded_steps if step.image is not None)
    return tuple(dict.fromkeys(image for image in named if not 1 <= image <= num_images))


def _join(first: str, second: str) -> str:
    if not first or not second:
        return first or second
    return f"{first} {second}" if first[-1] in ".!?" else f"{first}\n{second}"


def _render_reasoning(trace: Trace) -> str:
    before = ""
    for step in trace.steps:
        before = _join(before, step.text) if before[-5:] != SEG else f"{before} {step.text}".rstrip()
        if step.grounded:
            indicator = f"Image: {step.image}" if step.image is not None else ""
            before = " ".join(part for part in (before, indicator, SEG, step.finding) if part)
    if before[-5:] == SEG:
        return f"{before} {trace.conclusion}".rstrip()
    return _join(before, trace.conclusion)


def _texts_before_seg(trace: Trace) -> Iterator[str]:
    reasoning = _render_reasoning(trace)
    return (reasoning[: match.start()] for match in re.finditer(re.escape(SEG), reasoning))


def _parse_reasoning(reasoning: str) -> tuple[tuple[Step, ...], str]:
    *gaps, tail = reasoning.split(SEG)
    opening = _CONCLUSION.search(tail.strip())
    tail, conclusion = _cut(tail.strip(), opening) if opening else (tail.strip(), "")
    if not gaps:
        return ((Step(text=tail, grounded=False),) if tail else ()), conclusion
    findings, leads, images = [], [], []
    for index, gap in enumerate(gaps):
        finding, lead, image = _split_gap(gap.strip(), first=index == 0)
        findings.append(finding)
        leads.append(lead)
        images.append(image)
    steps = [
        Step(text=lead, image=image, finding=finding)
        for lead, image, finding in zip(leads, images, [*findings[1:], tail], strict=True)
    ]
    if findings[0]:
        steps.insert(0, Step(text=findings[0], grounded=False))
    return tuple(steps), conclusion


def _split_gap(gap: str, *, first: bool) -> tuple[str, str, int | None]:
    """What stands before a [SEG] -> what belongs to the step before, the step's own text, its image."""
    image = None
    indicators = list(_IMAGE.finditer(gap))
    if indicators and indicators[-1].end() == len(gap):
        image = int(indicators[-1][1])
        gap = gap[: indicators[-1].start()].rstrip()
    breaks = list(_SENTENCE_BREAK.finditer(gap))
    earlier, lead = _cut(gap, breaks[-1]) if breaks else ("", gap)
    # A full sentence with a number in it was measured on the mask before; it does not lead to the next one.
    if not first and lead[-1:] in (".", "!", "?") and stated_numbers(lead):
        return gap, "", image
    return earlier, lead, image


def _cut(text: str, match: re.Match[str]) -> tuple[str, str]:
    return text[: match.start()].rstrip(), text[match.end() :].lstrip()


# ---------------------------------------------------------------------------------------------------------------------
# The check: numbers that a finding states, against what its own mask measures.

Unit = Literal["%", "m2", "ha", "km2", "m", "km", "count", "px"]

SQUARE_METRES = {"m2": 1.0, "ha": 1e4, "km2": 1e6}
METRES = {"m": 1.0, "km": 1e3}

_UNITS: tuple[tuple[Unit, str], ...] = (
    ("%", r"\s*(?:%|percent\b|per cent\b)"),
    ("km2", r"\s*(?:km2\b|km²|sq(?:uare)?\.? (?:km\b|kilomet(?:er|re)s?\b))"),
    ("m2", r"\s*(?:m2\b|m²|sq(?:uare)?\.? (?:m\b|met(?:er|re)s?\b))"),
    ("ha", r"\s*(?:ha|hectares?)\b"),
    ("km", r"\s*(?:km|kilomet(?:er|re)s?)\b"),
    ("m", r"[ -]?(?:m|met(?:er|re)s?)\b"),
    ("px", r"\s*(?:px|pixels?)\b"),
    (
        "count",
        r"\s+(?:(?:[a-z-]+\s+){0,2}?(?:buildings?|houses?|components?|areas?|regions?|patch(?:es)?|bod(?:y|ies)|"
        r"objects?|parts?|pieces?)\b|separate\b|(?:are|were|is|was) (?:destroyed|separate)\b)",
    ),
)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DIGITS = r"(?<![\w.])(?<![×*] )[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|(?<![\w.])(?<![×*] )[0-9]{1,18}(?:\.[0-9]+)?"
_NUMBER = re.compile(
    rf"(?P<value>{_DIGITS}|\b(?:{'|'.join(_WORDS)})\b)(?:"
    + "|".join(f"(?P<unit{index}>{pattern})" for index, (_, pattern) in enumerate(_UNITS))
    + ")",
    re.I,
)
_NONE = re.compile(r"\bnone\b|\bthere (?:is|are) no\b", re.I)
_OF_IMAGE = re.compile(
    r"\b(?:one|1)\s*(?:percent|%) of the (?:image|scene) (?:is|equals|corresponds)\b"
    r"|\bthe (?:whole |entire |total )?(?:image|scene)(?: area)? (?:is|has|measures|spans|covers)\b",
    re.I,
)
_SHARE_OF_OTHER = re.compile(
    r"\s*(?:of (?!(?:the |all )?(?:(?:whole|entire|total|valid) )?(?:image|scene|area|picture)\b)\w"
    r"|(?:are|were) destroyed)",
    re.I,
)


@dataclass(frozen=True, kw_only=True)
class StatedNumber:
    """A number with its unit, and what it is about: the step's mask, the whole image, or a share of something else."""

    value: float
    unit: Unit
    subject: Literal["mask", "image", "other"] = "mask"


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a stated number may lie from the measured one before it counts as a disagreement.

    Attributes:
        coverage_points: percentage points of the image; for areas, the same share of the image.
        relative: share of the measured value; the larger of the two allowances holds.
        exact_count_up_to: counts up to here must be exact, larger ones within `relative`.
    """

    coverage_points: float = 3.0
    relative: float = 0.10
    exact_count_up_to: int = 10

    def accepts_count(self, stated: float, measured: float) -> bool:
        """True if a stated number of objects agrees with the measured one."""
        exact = max(stated, measured) <= self.exact_count_up_to
        return abs(stated - measured) <= (0 if exact else self.relative * measured)


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A number in the text that the step's own mask contradicts; both in `unit`. Prints as a sentence."""

    stated: float
    measured: float
    unit: Unit

    def __str__(self) -> str:
        stated, measured = (_format(value, self.unit) for value in (self.stated, self.measured))
        kind = "masks show" if self.unit in METRES else "mask shows"
        return f"The text says {stated}, but the {kind} {measured}."


def stated_numbers(text: str) -> tuple[StatedNumber, ...]:
    """The numbers with a known unit that a text states, in order. "There is none" states 0 %."""
    numbers = []
    for sentence in _SENTENCE_BREAK.split(text):
        of_image = bool(_OF_IMAGE.search(sentence))
        for match in _NUMBER.finditer(sentence):
            unit = next(unit for index, (unit, _) in enumerate(_UNITS) if match[f"unit{index}"])
            word = match["value"].lower()
            value = float(_WORDS.index(word)) if word in _WORDS else float(word.replace(",", ""))
            other = unit == "%" and _SHARE_OF_OTHER.match(sentence, match.end())
            subject: Literal["mask", "image", "other"] = "image" if of_image else "other" if other else "mask"
            numbers.append(StatedNumber(value=value, unit=unit, subject=subject))
        if _NONE.search(sentence):
            numbers.append(StatedNumber(value=0.0, unit="%"))
    return tuple(numbers)


def check_step(
    step: Step,
    *,
    coverage: float,
    area_m2: float | None,
    num_objects: int,
    distance_m: float | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[Disagreement, ...]:
    """Where the numbers in a step's finding contradict what its mask measures.

    Args:
        step: a grounded step; only numbers about its own mask are checked, pixel counts are not.
        coverage: share (0-1) of the valid pixels that the mask covers.
        area_m2: the mask's area; None leaves areas unchecked.
        num_objects: number of separate objects in the mask.
        distance_m: distance between this mask and that of the step before; None leaves distances unchecked.
        tolerance: the allowances; the defaults when None.
    """
    tolerance = tolerance or Tolerance()
    disagreements = []
    for number in stated_numbers(step.finding):
        measured = _measured(number.unit, coverage, area_m2, num_objects, distance_m)
        if number.subject != "mask" or measured is None:
            continue
        if number.unit == "count":
            agrees = tolerance.accepts_count(number.value, measured)
        else:
            allowed = tolerance.relative * measured
            if number.unit == "%":
                allowed = max(allowed, tolerance.coverage_points)
            elif number.unit in SQUARE_METRES and coverage > 0:
                allowed = max(allowed, tolerance.coverage_points / 100 * measured / coverage)
            agrees = abs(number.value - measured) <= allowed
        if not agrees:
            disagreements.append(Disagreement(stated=number.value, measured=measured, unit=number.unit))
    return tuple(disagreements)


def _measured(
    unit: Unit, coverage: float, area_m2: float | None, num_objects: int, distance_m: float | None
) -> float | None:
    """The measurement that a unit speaks of, in that unit."""
    if unit == "%":
        return 100 * coverage
    if unit == "count":
        return float(num_objects)
    if unit in SQUARE_METRES and area_m2 is not None:
        return area_m2 / SQUARE_METRES[unit]
    if unit in METRES and distance_m is not None:
        return distance_m / METRES[unit]
    return None


def _format(value: float, unit: Unit) -> str:
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return number if unit == "count" else f"{number} {unit}"


# ---------------------------------------------------------------------------------------------------------------------
# The answer as a letter.

_VERB = r"(?:is|was|because|since|seems|fits|and|or)\b"


def answer_letter(answer: str, num_options: int) -> str | None:
    """The option that an answer chooses, as an upper-case letter, or None if it names none (paper, Appendix F.2).

    The first answer tag is read where there is one. A leading letter wins ("B", "b) 12 %", "(B)"), then the first
    single capital. An "A" that opens a sentence before a lower-case word is an article, not a choice.
    """
    tagged = _ANSWER.search(answer)
    text = (tagged[1] if tagged else _TAG.sub(" ", answer)).strip()
    letters = LETTERS[:num_options]
    leading = re.match(rf"[(\[*\"']*([{letters}])[)\].:,*\"']*\s*\Z|[(\[*\"']*([{letters}])[)\].:,*]", text, re.I)
    if leading:
        return (leading[1] or leading[2]).upper()
    for match in re.finditer(rf"\b[{letters}]\b", text):
        opens_sentence = not text[: match.start()].strip() or re.search(r"[.!?:\n]\s*\Z", text[: match.start()])
        article = match[0] == "A" and opens_sentence and re.match(rf"\s+(?!{_VERB})[a-z]", text[match.end() :])
        if not article:
            return match[0]
    return None
