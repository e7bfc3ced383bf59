"""Land-cover nomenclatures: what the class ids of a label map mean, and how foreign codes map to ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import QuestionError

UNLABELLED = 255
"""Class id of a pixel about which nothing is known. It counts for no class and in no denominator."""

OTHER = 254
"""Class id of a pixel that is known to be of none of the classes that its map tells apart."""


@dataclass(frozen=True, kw_only=True)
class LandClass:
    """One class: its name as questions use it, its plural, other words for it, and its colour (RGB, 0-255)."""

    name: str
    plural: str
    color: tuple[int, int, int]
    aliases: tuple[str, ...] = ()


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
            for word in (land_class.name, land_class.plural, *land_class.aliases):
                words[word.lower()] = index
        return words

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(land_class.name for land_class in self.classes)

    def id_of(self, word: str) -> int:
        """The id of a class by name, plural or alias.

        Raises:
            QuestionError: the nomenclature has no such class.
        """
        try:
            return self._ids[word.strip().lower()]
        except KeyError:
            raise QuestionError(f"unknown class {word!r}: choose one of {', '.join(self.names)}") from None

    def __getitem__(self, class_id: int) -> LandClass:
        return self.classes[class_id]


TERRASCOPE = Nomenclature(
    name="terrascope",
    classes=(
        LandClass(
            name="water",
            plural="water",
            color=(0, 100, 200),
            aliases=("water body", "water bodies", "lake", "river", "sea"),
        ),
        LandClass(name="tree", plural="trees", color=(0, 100, 0), aliases=("forest", "tree cover", "woodland")),
        LandClass(name="shrub", plural="shrubs", color=(255, 187, 34), aliases=("shrubland",)),
        LandClass(name="grass", plural="grass", color=(190, 230, 76), aliases=("grassland", "meadow", "rangeland")),
        LandClass(
            name="crop", plural="crops", color=(240, 150, 255), aliases=("cropland", "field", "fields", "farmland")
        ),
        LandClass(
            name="developed area",
            plural="developed areas",
            color=(250, 0, 0),
            aliases=("built-up", "urban", "city", "road"),
        ),
        LandClass(
            name="bare land", plural="bare land", color=(180, 180, 180), aliases=("bare", "barren", "sand", "rock")
        ),
        LandClass(
            name="wetland", plural="wetlands", color=(0, 150, 160), aliases=("marsh", "mangrove", "flooded vegetation")
        ),
        LandClass(name="snow", plural="snow", color=(240, 240, 255), aliases=("ice", "snow and ice")),
        LandClass(name="cloud", plural="clouds", color=(210, 200, 215), aliases=()),
        LandClass(
            name="flood", plural="floods", color=(0, 220, 255), aliases=("flooding", "flooded area", "new water")
        ),
        LandClass(name="building", plural="buildings", color=(160, 60, 20), aliases=("house", "houses")),
        LandClass(
            name="destroyed building",
            plural="destroyed buildings",
            color=(90, 20, 90),
            aliases=("collapsed building", "collapsed buildings"),
        ),
    ),
)
"""The classes that `nano` knows. The first seven carry the names of the paper's benchmark."""

WORLDCOVER_CODES: Mapping[int, str] = {
    10: "tree", 20: "shrub", 30: "grass", 40: "crop", 50: "developed area", 60: "bare land",
    70: "snow", 80: "water", 90: "wetland", 95: "wetland", 100: "bare land",
}  # fmt: skip
"""ESA WorldCover codes; mangroves (95) join the wetlands, moss and lichen (100) the bare land."""

TERRAMIND_CODES: Mapping[int, str] = {
    1: "water", 2: "tree", 3: "wetland", 4: "crop", 5: "developed area",
    6: "bare land", 7: "snow", 8: "cloud", 9: "grass",
}  # fmt: skip
"""The land-use codes of the TerraMind/TerraMesh examples; rangeland (9) is grass."""


def translate(codes: NDArray[np.integer], mapping: Mapping[int, str], nomenclature: Nomenclature) -> NDArray[np.uint8]:
    """Map foreign class codes `[H, W]` (0-255) to a nomenclature's ids; codes without an entry become UNLABELLED."""
    table = np.full(256, UNLABELLED, np.uint8)
    for code, name in mapping.items():
        table[code] = nomenclature.id_of(name)
    return table[np.clip(codes, 0, 255).astype(np.uint8)]
