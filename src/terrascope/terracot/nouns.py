"""Words for classes, and sentences that agree with them in number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from terrascope.landcover import LandClass
from terrascope.tasks.wording import is_plural

T = TypeVar("T")

NOUNS: Mapping[str, tuple[str, ...]] = {
    "water": ("water", "open water"),
    "tree": ("forest", "trees", "woodland"),
    "shrub": ("shrubland", "shrubs"),
    "grass": ("grass", "grassland"),
    "crop": ("cropland", "crops", "farmland", "fields"),
    "developed area": ("developed areas", "built-up land", "built-up areas"),
    "bare land": ("bare land", "bare ground"),
    "wetland": ("wetland", "wetlands"),
    "snow": ("snow",),
    "cloud": ("clouds",),
    "flood": ("flood water", "flooding"),
    "building": ("buildings",),
    "destroyed building": ("destroyed buildings",),
}
"""Nouns for classes, by the class's name. A class without an entry is called by its plural."""


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A word for a class, without an article, and whether verbs after it take the plural."""

    text: str
    plural: bool

    @property
    def the(self) -> str:
        return f"the {self.text}"

    @property
    def it(self) -> str:
        return "they" if self.plural else "it"

    @property
    def them(self) -> str:
        return "them" if self.plural else "it"

    @property
    def its(self) -> str:
        return "their" if self.plural else "its"

    @property
    def is_(self) -> str:
        return "are" if self.plural else "is"

    @property
    def does(self) -> str:
        return "do" if self.plural else "does"

    @property
    def has(self) -> str:
        return "have" if self.plural else "has"

    def verb(self, plain: str) -> str:
        """The verb, given as `cover`, `lie`, `stretch`, `occupy` or `take up`, in the form that follows the noun."""
        if self.plural:
            return plain
        head, _, rest = plain.partition(" ")
        if head.endswith("y") and head[-2] not in "aeiou":
            head = head[:-1] + "ies"
        else:
            head += "es" if head.endswith(("s", "sh", "ch", "x", "o")) else "s"
        return f"{head} {rest}".rstrip()


class Wording:
    """Draws words: one noun for a class, kept as long as the wording lives, and one of several ways to put things."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._nouns: dict[str, Noun] = {}

    def noun(self, land_class: LandClass) -> Noun:
        """The noun for a class, drawn when it is first asked for."""
        if land_class.name not in self._nouns:
            text = self.pick(*NOUNS.get(land_class.name, (land_class.plural,)))
            self._nouns[land_class.name] = Noun(text=text, plural=is_plural(text))
        return self._nouns[land_class.name]

    def pick(self, *ways: T) -> T:
        """One of several ways, each as likely as the others."""
        return ways[int(self._rng.integers(len(ways)))]

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def enumerate_words(words: Sequence[str]) -> str:
    """`forest`, `forest and water`, `forest, water and crops`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
