"""Options and right answers as benchmarks write them: lists, dictionaries, one text; a letter, a text, or both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from terrascope.bench.external.benchmark import Unusable
from terrascope.errors import QuestionError
from terrascope.question import LETTERS, parse_options

_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*\)?\s*[.:)]?")
_LETTERED = re.compile(r"\(?\s*([A-Za-z])\s*[.:)]\s*(\S.*)", re.S)
_STATED_GSD = re.compile(
    r"(?<![\w.])(\d{1,3}(?:\.\d{1,3})?)\s?(?:m|met(?:er|re)s?)(?:\s?/\s?|\s+per\s+|-per-)(?:pixel|px)\b"
    r"|\b(?:gsd|ground sampl(?:e|ing) distance|(?:spatial|ground) resolution)\s*(?:\([^)]*\)\s*)?(?:is|of|=|:)?\s*"
    r"(?:about\s+|approximately\s+)?(\d{1,3}(?:\.\d{1,3})?)\s?(?:m|met(?:er|re)s?)\b",
    re.I,
)


def list_options(given: Any) -> dict[str, str]:
    """Letters with the texts of their options, in the order given; what is null or blank is left out.

    Args:
        given: a dictionary of letters and texts, a list of texts, pairs, or one of these as a JSON string.

    Raises:
        Unusable: it is none of these.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise Unusable("options of an unknown form") from None
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str):
        pairs = list(given)
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            pairs = list(zip(LETTERS, pairs, strict=False)) if len(pairs) <= len(LETTERS) else []
    elif given is None:
        pairs = []
    else:
        raise Unusable("options of an unknown form")
    texts = {str(letter).strip().upper(): "" if text is None else str(text).strip() for letter, text in pairs}
    return {letter: text for letter, text in texts.items() if text}


def split_options(text: str) -> tuple[str, ...]:
    """The options of one text, such as "A. None B. One to three C. More"; each letter in its turn begins the next one.

    Raises:
        Unusable: it does not begin with an option A.
    """
    starts: list[re.Match[str]] = []
    position = 0
    for letter in LETTERS:
        found = re.compile(rf"(?:\A|(?<=[\s,;|])|(?<=\())\(?{letter}\s*[.:)]\s*").search(text, position)
        if found is None:
            break
        starts.append(found)
        position = found.end()
    if not starts or text[: starts[0].start()].strip(" \t\r\n\"'[("):
        raise Unusable("options missing")
    stops = [match.start() for match in starts[1:]] + [len(text)]
    return tuple(
        text[match.end() : stop].strip().rstrip(",;|(").strip() for match, stop in zip(starts, stops, strict=True)
    )


def check_options(texts: Sequence[str]) -> tuple[str, ...]:
    """The options as predictors take them: two to five different texts, without letters before them.

    Raises:
        Unusable: there are too few, too many, or they cannot be told apart.
    """
    given = [text.strip() for text in texts]
    if len(given) < 2 or not all(given):
        raise Unusable("options missing")
    if len(given) > len(LETTERS):
        raise Unusable(f"more than {len(LETTERS)} options")
    if len(set(given)) < len(given):
        raise Unusable("an option given twice")
    try:
        return parse_options(given)
    except QuestionError:
        raise Unusable("options that cannot be told apart") from None


def find_text(answer: object, options: Sequence[str]) -> str:
    """The option that an answer names by its text, with or without its letter, or else by its letter alone.

    Raises:
        Unusable: it names none.
    """
    said = _said(answer)
    if said in options:
        return said
    lettered = _LETTERED.fullmatch(said)
    if lettered and lettered[2] == _of_letter(lettered[1], options):
        return lettered[2]
    alike = [option for option in options if option.casefold() == said.casefold()]
    letter = _LETTER.fullmatch(said)
    named = alike[0] if len(alike) == 1 else _of_letter(letter[1], options) if letter else None
    if named is None:
        raise Unusable("an answer outside the options")
    return named


def find_letter(answer: object, letters: Sequence[str], options: Sequence[str]) -> str:
    """The option that an answer names by its letter, with or without its text, or else by its text alone.

    Args:
        letters: those of the options in the file, from which null ones have been left out.

    Raises:
        Unusable: it names none.
    """
    said = _said(answer)
    letter = _LETTER.fullmatch(said)
    if letter and letter[1].upper() in letters:
        return options[list(letters).index(letter[1].upper())]
    lettered = _LETTERED.fullmatch(said)
    if lettered and lettered[1].upper() in letters:
        named = options[list(letters).index(lettered[1].upper())]
        if named == lettered[2].strip():
            return named
    if said not in options:
        raise Unusable("an answer outside the options")
    return said


def stated_gsd_m(question: str) -> float | None:
    """The size of a pixel in metres that a question itself states ("0.5 m per pixel"); None if it states none."""
    found = _STATED_GSD.search(question)
    size = float(found[1] or found[2]) if found else 0.0
    return size or None


def _said(answer: object) -> str:
    said = "" if answer is None else str(answer).strip()
    if not said:
        raise Unusable("answer missing")
    return said


def _of_letter(letter: str, options: Sequence[str]) -> str | None:
    place = LETTERS.find(letter.upper())
    return options[place] if 0 <= place < len(options) else None
