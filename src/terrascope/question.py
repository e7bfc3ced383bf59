"""What may be asked: the question, its options, and whether its answer needs a ground scale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from terrascope.errors import QuestionError, ScaleError
from terrascope.scene import Scene

LETTERS = "ABCDE"
"""The letters of the options, in order. The paper's benchmark has two or four options; five are taken."""

_LETTERED = re.compile(rf"^\s*([{LETTERS}{LETTERS.lower()}])\s*[.):]\s*(?=\S)")

_UNIT = re.compile(
    r"""
      \b(?:square\s+|sq\.?\s*)(?:kilo)?met(?:er|re)s?\b | \b(?:kilo)?met(?:er|re)s?\b | \bsq\.?\s*k?m\b
    | \bk?m\s?(?:\^?2\b|²) | \bhectares?\b | \bacres?\b | \b(?:square\s+)?(?:miles?|feet)\b
    | (?<![a-z])(?:km|ha)\b | \d\s*m\b | \b(?:in|per)\s+m\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LENGTH = re.compile(
    r"\bdistances?\b|\bhow\s+(?:far|near|close|wide)\b|\bhow\s+long\s+(?:is|are)\s+the\b|\bperimeter\b", re.IGNORECASE
)
_AREA = re.compile(
    r"\bhow\s+(?:large|big)\b|\b(?:what|which)\s+area\b|\bhow\s+much\s+(?:area|land|ground|surface)\b"
    r"|\bwhat\s+(?:is|are)\s+the\s+(?:\w+\s+){0,2}(?:areas?|size|extent|surface)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(
    r"%|\bper\s?cent\b|\bpercentages?\b|\bshare\b|\bproportion\b|\bfraction\b|\bcoverage\b", re.IGNORECASE
)
_COMPARISON = re.compile(r"\b(?:larger|largest|smaller|smallest|bigger|biggest|more|less)\b", re.IGNORECASE)


_HOW_MANY = re.compile(
    r"\bhow\s+many\b|\b(?:what|which)\s+(?:is|are)\s+the\s+number\s+of\b|\bcount\s+the\b", re.IGNORECASE
)
_LENGTH_UNIT = re.compile(r"\b(?:kilo)?met(?:er|re)s\b(?!\s+squared)|\bkm\b(?!\s?(?:\^?2\b|²))", re.IGNORECASE)
_SQUARE = re.compile(r"\bsq(?:uare|\b)|\^?2\b|²|\bhectares?\b|\bacres?\b|\bha\b", re.IGNORECASE)

Quantity = Literal["share", "length", "area", "number"]


def asked_quantity(question: str) -> Quantity | None:
    """What kind of quantity a question asks for; None where its words do not tell."""
    if _SHARE.search(question):
        return "share"
    if _COMPARISON.search(question):
        return None
    if _AREA.search(question) or (_HOW_MANY.search(question) and _SQUARE.search(question)):
        return "area"
    if _LENGTH.search(question) or (_HOW_MANY.search(question) and _LENGTH_UNIT.search(question)):
        return "length"
    return "number" if _HOW_MANY.search(question) else None


def needs_scale(question: str, options: Sequence[str] = ()) -> bool:
    """True if the answer is a length or an area in ground units: a unit, a distance or a size is asked for.

    Shares ("what percentage of the area") and comparisons ("which area is larger") need no scale. The words decide, and
    in doubt they decide for True: a false alarm costs the user a `--gsd`, a number without a scale is a lie.
    """
    everything = "\n".join((question, *options))
    if _UNIT.search(everything) or _LENGTH.search(question):
        return True
    return bool(_AREA.search(question)) and not (_SHARE.search(everything) or _COMPARISON.search(question))


def parse_options(choices: Sequence[str]) -> tuple[str, ...]:
    """The texts of the options, without the letters that users may put before them (`A. 10%`, `A) 10%`).

    Either every option carries the letter of its place, or none carries a letter.

    Raises:
        QuestionError: there are not two to five options, one is empty or given twice, or the letters are out of order.
    """
    if not choices:
        return ()
    if not 2 <= len(choices) <= len(LETTERS):
        raise QuestionError(
            f"a question takes 2 to {len(LETTERS)} options, but {len(choices)} were given with --choice"
        )
    found = [_LETTERED.match(choice) for choice in choices]
    letters = [match.group(1).upper() if match else "" for match in found]
    expected = list(LETTERS[: len(choices)])
    if any(letters) and letters != expected:
        raise QuestionError(
            f"the options must be lettered {', '.join(expected)} in this order, or not be lettered at all"
        )
    texts = tuple(
        (choice[match.end() :] if match else choice).strip() for choice, match in zip(choices, found, strict=True)
    )
    if not all(texts):
        raise QuestionError("an option given with --choice is empty; give each option a text")
    repeated = next((text for text in texts if texts.count(text) > 1), None)
    if repeated is not None:
        raise QuestionError(f"the option {repeated!r} is given twice; the options must differ")
    return texts


def check_question(scene: Scene, question: str, options: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The question and its options as predictors take them: trimmed, options without letters.

    Raises:
        QuestionError: the question is empty or the options cannot be used.
        ScaleError: the answer is a length or an area, and the scene does not know its scale.
    """
    if not isinstance(scene, Scene):
        raise QuestionError(
            f"a {type(scene).__name__} cannot be asked; open it first, as in Scene.open(optical='a.tif')"
        )
    if not isinstance(question, str):
        raise QuestionError(f"a question is asked in words, not as {type(question).__name__}")
    question = " ".join(question.split())
    if not question:
        raise QuestionError("the question is empty; ask for instance: What percentage of the scene is water?")
    texts = parse_options(options)
    if needs_scale(question, texts):
        require_scale(scene)
    return question, texts


def require_scale(scene: Scene) -> None:
    """Refuse what is measured in metres where the scene's scale is unknown.

    Raises:
        ScaleError: the scene has neither a usable georeference nor a stated pixel size.
    """
    try:
        scene.georeference.pixel_size(*scene.shape)
    except ScaleError as error:
        raise ScaleError(
            f"this question asks for metres, but {scene.observations[0].source} has no known scale: {error} "
            "(the size of a pixel), or ask for a percentage instead"
        ) from error
