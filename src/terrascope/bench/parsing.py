"""From what a model wrote to what it chose: three rules, as benchmarks differ in what they forgive.

`paper` (paper, Appendix F.2): the first capital letter of an option that stands alone (`\\b[A-D]\\b`, for as many
letters as there are options). As in the paper "A large lake, so B" is A, and "b" is nothing.

`release` (the authors' published script): the letter that the answer begins with. Their script takes any first letter,
so that "Deciduous" is option D; here it must stand alone. Where answers are texts (Landsat30-AU), an answer without a
letter is the option nearest to it by edit distance; theirs is so however long the answer is, here one of more than four
times the length of every option is not compared.

`strict`: nothing but a letter, in brackets or with a full stop if it likes, or nothing but the text of one option.

All three read the answer tag where there is one, and else the whole text without tags and thoughts: what stands up to
`</think>`, as some prompts open the thoughts themselves, and what follows a `<think>` that was never ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from terrascope.trace import LETTERS, METRES, SQUARE_METRES, stated_numbers

Rule = Literal["paper", "release", "strict"]
RULES: tuple[Rule, ...] = ("paper", "release", "strict")

RELATIVE, POINTS = 0.10, 3.0
"""A free number is right within a tenth of the truth; a percentage within so many points."""

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|(?=<answer>|<think>)|\Z)", re.S)
_THOUGHT = re.compile(r"<think>.*?</think>|\A(?:(?!<think>).)*</think>|<think>.*", re.S)
_TAG = re.compile(r"</?(?:think|answer)>")
_WRAPPED = re.compile(r"[(\[]?\s*([A-Za-z])\s*[)\]]?\.?")
_LEADING = re.compile(r"""[*"'`]*(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Za-z])(?=[.):,*"'`]|\s*\Z)|([A-Z])(?=\s))""")
_LONGEST_BESIDE_OPTION = 4


def read_choice(text: str, options: Sequence[str], rule: Rule, *, by_text: bool = False) -> str | None:
    """The letter of the option that a text chooses; None where it chooses none (unparsable).

    Args:
        by_text: whether answers of this benchmark are texts of options. An answer without a letter is then the option
            nearest to it (`release`), or of the same text (`paper`).
    """
    said, letters = _said(text), LETTERS[: len(options)]
    if rule == "paper":
        first = re.search(rf"\b[{letters}]\b", said) if letters else None
        return first[0] if first else _same(said, options) if by_text else None
    if rule == "strict":
        alone = _WRAPPED.fullmatch(said)
        return alone[1].upper() if alone and alone[1].upper() in letters else _same(said, options)
    leading = _LEADING.match(said)
    letter = (leading[1] or leading[2] or leading[3]).upper() if leading else ""
    if letter and letter in letters:
        return letter
    return _nearest(said, options) if by_text else None


def read_value(text: str, unit: str) -> float | None:
    """The first number of a free answer in `unit` (`%`, `m2`, `m` or `count`); None if it states none of that kind."""
    if unit == "count":
        bare = re.search(r"\d+", text)
        return float(bare[0]) if bare else None
    scales = {"%": {"%": 1.0}, "m2": SQUARE_METRES, "m": METRES}[unit]
    return next((number.value * scales[number.unit] for number in stated_numbers(text) if number.unit in scales), None)


def read_free(text: str, unit: str | None) -> str | None:
    """What a free answer says; None where it says nothing, or a number is asked for and it gives none."""
    said = _said(text)
    return said if said and (unit is None or read_value(said, unit) is not None) else None


def is_free_right(said: str, truth: str, *, value: float | None, unit: str | None) -> bool:
    """True if a free answer is the right one.

    Words must be the same but for case and a full stop; numbers may be `RELATIVE` of the truth or `POINTS` away.
    """
    if value is None or unit is None:
        return _plain(said) == _plain(truth)
    stated = read_value(said, unit)
    if stated is None:
        return False
    allowed = POINTS if unit == "%" else RELATIVE * value
    return abs(stated - value) <= allowed + 1e-9


def _said(text: str) -> str:
    """What stands in the first answer tag, else what was written beside thoughts."""
    tagged = _ANSWER.search(text)
    return (tagged[1] if tagged else _TAG.sub(" ", _THOUGHT.sub(" ", text))).strip()


def _same(said: str, options: Sequence[str]) -> str | None:
    """The one option of this text, but for case and a full stop."""
    letters = [letter for letter, option in zip(LETTERS, options, strict=False) if _plain(option) == _plain(said)]
    return letters[0] if len(letters) == 1 else None


def _nearest(said: str, options: Sequence[str]) -> str | None:
    plain, texts = _plain(said), [_plain(option) for option in options]
    if not plain or len(plain) > _LONGEST_BESIDE_OPTION * max(map(len, texts), default=0):
        return None
    distances = [edit_distance(plain, option) for option in texts]
    return LETTERS[distances.index(min(distances))]


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's distance: how many letters must be put in, taken out or replaced."""
    above = list(range(len(second) + 1))
    for row, one in enumerate(first, 1):
        line = [row]
        for column, other in enumerate(second, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (one != other)))
        above = line
    return above[-1]


def _plain(text: str) -> str:
    return text.strip().rstrip(".").casefold()
