"""What a nomenclature is, and how foreign codes become its class ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import QuestionError

UNLABELLED = 255
"""Class id of a pixel about which nothing is known. It counts for no class and in no denominator."""

OTHER = 254
"""Class id of a pixel that is known to be of none of the classes that its map tells apart."""

_LONGEST_TABLE = 2**16


@dataclass(frozen=True, kw_only=True)
class LandClass:
    """One class.

    Attributes:
        name: the word by which it is known; also an answer.
        plural: the word by which questions call it: a plural, or a noun without one such as `water`.
        color: RGB, 0-255.
        aliases: other words by which questions may call it: each is true of the whole class, and put like `plural`.
        narrower: words that are understood and never said: of a part of the class (`lake`), singulars, adjectives.
    """

    name: str
    plural: str
    color: tuple[int, int, int]
    aliases: tuple[str, ...] = ()
    narrower: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that is understood to mean the class."""
        return self.name, self.plural, *self.aliases, *self.narrower


@dataclass(frozen=True, kw_only=True)
class Nomenclature:
    """An ordered list of classes. A class's id is its place in the list."""

    name: str
    classes: tuple[LandClass, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def _ids(self) -> dict[str, int]:
        words = {}
        for index, land_class in enumerate(self.classes):
            for word in land_class.words:
                words[word.lower()] = index
        return words

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(land_class.name for land_class in self.classes)

    def id_of(self, word: str) -> int:
        """The id of a class by any of its words.

        Raises:
            QuestionError: the nomenclature has no such class.
        """
        try:
            return self._ids[word.strip().lower()]
        except KeyError:
            raise QuestionError(f"unknown class {word!r}: choose one of {', '.join(self.names)}") from None

    def __getitem__(self, class_id: int) -> LandClass:
        return self.classes[class_id]


def translate(codes: NDArray[np.integer], mapping: Mapping[int, str], nomenclature: Nomenclature) -> NDArray[np.uint8]:
    """Map foreign class codes, integers `[H, W]`, to a nomenclature's ids; codes without an entry become UNLABELLED.

    `unknown_codes` says which those are.

    Raises:
        QuestionError: the mapping names a class that the nomenclature lacks.
    """
    ids = {code: nomenclature.id_of(name) for code, name in mapping.items()}
    low, high = min(ids, default=0), max(ids, default=0)
    if high - low < _LONGEST_TABLE:
        # One entry below the lowest and one above the highest code stand for all that lies beyond.
        table = np.full(high - low + 3, UNLABELLED, np.uint8)
        for code, class_id in ids.items():
            table[code - low + 1] = class_id
        translated: NDArray[np.uint8] = table[np.clip(codes.astype(np.int64), low - 1, high + 1) - (low - 1)]
        return translated
    translated = np.full(codes.shape, UNLABELLED, np.uint8)
    for code, class_id in ids.items():
        translated[codes == code] = class_id
    return translated


def unknown_codes(
    codes: NDArray[np.integer], mapping: Collection[int], ignored: Collection[int] = ()
) -> dict[int, int]:
    """The codes that are neither in the mapping nor among those to ignore, in ascending order -> number of pixels."""
    known = np.fromiter({*mapping, *ignored}, np.int64)
    found, counts = np.unique(codes[~np.isin(codes, known)], return_counts=True)
    return {int(code): int(count) for code, count in zip(found, counts, strict=True)}


def color_codes(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The colours of a label picture uint8 `[H, W, 3]` as codes `[H, W]`: 0xRRGGBB, for `translate`."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue
