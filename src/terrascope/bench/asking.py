"""What a question asks for, read from its words, so that another wording of it can be held against it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from terrascope.landcover import NOMENCLATURES, TERRASCOPE, LandClass
from terrascope.sample import Sample
from terrascope.tasks.wording import ORDINALS
from terrascope.terracot.nouns import NOUNS
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers


class Fault(NamedTuple):
    """What is wrong with a draft: a reason, the same for every such draft, and a sentence for its author."""

    reason: str
    sentence: str


NO_QUESTION = "not one plain question"
OTHER_CLASSES = "other classes than asked"
OTHER_QUANTITY = "another quantity than asked"
OTHER_IMAGES = "other images than asked"
OTHER_NUMBERS = "other numbers or units than asked"
GIVEN_AWAY = "the answer stands in the question"

MAX_WORDS = 40

_QUANTITIES: Mapping[str, tuple[str, str, str]] = {
    "coverage": (
        r"per\s?cent|share|proportion|fraction|portion|coverage|how much",
        r"distance|how far|how many|hectare|square|\bexcept|\bother than|\bwithout\b",
        "which share of the image a class covers",
    ),
    "area": (
        r"\barea\b|how large|how big|\bsize\b|\bextent\b|surface|how much (?:land|ground|space)|hectare|square",
        r"per\s?cent|\bshare\b|proportion|fraction|portion|distance|how far|larger|smaller"
        r"|how many (?!hectare|square)",
        "the area of a class on the ground",
    ),
    "distance": (
        r"distance|how far|apart|\bgap\b|separat|how close|how near",
        r"per\s?cent|farthest|furthest|longest|largest|greatest|maxim|average|\bmean\b|cent(?:re|er)|how many",
        "the smallest distance between two classes",
    ),
    "ranking": (
        r"larger|bigger|greater|more\b|dominant|dominates|most|the largest",
        r"small|less|fewer|least|minor|how far|how much|how many|percentage",
        "which of two classes is the larger one",
    ),
    "boundary": (
        r"border|boundary|touch|adjacent|adjoin|next to|meet|neighbo|contiguous|abut|in contact|edge|side by side",
        r"\bhow\b|\bwhich\b|\bwhat\b|per\s?cent|distance",
        "whether two classes share a boundary, to be answered with Yes or No",
    ),
    "building_change/count": (
        r"how many|number|count",
        r"per\s?cent|share|proportion|fraction|portion|ratio",
        "the number of buildings that were destroyed",
    ),
    "building_change/%": (
        r"per\s?cent|share|proportion|fraction|portion|how much",
        r"how many|\bnumber\b|\bcount\b",
        "the share of the buildings that was destroyed",
    ),
}
"""What a question of a task must speak of, what it must not, and what it asks for."""

_DESTROYED = re.compile(r"destroy|destruction", re.I)
_BUILDING = re.compile(r"\bbuildings?\b|\bhouses?\b|\bstructures?\b", re.I)
_SPARED = re.compile(r"surviv|intact|undamaged|unharmed|remain|\bstand|still|damaged\b", re.I)
_NEGATION = re.compile(r"\bnot\b|n't\b|n’t\b|\bno\b|\bnever\b|\bneither\b|\bnor\b", re.I)
_YES_NO = re.compile(r"\b(?:do|does|is|are|can|could|would|did|has|have)\b", re.I)
_IMAGE = re.compile(
    rf"\b(?P<image>image\s+(?P<number>[1-9])|(?:the\s+)?(?P<ordinal>{'|'.join(ORDINALS)})\s+(?:image|scene|date))\b",
    re.I,
)
_MARKUP = re.compile(r"[\[\]<>{}\n]|image:", re.I)
NUMBER = re.compile(r"(?<![A-Za-z\d.,])\d+(?:[.,]\d+)*")
"""A number; the 2 of `m2` is none."""

_UNITS: Mapping[str, str] = {
    "ha": r"\bha\b|hectares?",
    "km2": r"\bkm2\b|km²|square kilomet|sq\.? km",
    "m2": r"(?<!k)\bm2\b|\bm²|square met|sq\.? m\b",
    "km": r"(?<!square )(?:\bkm\b|\bkilomet)",
    "m": r"(?<!square )\bmet(?:er|re)s?\b",
    "px": r"\bpixels?\b|\bpx\b",
    "mi": r"\bmiles?\b|\bacres?\b|\bfeet\b",
}


def quantity_of(sample: Sample) -> str:
    """The kind of quantity that a sample asks for: its task, and for destroyed buildings whether number or share."""
    return f"building_change/{sample.unit}" if sample.task == "building_change" else sample.task


def class_words(sample: Sample) -> tuple[str, ...] | None:
    """The words by which a question calls its classes, in the order of its steps; None where one cannot be found."""
    named = _named(sample.question, sample.classes)
    found = [next((word for word, name in named if name == wanted), None) for wanted in sample.classes]
    return tuple(word for word in found if word is not None) if None not in found else None


def image_words(text: str) -> str | None:
    """The words by which a question names its image, as `image 2`; None where it names none."""
    found = _IMAGE.search(text)
    return None if found is None else found["image"]


def class_meant(text: str, classes: tuple[str, ...]) -> str | None:
    """The one of some classes that a short text names; None where it names none of them, or anything else, too."""
    names = {name for _, name in _named(text, classes)}
    return next((name for name in classes if names == {name}), None)


def question_faults(sample: Sample, text: str) -> list[Fault]:
    """Why a text is not the question of a sample in other words; nothing if it is.

    It must name the same classes, images and numbers, ask for the same quantity, and hold no part of the answer.
    """
    faults = []
    if not text.strip().endswith(("?", ".")) or not 3 <= len(text.split()) <= MAX_WORDS or _MARKUP.search(text):
        faults.append(Fault(NO_QUESTION, f"The question must be one plain sentence of 3 to {MAX_WORDS} words."))
    faults += _class_faults(sample, text)
    wanted, unwanted, meaning = _QUANTITIES[quantity_of(sample)]
    if not re.search(wanted, text, re.I) or re.search(unwanted, text, re.I) or not _fits_answer(sample, text):
        faults.append(Fault(OTHER_QUANTITY, f"The question must ask for {meaning}, as the original does."))
    if _images(text) != _images(sample.question):
        faults.append(Fault(OTHER_IMAGES, "The question must name the same images by number as the original."))
    plain, before = _IMAGE.sub(" ", text), _IMAGE.sub(" ", sample.question)
    units = _units(plain) - _units(before)
    if set(NUMBER.findall(plain)) != set(NUMBER.findall(before)) or units - _answer_units(sample):
        faults.append(Fault(OTHER_NUMBERS, "The question must state no other numbers and units than the original."))
    if sample.unit is not None and sample.truth in text:
        faults.append(Fault(GIVEN_AWAY, "The question must not state the answer."))
    return faults


def _class_faults(sample: Sample, text: str) -> list[Fault]:
    if sample.task == "building_change":
        if _BUILDING.search(text) and _DESTROYED.search(text) and not _SPARED.search(text):
            return []
        return [Fault(OTHER_CLASSES, "The question must be about the buildings that were destroyed.")]
    named = {name for _, name in _named(text, sample.classes)}
    if named == set(sample.classes):
        return []
    words = class_words(sample) or sample.classes
    return [Fault(OTHER_CLASSES, f"The question must name {' and '.join(words)}, and no other land cover.")]


def _fits_answer(sample: Sample, text: str) -> bool:
    if sample.task == "boundary" and not _YES_NO.search(text):
        return False
    return not _NEGATION.search(text)


def _images(text: str) -> set[int]:
    """The numbers of the images that a text names."""
    return {
        int(found["number"]) if found["number"] else ORDINALS.index(found["ordinal"].lower()) + 1
        for found in _IMAGE.finditer(text)
    }


def _units(text: str) -> set[str]:
    return {name for name, pattern in _UNITS.items() if re.search(pattern, text, re.I)}


def _answer_units(sample: Sample) -> set[str]:
    return {number.unit for number in stated_numbers(sample.truth) if number.unit in {*METRES, *SQUARE_METRES}}


def _named(text: str, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """The words of a text that stand for a class, with the class; the longest word wins."""
    pattern, names = _words(classes)
    return [(found[0], names[found[0].lower()]) for found in pattern.finditer(text)]


@lru_cache(maxsize=256)
def _words(classes: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """The words for classes: those of the first nomenclature that has them all, else their names."""
    known = (TERRASCOPE, *NOMENCLATURES.values())
    own = next((entry for entry in known if set(classes) <= set(entry.names)), None)
    words: dict[str, str] = {}
    for land_class in own.classes if own is not None else ():
        for word in _words_for(land_class):
            words.setdefault(word.lower(), land_class.name)
    for name in classes if own is None else ():
        for word in (name, f"{name}s"):
            words.setdefault(word.lower(), name)
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    alternatives = "|".join(map(re.escape, longest_first)) or r"(?!)"
    return re.compile(rf"(?<![\w-])(?:{alternatives})(?![\w-])", re.I), words


def _words_for(land_class: LandClass) -> tuple[str, ...]:
    return *land_class.words, *NOUNS.get(land_class.name, ())
