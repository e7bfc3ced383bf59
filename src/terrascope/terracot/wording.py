"""Other words for what tasks say: leads to a [SEG], findings, openings, conclusions, and the questions themselves.

Numbers, classes, masks, options and answers stay what they are, and so does what `terrascope.trace` reads: as many
grounded steps on the same images, with the same stated numbers. A sentence that is none of the tasks' is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from terrascope.tasks import Question
from terrascope.terracot.bounds import check_shares
from terrascope.trace import Step, Trace

ANY_LEADS = (
    "The {name}:",
    "I mark the {name}:",
    "I look for the {name}:",
    "I search for the {name}:",
    "I outline the {name}:",
    "Let me mark the {name}.",
    "Let me look for the {name}.",
    "Let me find the {name}:",
    "All pixels of the {name}:",
    "The mask of the {name}:",
    "The extent of the {name}:",
    "I need the {name}:",
    "Where is the {name}?",
)
FIRST_LEADS = (
    "First I locate the {name}:",
    "First I mark the {name}:",
    "First, the {name}:",
    "I start with the {name}:",
    "I begin with the {name}:",
    "To begin with, I look for the {name}:",
    "Let me begin with the {name}.",
    "The question is about the {name}:",
)
LATER_LEADS = (
    "Next I locate the {name}:",
    "Next, the {name}:",
    "Then I mark the {name}:",
    "Then the {name}:",
    "Now the {name}:",
    "Now let me mark the {name}.",
    "After that, the {name}:",
    "I go on with the {name}:",
    "I turn to the {name}:",
)

OPENINGS = (
    "I look at {images}.",
    "Let me look at {images}.",
    "I go through {images} step by step.",
    "Let me think step by step.",
    "I mark what the question names.",
    "I mark first and measure then.",
    "To answer this, I mark what is asked about.",
    "This can be seen in {images}.",
    "I answer from what {images} {shows}.",
    "Let me ground every step.",
)

FINDINGS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (
        re.compile(r"It covers (?P<share>(?:less than )?[0-9]+%) of the image\."),
        (
            "It covers {share} of the image.",
            "That is {share} of the image.",
            "This is {share} of the image.",
            "It takes up {share} of the image.",
            "It makes up {share} of the image.",
            "It fills {share} of the image.",
            "It occupies {share} of the image.",
            "It extends over {share} of the image.",
            "The mask covers {share} of the image.",
            "I measure {share} of the image.",
            "Its share is {share} of the image.",
        ),
    ),
    (
        re.compile(r"There is none\."),
        (
            "There is none.",
            "There is none of it.",
            "There is none in the image.",
            "I find none.",
            "I see none.",
            "None can be seen.",
            "None is visible.",
            "The mask is empty: there is none.",
        ),
    ),
    (
        re.compile(r"The area is (?P<area>[0-9.]+ (?:m2|ha|km2))\."),
        (
            "The area is {area}.",
            "Its area is {area}.",
            "Its area comes to {area}.",
            "That makes {area}.",
            "On the ground that is {area}.",
            "On the ground it covers {area}.",
            "I measure {area}.",
            "It measures {area}.",
        ),
    ),
    (
        re.compile(r"There (?P<is>is|are) (?P<count>[0-9]+ (?:separate areas?|(?:destroyed )?buildings?))\."),
        (
            "There {is} {count}.",
            "I count {count}.",
            "I see {count}.",
            "I find {count}.",
            "That makes {count}.",
            "Altogether there {is} {count}.",
            "Counting gives {count}.",
            "The mask shows {count}.",
        ),
    ),
    (
        re.compile(r"(?P<count>[0-9]+) are destroyed\."),
        (
            "{count} are destroyed.",
            "{count} were destroyed.",
            "Of them, {count} are destroyed.",
            "Of these, {count} were destroyed.",
            "By now {count} are destroyed.",
            "I find that {count} are destroyed.",
        ),
    ),
    (
        re.compile(r"It lies in the (?P<part>[a-z]+ part)\."),
        (
            "It lies in the {part}.",
            "It lies in the {part} of the image.",
            "It is in the {part}.",
            "It is located in the {part}.",
            "It is found in the {part} of the image.",
            "I find it in the {part}.",
            "Its centre lies in the {part}.",
            "Its middle is in the {part} of the image.",
        ),
    ),
    (
        re.compile(r"They are (?P<distance>[0-9.]+ k?m) apart\."),
        (
            "They are {distance} apart.",
            "They lie {distance} apart.",
            "They are {distance} away from each other.",
            "At their nearest they are {distance} apart.",
            "The distance between them is {distance}.",
            "The gap between them is {distance}.",
            "The shortest way between them is {distance}.",
            "I measure {distance} between them.",
        ),
    ),
    (
        re.compile(r"They touch\."),
        (
            "They touch.",
            "They touch each other.",
            "They border each other.",
            "They share a boundary.",
            "They have a boundary in common.",
            "Their edges meet.",
            "They lie side by side.",
        ),
    ),
    (
        re.compile(r"They do not touch\."),
        (
            "They do not touch.",
            "They do not touch each other.",
            "They do not border each other.",
            "They share no boundary.",
            "They have no boundary in common.",
            "Their edges do not meet.",
            "They lie apart from each other.",
        ),
    ),
)

CONCLUSIONS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (
        re.compile(r"So the answer is (?P<letter>[A-Z])\."),
        (
            "So the answer is {letter}.",
            "Therefore the answer is {letter}.",
            "Thus the answer is {letter}.",
            "Hence the answer is {letter}.",
            "So {letter} is right.",
            "Therefore {letter} is right.",
            "So the right option is {letter}.",
            "Thus option {letter} is right.",
            "Hence option {letter} fits.",
            "So I choose {letter}.",
            "Therefore I choose {letter}.",
        ),
    ),
    (
        re.compile(r"So the (?P<name>[^.]+) is larger\."),
        (
            "So the {name} is larger.",
            "Therefore the {name} is larger.",
            "Thus the {name} is larger.",
            "Hence the {name} covers more.",
            "So the {name} covers more of the image.",
            "Overall, the {name} is the larger one.",
        ),
    ),
    (
        re.compile(r"So (?P<share>(?:less than )?[0-9]+%) of the buildings are destroyed\."),
        (
            "So {share} of the buildings are destroyed.",
            "So {share} of the buildings were destroyed.",
            "Therefore {share} of the buildings are destroyed.",
            "Thus {share} of all buildings are destroyed.",
            "Hence {share} of the buildings were destroyed.",
            "Overall, {share} of the buildings are destroyed.",
        ),
    ),
)
NEW_CONCLUSIONS = (
    "So the answer is {truth}.",
    "Therefore the answer is {truth}.",
    "Thus the answer is {truth}.",
    "Hence the answer is {truth}.",
    "Overall, the answer is {truth}.",
)

QUESTION_FRAMES = (
    "{question} Explain with masks.",
    "{question} Show your reasoning.",
    "{question} Mark what you rely on.",
    "{question} Think step by step.",
    "Look at {images}. {question}",
    "Please look at {images}. {question}",
    "Please answer: {question}",
    "Here is a question about {images}. {question}",
    "From what {images} {shows}: {question}",
)
WHAT_FRAMES = ("Tell me: {question}", "I would like to know: {question}", "Please tell me: {question}")
"""Frames for what ends in a question mark: `Tell me: count the buildings` is not said."""

_LEAD = re.compile(r"The (?P<name>[^.:?!]+):")
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, kw_only=True)
class WordingSettings:
    """How often what is worded anew.

    Attributes:
        plain_share: questions that keep the tasks' words altogether.
        opening_share: of the others, those whose reasoning begins with a sentence that points at nothing.
        conclusion_share: of the others without a conclusion, those that are given one.
        frame_share: of the others, those whose question gets a sentence before or after it.
    """

    plain_share: float = 0.25
    opening_share: float = 0.3
    conclusion_share: float = 0.3
    frame_share: float = 0.4

    def __post_init__(self) -> None:
        check_shares(self, "plain_share", "opening_share", "conclusion_share", "frame_share")


DEFAULT = WordingSettings()


def paraphrase(question: Question, rng: np.random.Generator, settings: WordingSettings = DEFAULT) -> Question:
    """The question and its reasoning in other words; the same `rng` gives the same words."""
    if rng.random() < settings.plain_share:
        return question
    trace = question.trace
    several = any(step.image is not None for step in trace.steps)
    steps = [_reword_step(step, number, rng) for number, step in enumerate(trace.steps)]
    if steps and steps[0].grounded and rng.random() < settings.opening_share:
        steps.insert(0, Step(text=_fill_images(_pick(OPENINGS, rng), several), grounded=False))
    conclusion = _reword(trace.conclusion, CONCLUSIONS, rng)
    if not conclusion and _is_phrase(question.truth) and rng.random() < settings.conclusion_share:
        conclusion = _pick(NEW_CONCLUSIONS, rng).format(truth=question.truth)
    text = question.text
    if rng.random() < settings.frame_share:
        text = _frame(text, several, rng)
    return replace(question, text=text, trace=Trace(steps=tuple(steps), conclusion=conclusion, answer=trace.answer))


def _reword_step(step: Step, number: int, rng: np.random.Generator) -> Step:
    lead = _LEAD.fullmatch(step.text)
    if not (step.grounded and lead):
        return replace(step, finding=_reword(step.finding, FINDINGS, rng))
    leads = (*ANY_LEADS, *(LATER_LEADS if number else FIRST_LEADS))
    return replace(step, text=_pick(leads, rng).format(name=lead["name"]), finding=_reword(step.finding, FINDINGS, rng))


def _reword(text: str, rules: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...], rng: np.random.Generator) -> str:
    """Every sentence that a rule knows in one of the rule's forms."""
    return " ".join(_reword_sentence(sentence, rules, rng) for sentence in _SENTENCES.split(text))


def _reword_sentence(
    sentence: str, rules: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...], rng: np.random.Generator
) -> str:
    for pattern, forms in rules:
        found = pattern.fullmatch(sentence)
        if found:
            return _pick(forms, rng).format(**found.groupdict())
    return sentence


def _frame(text: str, several: bool, rng: np.random.Generator) -> str:
    form = _fill_images(_pick(QUESTION_FRAMES + (WHAT_FRAMES if text.endswith("?") else ()), rng), several)
    # After a colon the sentence goes on.
    question = text[0].lower() + text[1:] if form.endswith(": {question}") else text
    return form.replace("{question}", question)


def _fill_images(form: str, several: bool) -> str:
    images, shows = ("the images", "show") if several else ("the image", "shows")
    return form.replace("{images}", images).replace("{shows}", shows)


def _is_phrase(truth: str) -> bool:
    """True for what fits into a sentence: `34%`, `Yes`, `northern part`; not for a caption."""
    return 0 < len(truth) <= 40 and not _SENTENCES.search(truth) and truth[-1] not in ".!?"


def _pick(forms: tuple[str, ...], rng: np.random.Generator) -> str:
    return forms[int(rng.random() * len(forms))]
