"""Which classes a text names, by any of their words."""

from __future__ import annotations

import re
from functools import lru_cache

from terrascope.landcover import LandClass, Nomenclature
from terrascope.terracot.nouns import NOUNS


def named_classes(text: str, nomenclature: Nomenclature) -> tuple[str, ...]:
    """The names of the classes that a text speaks of, once each, in the order in which it first does.

    The longest word wins: `destroyed buildings` are no buildings, and `flood water` is no water.
    """
    pattern, names = _words(nomenclature)
    return tuple(dict.fromkeys(names[match[0].lower()] for match in pattern.finditer(text)))


@lru_cache(maxsize=16)
def _words(nomenclature: Nomenclature) -> tuple[re.Pattern[str], dict[str, str]]:
    names: dict[str, str] = {}
    for land_class in nomenclature.classes:
        for word in _words_for(land_class):
            names.setdefault(word.lower(), land_class.name)
    longest_first = sorted(names, key=lambda word: (-len(word), word))
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", re.I), names


def _words_for(land_class: LandClass) -> tuple[str, ...]:
    return *land_class.words, *NOUNS.get(land_class.name, ())
